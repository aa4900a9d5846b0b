"""The same numbers under another shape: Flatten, Reshape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers import axes
from nktc.schema import FlattenParameter, ReshapeParameter


class Flatten(Layer, param="flatten_param", saves="nothing"):
    """Joins the axes from `axis` to `end_axis` into one."""

    axis: int = 1
    end_axis: int = -1

    @classmethod
    def read(cls, p: FlattenParameter, phase: Phase) -> Self:
        return cls(p.axis, p.end_axis)

    def shape(self, x: Shape) -> Shape:
        first, last = axes.resolve(self.axis, x), axes.resolve(self.end_axis, x, "end_axis")
        if first > last:
            raise LayerError(f"end_axis {last} comes before axis {first}", field="end_axis")
        return (*x[:first], math.prod(x[first : last + 1]), *x[last + 1 :])

    def forward(self, x: Tensor) -> Tensor:
        """x[n.. i.. p..] -> y[n.. i p..]"""
        return x.flatten(self.axis, self.end_axis)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Reshape", x, emit.constant(target(emit, x.shape, self.shape(x.shape)), "int64"))


class Reshape(Layer, param="reshape_param", saves="nothing"):
    """Gives its values another shape without moving them.

    `dims` replace the sizes of `num_axes` axes from `axis` on, -1 for all of them. A 0 copies the size at its
    place, one -1 is worked out from the rest.
    """

    dims: Shape
    axis: int = 0
    num_axes: int = -1

    @classmethod
    def read(cls, p: ReshapeParameter, phase: Phase) -> Self:
        dims = tuple(p.shape.dim)
        if dims.count(-1) > 1:
            raise LayerError(f"{dims.count(-1)} of its sizes are -1", field="shape", help="one can be worked out")
        if min(dims, default=0) < -1:
            raise LayerError(f"a dimension is {min(dims)}", field="shape.dim", help="0 copies a size, -1 is worked out")
        if p.num_axes < -1:
            raise LayerError(f"num_axes is {p.num_axes}", field="num_axes", help="-1 replaces all axes from axis on")
        return cls(dims, p.axis, p.num_axes)

    def filled(self, x: Sequence[int]) -> list[int]:
        """The new sizes of all axes, the -1 still in it. Raises LayerError where the input lacks an axis."""
        first = self.axis if self.axis >= 0 else len(x) + self.axis + 1
        if not 0 <= first <= len(x):
            raise LayerError(f"axis {self.axis} is outside its {len(x)}-axis input", field="axis")
        last = len(x) if self.num_axes == -1 else first + self.num_axes
        if last > len(x):
            raise LayerError(
                f"axis {self.axis} and num_axes {self.num_axes} go beyond its {len(x)}-axis input",
                field="num_axes",
            )
        middle = list(self.dims)
        for i, dim in enumerate(middle):
            if dim == 0:
                if first + i >= len(x):
                    raise LayerError(f"size {i} of its shape is 0, but its input has no axis there", field="shape")
                middle[i] = x[first + i]
        return [*x[:first], *middle, *x[last:]]

    def shape(self, x: Shape) -> Shape:
        y = self.filled(x)
        if -1 in y:
            rest = math.prod([dim for dim in y if dim != -1])
            if math.prod(x) % rest:
                raise LayerError(f"{math.prod(x)} values do not divide by {rest}: {_written(y)}", field="shape")
            y[y.index(-1)] = math.prod(x) // rest
        if math.prod(y) != math.prod(x):
            raise LayerError(
                f"its input {times(x)} has {math.prod(x)} values, {times(tuple(y))} has {math.prod(y)}",
                field="shape",
            )
        return tuple(y)

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..], the same values in the same order"""
        return x.reshape(self.filled(x.shape))

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Reshape", x, emit.constant(target(emit, x.shape, self.shape(x.shape)), "int64"))


def target(emit: Emitter, x: Shape, y: Shape) -> list[int]:
    """What ONNX's Reshape of x to y is given: it follows the batch where axis 0 is left alone."""
    return emit.batched(y) if x and y and x[0] == y[0] else list(y)


def _written(dims: list[int]) -> str:
    return "x".join("?" if dim == -1 else str(dim) for dim in dims)
