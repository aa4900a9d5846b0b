"""Less or more of the input: Crop, Tile."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers import axes
from nktc.schema import CropParameter, TileParameter


class Crop(Layer, param="crop_param", saves="nothing"):
    """Cuts its first input to the size of the second in all axes from `axis` on.

    What is kept starts at `offset`: one number for all cut axes or one for each, 0 where there is none. Nothing else
    of the second input counts.
    """

    axis: int = 2
    offset: tuple[int, ...] = ()

    @classmethod
    def read(cls, p: CropParameter, phase: Phase) -> Self:
        return cls(p.axis, tuple(p.offset))

    def kept(self, x: Shape, like: Shape) -> list[tuple[int, int, int]]:
        """The axes that are cut, each with where what is kept starts and ends. Raises LayerError."""
        first = axes.resolve(self.axis, x)
        if len(like) < len(x):
            raise LayerError(
                f"its input {times(x)} has {len(x)} axes, what gives the size, {times(like)}, has {len(like)}",
                field="bottom",
            )
        if len(self.offset) > 1 and len(self.offset) != len(x) - first:
            raise LayerError(
                f"has {len(self.offset)} offset for {len(x) - first} cut axes",
                field="offset",
                help=f"give one for all, or one for each axis from {first} on",
            )
        kept = list(zip(range(first, len(x)), self._offsets(len(x) - first), like[first:], strict=False))
        for axis, offset, size in kept:
            if offset + size > x[axis]:
                raise LayerError(
                    f"offset {offset} and size {size} go beyond axis {axis} of {x[axis]}",
                    field="offset" if offset else "bottom",
                )
        return [(axis, offset, offset + size) for axis, offset, size in kept]

    def shape(self, x: Shape, like: Shape) -> Shape:
        kept = self.kept(x, like)
        return (*x[: len(x) - len(kept)], *(end - start for _, start, end in kept))

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """x[n.. p..] like[m.. q..] -> y[n.. q..]"""
        y = x
        cut = range(self.axis % x.dim(), x.dim())
        for axis, offset in zip(cut, self._offsets(len(cut)), strict=True):
            y = y.narrow(axis, offset, like.shape[axis])
        return y

    def onnx(self, emit: Emitter, x: Operand, like: Operand) -> Operand:
        cut = [(axis, start, end) for axis, start, end in self.kept(x.shape, like.shape) if end - start < x.shape[axis]]
        if not cut:
            return x
        along, starts, ends = (emit.constant(numbers, "int64") for numbers in zip(*cut, strict=True))
        return emit("Slice", x, starts, ends, along)

    def _offsets(self, count: int) -> tuple[int, ...]:
        return self.offset if len(self.offset) > 1 else (self.offset or (0,)) * count


class Tile(Layer, param="tile_param", saves="nothing"):
    """Repeats its input along `axis`, as a whole: a b becomes a b a b."""

    tiles: int
    axis: int = 1

    @classmethod
    def read(cls, p: TileParameter, phase: Phase) -> Self:
        if p.tiles < 1:
            said = f"tiles is {p.tiles}" if p.HasField("tiles") else "has no tiles"
            raise LayerError(said, field="tiles", help="add tiles: 2 (any number from 1)")
        return cls(p.tiles, p.axis)

    def shape(self, x: Shape) -> Shape:
        return tuple(size * count for size, count in zip(x, self.repeats(x), strict=True))

    def repeats(self, x: Shape) -> list[int]:
        """How often each axis is repeated. Raises LayerError."""
        axis = axes.resolve(self.axis, x)
        return [self.tiles if i == axis else 1 for i in range(len(x))]

    def forward(self, x: Tensor) -> Tensor:
        """x[n.. i p..] -> y[n.. i*tiles p..]"""
        return x.repeat(self.repeats(x.shape))

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Tile", x, emit.constant(self.repeats(x.shape), "int64"))
