"""What Caffe's own module in C++ exports, for scripts that ask `type(blobs) is caffe._caffe.BlobVec`."""

from nktc.pycaffe.blob import Blob, BlobVec
from nktc.pycaffe.glog import init_log, log
from nktc.pycaffe.layer import Layer, layer_type_list
from nktc.pycaffe.mode import VERSION as __version__
from nktc.pycaffe.mode import (
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
from nktc.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)
from nktc.pycaffe.timer import Timer
from nktc.schema import SolverParameter

__all__ = [
    "NCCL",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "BlobVec",
    "Layer",
    "NesterovSolver",
    "Net",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "SolverParameter",
    "Timer",
    "__version__",
    "get_solver",
    "has_nccl",
    "init_log",
    "layer_type_list",
    "log",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
]
