"""Caffe's Python interface, for scripts written for it: `import nktc.pycaffe as caffe`.

`python -m nktc.pycaffe SCRIPT.py` runs a script that says `import caffe`; `imports.answer()` has the same effect on
the process that calls it. `Net` and the solvers run layer by layer over blobs whose arrays are views, as Caffe's do;
what goes wrong raises `CaffeError`, a RuntimeError.

`NetSpec`, `layers` and `params` write nets in Python:

    from nktc.pycaffe import NetSpec, layers as L, params as P

    n = NetSpec()
    n.data, n.label = L.Data(source="train_lmdb", backend=P.Data.LMDB, batch_size=64, ntop=2)
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    print(n.to_proto())
"""

from nktc.pycaffe import _caffe, coord_map, draw, imports, io, proto, pycaffe
from nktc.pycaffe.blob import Blob
from nktc.pycaffe.classifier import Classifier
from nktc.pycaffe.detector import Detector
from nktc.pycaffe.failure import CaffeError
from nktc.pycaffe.glog import init_log, log
from nktc.pycaffe.layer import Layer, layer_type_list
from nktc.pycaffe.mode import VERSION as __version__
from nktc.pycaffe.mode import (
    multiprocess,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from nktc.pycaffe.nccl import NCCL, has_nccl
from nktc.pycaffe.net import Net
from nktc.pycaffe.net_spec import Function, NetSpec, SpecError, Top, layers, params, to_proto
from nktc.pycaffe.proto import caffe_pb2
from nktc.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    AdamWSolver,
    LAMBSolver,
    MuonSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)
from nktc.pycaffe.timer import Timer
from nktc.schema import TEST, TRAIN

__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "AdamWSolver",
    "Blob",
    "CaffeError",
    "Classifier",
    "Detector",
    "Function",
    "LAMBSolver",
    "Layer",
    "MuonSolver",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "SpecError",
    "Timer",
    "Top",
    "__version__",
    "_caffe",
    "caffe_pb2",
    "coord_map",
    "draw",
    "get_solver",
    "has_nccl",
    "imports",
    "init_log",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "multiprocess",
    "params",
    "proto",
    "pycaffe",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
]
