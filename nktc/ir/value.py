"""What flows between layers, and what they hold: shapes, values, weights and how weights are first filled."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np

Shape = tuple[int, ...]


class Phase(enum.Enum):
    """What a graph is for; a graph has exactly one."""

    TRAIN = 0
    TEST = 1


class DType(enum.Enum):
    """Element type of a value; the member's value is its name in listings."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    S8 = "s8"
    U8 = "u8"
    I64 = "i64"

    @property
    def numpy(self) -> np.dtype:
        """The type of arrays that hold it."""
        return _ARRAYS[self]


_ARRAYS: Mapping[DType, np.dtype] = {
    DType.F32: np.dtype(np.float32),
    DType.F16: np.dtype(np.float16),
    DType.BF16: np.dtype(ml_dtypes.bfloat16),
    DType.S8: np.dtype(np.int8),
    DType.U8: np.dtype(np.uint8),
    DType.I64: np.dtype(np.int64),
}


@dataclass(frozen=True)
class Value:
    """One tensor of the graph. `name` is unique in it: the blob's name, or `blob@layer` for another version of a blob
    that in-place layers overwrite (see reader.build)."""

    name: str
    shape: Shape
    dtype: DType = DType.F32

    def opened(self) -> Value:
        """The same for any batch: 0 in axis 0."""
        return replace(self, shape=(0, *self.shape[1:])) if self.shape else self

    def __str__(self) -> str:
        return f"{self.name} {self.dtype.value}{list_shape(self.shape)}"


def list_shape(shape: Shape) -> str:
    """[100 3 32 32]"""
    return f"[{' '.join(map(str, shape))}]"


def times(shape: Shape) -> str:
    """100x3x32x32, as messages write a size."""
    return "x".join(map(str, shape)) if shape else "a single number"


def size(shape: Shape) -> int:
    """Number of elements; 1 for a scalar."""
    return math.prod(shape)


@dataclass(frozen=True)
class Filler:
    """How a weight starts: Caffe's FillerParameter. `type` is one of constant, gaussian, uniform, xavier, msra,
    bilinear, positive_unitball, gaussian_unitball."""

    type: str = "constant"
    value: float = 0.0
    min: float = 0.0
    max: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    sparse: int = -1  # non-zero inputs per output of a gaussian; -1: all
    variance_norm: str = "FAN_IN"
    setting: str = field(default="", compare=False, repr=False)  # the prototxt field that says it


@dataclass(frozen=True)
class Weight:
    """A tensor that a layer holds. What does not learn is state: the layer's forward updates it, the solver never.

    Weight files hold what is `kept`; it comes before what is not. `file` is the .binaryproto that the net names for
    the values, "" for none; `start` is what it starts with, None for what its filler says.
    """

    shape: Shape
    filler: Filler = Filler()
    learns: bool = True
    kept: bool = True
    file: str = ""
    start: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def volatile(self) -> bool:
        """Whether no file has it: it starts from its filler and lives as long as the module."""
        return not self.kept and not self.file


@dataclass(frozen=True, eq=False)
class Grid:
    """The numbers that an array in 8 bits can hold: -most to most times the step of its place along `axis`.

    `steps` has one number for each place, f32, above 0; `most` is 127, or 63 where sums of products must fit 16 bits.
    """

    steps: np.ndarray
    axis: int = 0
    most: int = 127

    def whole(self, array: np.ndarray) -> np.ndarray:
        """`array` in steps, rounded to even and cut off at `most`: s8."""
        return np.clip(np.rint(array / self._along(array.ndim)), -self.most, self.most).astype(np.int8)

    def nearest(self, array: np.ndarray) -> np.ndarray:
        """The numbers of the grid that are nearest to those of `array`, f32."""
        return (self.whole(array) * self._along(array.ndim)).astype(np.float32)

    def _along(self, axes: int) -> np.ndarray:
        return self.steps.reshape([-1 if axis == self.axis else 1 for axis in range(axes)])


@dataclass(frozen=True)
class Parameter:
    """A weight as the graph holds it, once however many layers share it.

    `name` is unique ("conv1.weight"), `layer` and `index` tell its owner and its place among the owner's blobs,
    `lr_mult` and `decay_mult` are Caffe's factors on the rate and on the decay.
    """

    name: str
    weight: Weight
    layer: str
    index: int
    lr_mult: float = 1.0
    decay_mult: float = 1.0

    @property
    def learns(self) -> bool:
        return self.weight.learns and self.lr_mult != 0
