"""What Caffe keeps for the whole process: where it computes, its chances, its place among several solvers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nktc import module
from nktc.pycaffe.failure import CaffeError

CPU = torch.device("cpu")
VERSION = "1.0.0"  # of the Caffe whose interface this is


@dataclass
class State:
    """`device` is where nets compute; `gpu` is the one that set_mode_gpu takes. `seeded` tells whether chances follow
    from set_random_seed. Of `count` solvers, each in a process of its own, this is the one of `rank`."""

    device: torch.device = CPU
    gpu: int = 0
    seeded: bool = False
    count: int = 1
    rank: int = 0
    multiprocess: bool = False


STATE = State()


def set_mode_cpu() -> None:
    """Compute on the CPU."""
    STATE.device = CPU


def set_mode_gpu() -> None:
    """Compute on the GPU of set_device. Raises CaffeError where there is none that can be used."""
    if problem := module.why_no_gpu(STATE.gpu):
        raise CaffeError(f"set_mode_gpu: {problem}", help="caffe.set_mode_cpu() computes without a GPU")
    torch.backends.cudnn.allow_tf32 = False  # Caffe's numbers have all their digits
    STATE.device = torch.device("cuda", STATE.gpu)


def set_device(index: int) -> None:
    """Choose the GPU by its number; in GPU mode it is taken at once."""
    if index < 0:
        raise CaffeError(f"there is no GPU {index}")
    STATE.gpu = index
    if STATE.device.type == "cuda":
        set_mode_gpu()


def set_random_seed(seed: int) -> None:
    """From here on fillers, dropout and shuffles draw the same in every run."""
    torch.manual_seed(seed)
    STATE.seeded = True


def draw_seed() -> int | None:
    """A seed for what has chances of its own; None, for a new one each time, unless set_random_seed was called."""
    return int(torch.randint(1 << 31, ())) if STATE.seeded else None


def solver_count() -> int:
    """How many solvers train together."""
    return STATE.count


def set_solver_count(count: int) -> None:
    """Tell how many solvers train together, each in its own process."""
    if count < 1:
        raise CaffeError(f"there are no {count} solvers")
    STATE.count = count


def solver_rank() -> int:
    """Which of the solvers this process has, from 0."""
    return STATE.rank


def set_solver_rank(rank: int) -> None:
    """Tell which of the solvers this process has, from 0."""
    if rank < 0:
        raise CaffeError(f"there is no solver {rank}")
    STATE.rank = rank


def multiprocess() -> bool:
    """Whether each solver is said to have a process of its own."""
    return STATE.multiprocess


def set_multiprocess(yes: bool) -> None:
    """Tell that each solver has a process of its own, which here it always has."""
    STATE.multiprocess = yes
