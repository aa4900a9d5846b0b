"""What weight files of any kind hold: weights of layers, told but not yet read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nktc.errors import NktcError
from nktc.ir import Shape

SPARE = 1 << 26  # bytes that any file may grow to
GROWTH = 64  # times its size that a file may grow to


@dataclass(frozen=True)
class Entry:
    """One weight in a file: its shape there, the type of its numbers ("f32", "f16", ...), and what reads it, as f32."""

    shape: Shape
    dtype: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Holder:
    """A layer in a file: its type where the file tells it, else "", and its blobs; None for one that the file holds
    with the layer that owns it."""

    type: str
    blobs: Sequence[Entry | None]


@dataclass(frozen=True)
class Contents:
    """A weight file. `kind` says which, in words; `size` is in bytes. Caffe's files have `layers` by their names, files
    of torch have `named` weights."""

    kind: str
    size: int
    layers: Mapping[str, Holder] = field(default_factory=dict)
    named: Mapping[str, Entry] = field(default_factory=dict)


class Budget:
    """How much memory the weights of a file may take, by its size: compressed or made-up sizes are not believed."""

    def __init__(self, size: int) -> None:
        self.size, self.left = size, SPARE + GROWTH * size

    def take(self, shape: Sequence[int], what: str, width: int = 4) -> None:
        """Count an array of that shape. Raises NktcError."""
        self.left -= math.prod(shape) * width
        if self.left < 0:
            dims = " ".join(map(str, shape))
            raise NktcError(
                f"{what} of shape [{dims}] would take more than {GROWTH} times the {self.size} bytes there are"
            )
