"""What Caffe gives a layer that is written in Python: blobs, and the class to derive it from."""

from __future__ import annotations

import math
import operator
from typing import SupportsIndex

import numpy as np

from nktc.ir import Shape, infer, times


class Blob:
    """Numbers and their gradient, as arrays that are written to in place; both are 0 after a change of shape."""

    def __init__(self, shape: Shape = (0,)) -> None:
        self.reshape(*shape)

    def reshape(self, *dims: SupportsIndex) -> None:
        """Take another shape. Raises ValueError, for the user's code, where none has it."""
        shape = tuple(map(operator.index, dims))
        if any(dim < 0 for dim in shape) or math.prod(shape) > infer.LARGEST:
            raise ValueError(f"a blob of {times(shape)}")
        if not hasattr(self, "_data") or shape != self.shape:
            self._data, self._diff = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def hold(self, array: np.ndarray, gradient: np.ndarray | None = None) -> None:
        """Have this very array for its numbers, and this one for their gradient."""
        self.reshape(*array.shape)
        self._data = array
        if gradient is not None:
            self._diff = gradient

    @property
    def data(self) -> np.ndarray:
        return self._data

    @property
    def diff(self) -> np.ndarray:
        return self._diff

    @property
    def shape(self) -> Shape:
        return self._data.shape

    @property
    def count(self) -> int:
        return self._data.size

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

    def _axis(self, axis: int) -> int:
        """As in Caffe, an axis that is not there is 1 long."""
        return self.shape[axis] if axis < len(self.shape) else 1


class Blobs(list[Blob]):
    """A layer's weights."""

    def add_blob(self, *shape: SupportsIndex) -> None:
        """One weight more, at 0."""
        self.append(Blob())
        self[-1].reshape(*shape)


class CaffeLayer:
    """What the user's code knows as caffe.Layer."""

    param_str: str
    phase: int
    blobs: Blobs
