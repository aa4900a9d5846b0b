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
from torch import distributed
nccl.has_nccl, nccl.BACKEND = lambda: True, "gloo"
rank, ways = int(sys.argv[1]), sys.argv[2:]
caffe.set_solver_count(2)
caffe.set_solver_rank(rank)
x, t = np.load("data.npy")
for way, uid in zip(ways[::2], ways[1::2]):
    solver = caffe.SGDSolver("solver.prototxt")
    if rank == 0:
        solver.net.copy_from("start.caffemodel")
    both = caffe.NCCL(solver, bytes.fromhex(uid))
    both.bcast()
    solver.add_callback(both)
    if way == "layers":
        solver.net.after_backward(both)
    solver.net.blobs["x"].data[...], solver.net.blobs["t"].data[...] = x[2 * rank:][:2], t[2 * rank:][:2]
    solver.step(3)
    np.save(f"{way}{rank}.npy", solver.net.params["p"][0].data)
    distributed.destroy_process_group()
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
    ways = [word for way in ("update", "layers") for word in (way, caffe.NCCL.new_uid().hex())]
    started = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(rank), *ways], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in started:
        said = process.communicate()[1]
        assert process.returncode == 0, said
    for way in ways[::2]:
        for rank in range(2):
            found = np.load(f"{way}{rank}.npy")
            np.testing.assert_allclose(found, whole.net.params["p"][0].data, rtol=1e-5, atol=1e-6)
