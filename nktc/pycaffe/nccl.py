"""Solvers of several processes that train together, each on a GPU of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import distributed

from nktc.pycaffe.failure import CaffeError
from nktc.pycaffe.mode import STATE, set_multiprocess
from nktc.pycaffe.net import Net
from nktc.schema import SolverParameter

BACKEND = "nccl"


class Trained(Protocol):
    """A solver."""

    net: Net
    param: SolverParameter


def has_nccl() -> bool:
    """Whether GPUs can train together here."""
    return distributed.is_available() and distributed.is_nccl_available() and torch.cuda.is_available()


class NCCL:
    """Adds up the gradients of set_solver_count() solvers, of which this process has that of set_solver_rank().

    All have to be made with one `uid`, on one machine. Given to solver.add_callback it averages the gradients before
    each update; given to net.after_backward too, it does so layer by layer while backward goes on. Raises CaffeError
    where there is no NCCL.
    """

    def __init__(self, solver: Trained, uid: bytes) -> None:
        if not has_nccl():
            raise CaffeError("there is no NCCL here: it needs NVIDIA GPUs", help="train with one solver")
        set_multiprocess(True)
        self._solver = solver
        self._done: set[str] = set()
        meeting = Path(tempfile.gettempdir()) / f"nktc-{uid.hex()}"
        distributed.init_process_group(BACKEND, init_method=meeting.as_uri(), world_size=STATE.count, rank=STATE.rank)

    @staticmethod
    def new_uid() -> bytes:
        """What names a group of solvers: one process makes it and gives it to the others."""
        return os.urandom(16)

    def bcast(self) -> None:
        """Give the weights of rank 0 to all."""
        for memory, _ in self._solver.net._memories.values():
            distributed.broadcast(memory.tensor(STATE.device, write=True), 0)

    def run(self, layer: int) -> None:
        """Average the gradients of one layer, where each is complete by then."""
        net = self._solver.net
        owned = [*net._memories]
        if self._solver.param.iter_size == 1 and len(owned) == sum(len(blobs) for blobs in net.params.values()):
            here = net._layer_names[layer]
            self._average(name for name in owned if net._graph.parameters[name].layer == here)

    def on_gradients_ready(self) -> None:
        """Average the gradients that are not averaged yet."""
        self._average(name for name in self._solver.net._memories if name not in self._done)
        self._done.clear()

    def _average(self, names: Iterable[str]) -> None:
        for name in names:
            slope = self._solver.net._memories[name][1].tensor(STATE.device, write=True)
            distributed.all_reduce(slope)
            slope.div_(STATE.count)
            self._done.add(name)
