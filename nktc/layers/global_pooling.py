"""GlobalPooling: whole axes reduced to one number."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers import axes
from nktc.schema import GlobalPoolingParameter


class GlobalPooling(Layer, param="global_pooling_param"):
    """Replaces all that lies along some axes by its mean (AVE) or its largest value (MAX).

    `num_axes` axes from `axis` on, -1 for all of them: by default every axis behind the channels. They stay with
    size 1, or go unless `keep`.
    """

    method: str = "AVE"
    axis: int = 2
    num_axes: int = -1
    keep: bool = True

    @classmethod
    def read(cls, p: GlobalPoolingParameter, phase: Phase) -> Self:
        if p.num_axes < -1 or p.num_axes == 0:
            raise LayerError(f"num_axes is {p.num_axes}", field="num_axes", help="-1 pools all axes from axis on")
        return cls(GlobalPoolingParameter.PoolMethod.Name(p.pool), p.axis, p.num_axes, p.keep_axes)

    def span(self, x: Shape) -> tuple[int, int]:
        """The first axis pooled, and the one behind the last. Raises LayerError."""
        first = axes.resolve(self.axis, x)
        behind = len(x) if self.num_axes == -1 else first + self.num_axes
        if behind > len(x):
            raise LayerError(
                f"axis {self.axis} and num_axes {self.num_axes} go beyond its {len(x)}-axis input", field="num_axes"
            )
        return first, behind

    def shape(self, x: Shape) -> Shape:
        first, behind = self.span(x)
        return (*x[:first], *([1] * (behind - first) if self.keep else []), *x[behind:])

    def forward(self, x: Tensor) -> Tensor:
        """x[n.. p.. m..] -> y[n.. 1.. m..], or y[n.. m..]; the first of equal largest values gets the gradient."""
        first, behind = self.span(tuple(x.shape))
        if self.method == "AVE":
            return x.mean(tuple(range(first, behind)), keepdim=self.keep)
        y = x.flatten(first, behind - 1).max(first).values
        return y.reshape(self.shape(tuple(x.shape)))

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        op = "ReduceMax" if self.method == "MAX" else "ReduceMean"
        return emit(op, x, axes=list(range(*self.span(x.shape))), keepdims=int(self.keep))

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(x)
