"""Data layers at work: each forward gives the next batch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nktc import data, module
from nktc.errors import LayerError
from nktc.ir import Node, Phase, infer, times
from nktc.layers import Input, MemoryData
from nktc.pycaffe.blob import Blob
from nktc.pycaffe.failure import CaffeError
from nktc.pycaffe.mode import STATE, draw_seed
from nktc.pycaffe.step import NodeStep
from nktc.train import Feeding


class FeedStep(NodeStep):
    """A layer that reads its tops from files in `folder`, that of the net.

    Of several solvers each trains on every so many-th batch; `position` is the next one's number.
    """

    def __init__(self, node: Node, tops: Sequence[Blob], holder: module.Net, folder: Path) -> None:
        super().__init__(node, (), tops, holder)
        self.folder, self.position = folder, 0
        self._batches: Iterator[tuple[Tensor, ...]] | None = None
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None

    def forward(self, device: torch.device) -> None:
        if isinstance(self.node.layer, Input):
            return
        with infer.place(self.type, self.name, self.node.locate):
            if self._arrays:
                batch = self._from_arrays(*self._arrays)
            else:
                if self._batches is None:
                    self._batches = self._open().ahead(self.position)
                batch = next(self._batches)
        self.position += 1
        for blob, tensor in zip(self.tops, batch, strict=False):
            blob.put(tensor.to(device))

    def reshape(self, bottom: Sequence[Blob] = (), top: Sequence[Blob] = ()) -> None:
        """The tops have the shapes that they were given last."""

    def backward(self, device: torch.device) -> None:
        """There is nothing below."""

    def go_to(self, position: int) -> None:
        """Have this batch for the next one."""
        self.position, self._batches = position, None

    def take(self, values: np.ndarray, labels: np.ndarray) -> None:
        """Give batches of these arrays from now on, around and around, as they are. Raises CaffeError."""
        layer = self.node.layer
        if not isinstance(layer, MemoryData):
            raise CaffeError("set_input_arrays is for a net whose first layer is MemoryData")
        batch, *image = self.tops[0].shape
        for what, array, shape in (("data", values, image), ("labels", labels, [1, 1, 1])):
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise CaffeError(
                    f"{what} are no float32 in C's order", help="numpy.ascontiguousarray(x, numpy.float32)"
                )
            if array.ndim != 4 or [*array.shape[1:]] != shape:
                said = f"{what} are {times(array.shape)}, and the layer takes {times(tuple(shape))} a record"
                raise CaffeError(said)
        if len(values) != len(labels) or not len(values) or len(values) % batch:
            said = f"there are {len(values)} records and {len(labels)} labels for batches of {batch}"
            raise CaffeError(said, help="give as many of both, a multiple of batch_size")
        self._arrays, self.position = (values, labels), 0

    def _from_arrays(self, values: np.ndarray, labels: np.ndarray) -> tuple[Tensor, ...]:
        batch = self.tops[0].shape[0]
        start = self.position * batch % len(values)
        taken = (array[start : start + batch] for array in (values, labels))
        return tuple(torch.from_numpy(array) for array in taken)

    def _open(self) -> Feeding:
        layer = self.node.layer
        if isinstance(layer, MemoryData) and not layer.source_path:
            raise LayerError("has no data yet", help="call net.set_input_arrays(data, labels) before forward")
        seed = draw_seed()
        seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
        opening = data.Opening(data.Places.from_environment(), self.folder, seed, tops=len(self.tops))
        shares = self.holder.graph.phase is Phase.TRAIN
        stream = data.open_stream(layer, opening)
        return Feeding([stream], STATE.rank, STATE.count) if shares else Feeding([stream])
