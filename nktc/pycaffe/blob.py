"""Blobs: numbers and their gradient, which scripts see as arrays and layers as tensors of one memory."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from nktc.ir import Shape, infer, times
from nktc.pycaffe.failure import CaffeError

CPU = torch.device("cpu")


class Memory:
    """Numbers in a row, f32, 0 at first: on the host, and where a GPU computes on that too.

    It is Caffe's SyncedMemory. On the host `array` and `tensor` are the same memory, so what one writes the other has.
    With a GPU each is brought up to date when it is asked for, and asking for the array means to write it: what is
    written to an array later, after the GPU was given its copy, does not arrive there.
    """

    def __init__(self, count: int = 0, tensor: Tensor | None = None) -> None:
        """Room for `count` numbers, or those that a tensor on the host holds, which lie in a row."""
        self.count = count if tensor is None else tensor.numel()
        self._near = None if tensor is None else tensor.detach().view(-1)
        self._array: np.ndarray | None = None
        self._far: Tensor | None = None
        self._where: torch.device | None = None
        self._newest: str = ""  # "near" or "far" where the two differ

    def reserve(self, count: int) -> None:
        """Have room for so many numbers; where there is too little what was there is lost, as in Caffe."""
        if count > self.count:
            self.count = count
            self._near = self._array = self._far = None
            self._newest = ""

    def array(self) -> np.ndarray:
        """The numbers on the host, to read and to write."""
        if self._far is not None:
            if self._newest == "far":
                self._host().copy_(self._far)
            self._newest = "near"
        if self._array is None:
            self._array = self._host().numpy()
        return self._array

    def tensor(self, device: torch.device, write: bool = False) -> Tensor:
        """The numbers where a layer needs them, to read, or to `write` too."""
        if device.type == "cpu":
            if self._far is not None:
                self.array()
                self._far, self._newest = None, ""
            return self._host()
        if self._far is None or self._where != device:
            if self._newest == "far":
                self.array()
            self._far, self._where = self._sent(device), device
        elif self._newest == "near":
            self._far.copy_(self._host())
        self._newest = "far" if write or self._newest == "far" else ""
        return self._far

    def _sent(self, device: torch.device) -> Tensor:
        """A copy on a GPU."""
        return self._host().to(device)

    def _host(self) -> Tensor:
        if self._near is None:
            self._near = torch.zeros(self.count)
        return self._near


class Blob:
    """An array of any number of axes with its gradient. `data` and `diff` are views: what is written to them is what
    the net has. They live as long as anybody holds them."""

    def __init__(self, shape: Iterable[int] = (0,), data: Memory | None = None, diff: Memory | None = None) -> None:
        self._shape: Shape = tuple(shape)
        self._count = math.prod(self._shape)
        self.memory = data or Memory(self._count)
        self.slope = diff or Memory(self._count)
        # A view is good as long as the memory that it was made of is the same.
        self._views: dict[str, tuple[object, np.ndarray | Tensor]] = {}

    def reshape(self, *dims: SupportsIndex) -> None:
        """Take another shape; the numbers stay in their order as far as there is room for them, else they are 0."""
        shape = tuple(map(operator.index, dims))
        count = math.prod(shape)
        if any(dim < 0 for dim in shape) or count > infer.LARGEST:
            raise CaffeError(f"a blob cannot be {times(shape)}")
        if shape != self._shape:
            self._shape, self._count = shape, count
            self._views.clear()
        self.memory.reserve(count)
        self.slope.reserve(count)

    @property
    def data(self) -> np.ndarray:
        """The numbers, f32."""
        return self._array("data", self.memory)

    @property
    def diff(self) -> np.ndarray:
        """The gradient, f32."""
        return self._array("diff", self.slope)

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def count(self) -> int:
        return self._count

    @property
    def num(self) -> int:
        return self._axis(0)

    @property
    def channels(self) -> int:
        return self._axis(1)

    @property
    def height(self) -> int:
        return self._axis(2)

    @property
    def width(self) -> int:
        return self._axis(3)

    def tensor(self, device: torch.device, write: bool = False) -> Tensor:
        """The numbers where a layer needs them, to read, or to `write` too."""
        return self._tensor("tensor", self.memory.tensor(device, write))

    def gradient(self, device: torch.device, write: bool = False) -> Tensor:
        """The gradient where a layer needs it, to read, or to `write` too."""
        return self._tensor("gradient", self.slope.tensor(device, write))

    def put(self, tensor: Tensor) -> None:
        """Take the numbers of a tensor, and its shape."""
        if tensor.shape != self._shape:
            self.reshape(*tensor.shape)
        self.tensor(tensor.device, write=True).copy_(tensor)

    def share(self, other: Blob) -> None:
        """Have the numbers of another blob, not its gradient; the shape stays."""
        self.memory = other.memory

    def _array(self, name: str, memory: Memory) -> np.ndarray:
        flat = memory.array()
        seen, view = self._views.get(name, (None, None))
        if seen is not flat or not isinstance(view, np.ndarray):
            view = flat[: self._count].reshape(self._shape)
            self._views[name] = (flat, view)
        return view

    def _tensor(self, name: str, flat: Tensor) -> Tensor:
        seen, view = self._views.get(name, (None, None))
        if seen is not flat or not isinstance(view, Tensor):
            view = flat[: self._count].view(self._shape)
            self._views[name] = (flat, view)
        return view

    def _axis(self, axis: int) -> int:
        """As in Caffe, an axis that is not there is 1 long, and there are no more than four."""
        if len(self._shape) > 4:
            raise CaffeError(f"a blob of {len(self._shape)} axes has no num, channels, height and width", help="shape")
        return self._shape[axis] if axis < len(self._shape) else 1


class BlobVec(list[Blob]):
    """The weights of a layer."""

    def add_blob(self, *shape: SupportsIndex) -> None:
        """One weight more, at 0."""
        blob = Blob()
        blob.reshape(*shape)
        self.append(blob)
