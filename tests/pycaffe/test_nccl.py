"""Two solvers in two processes that average their gradients, as they do over NCCL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import nktc.pycaffe as caffe

NET = """
layer { name: "in" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "p" type: "InnerProduct" bottom: "x" top: "p"
        inner_product_param { num_output: 3 weight_filler { type: "gaussian" } } }
layer { name: "l" type: "EuclideanLoss" bottom: "p" bottom: "t" top: "l" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 3'

# gloo does for CPUs what NCCL does for GPUs.
WORKER = """
import sys
import numpy as np
import nktc.pycaffe as caffe
from nktc.pycaffe import nccl
nccl.has_nccl, nccl.BACKEND = lambda: True, "gloo"
rank, layers = int(sys.argv[1]), sys.argv[3] == "layers"
caffe.set_solver_count(2)
caffe.set_solver_rank(rank)
solver = caffe.SGDSolver("solver.prototxt")
if rank == 0:
    solver.net.copy_from("start.caffemodel")
both = caffe.NCCL(solver, bytes.fromhex(sys.argv[2]))
both.bcast()
solver.add_callback(both)
if layers:
    solver.net.after_backward(both)
x, t = np.load("data.npy")
solver.net.blobs["x"].data[...], solver.net.blobs["t"].data[...] = x[2 * rank:][:2], t[2 * rank:][:2]
solver.step(3)
np.save(f"after{rank}.npy", solver.net.params["p"][0].data)
"""


def test_two_solvers_of_half_a_batch_learn_what_one_of_the_whole_does(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET.replace("dim: 2", "dim: 4"))
    Path("solver.prototxt").write_text(SOLVER)
    data = np.random.default_rng(2).normal(size=(2, 4, 3)).astype(np.float32)
    np.save("data.npy", data)
    whole = caffe.SGDSolver("solver.prototxt")
    whole.net.save("start.caffemodel")
    whole.net.blobs["x"].data[...], whole.net.blobs["t"].data[...] = data
    whole.step(3)
    Path("net.prototxt").write_text(NET)
    for way in ("update", "layers"):
        uid = caffe.NCCL.new_uid().hex()
        started = [
            subprocess.Popen([sys.executable, "-c", WORKER, str(rank), uid, way], stderr=subprocess.PIPE, text=True)
            for rank in range(2)
        ]
        for process in started:
            said = process.communicate()[1]
            assert process.returncode == 0, said
        for rank in range(2):
            found = np.load(f"after{rank}.npy")
            np.testing.assert_allclose(found, whole.net.params["p"][0].data, rtol=1e-5, atol=1e-6)
