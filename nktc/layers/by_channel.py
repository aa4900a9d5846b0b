"""A factor for each channel that comes from the net itself, as in SENet: Axpy, BroadcastMul."""

from __future__ import annotations

import math

from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Shape, times


class Axpy(Layer, param="axpy_param"):
    """Multiplies each channel of x by its factor in a, and adds y: a x + y, of the bottoms a, x and y in that order.

    Source: hujie-frank/SENet.
    """

    def shape(self, a: Shape, x: Shape, y: Shape) -> Shape:
        _factors(a, x)
        if x != y:
            raise LayerError(f"its x {times(x)} and its y {times(y)} differ", field="bottom[2]")
        return x

    def forward(self, a: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """a[n c] (or a[n c 1..]) x[n c p..] y[n c p..] -> z[n c p..]"""
        return a.reshape(*a.shape[:2], *(1,) * (x.dim() - 2)) * x + y

    def onnx(self, emit: Emitter, a: Operand, x: Operand, y: Operand) -> Operand:
        return emit("Add", emit("Mul", _aligned(emit, a, x), x), y)

    def flops(self, *shapes: Shape) -> int:
        return 2 * math.prod(shapes[-1])


class BroadcastMul(Layer):
    """Multiplies each channel of the larger of its two bottoms by its factor in the other, in either order.

    Source: DeepDetect's Caffe.
    """

    def shape(self, x: Shape, a: Shape) -> Shape:
        larger, smaller = (x, a) if math.prod(x) >= math.prod(a) else (a, x)
        _factors(smaller, larger)
        return larger

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        """x[n c p..] a[n c] (or a[n c 1..]), or a and x -> y[n c p..]"""
        larger, smaller = (x, a) if math.prod(x.shape[1:]) >= math.prod(a.shape[1:]) else (a, x)
        return larger * smaller.reshape(*smaller.shape[:2], *(1,) * (larger.dim() - 2))

    def onnx(self, emit: Emitter, x: Operand, a: Operand) -> Operand:
        larger, smaller = (x, a) if math.prod(x.shape) >= math.prod(a.shape) else (a, x)
        return emit("Mul", larger, _aligned(emit, smaller, larger))

    def flops(self, *shapes: Shape) -> int:
        return math.prod(shapes[-1])


def _factors(a: Shape, x: Shape) -> None:
    """Refuse factors that are not one for each item and channel of x."""
    if len(x) < 2 or a[:2] != x[:2] or math.prod(a[2:]) != 1:
        raise LayerError(
            f"its factors {times(a)} are not one for each channel of each item of {times(x)}",
            field="bottom",
            help=f"{times(x[:2])}, with axes of 1 behind or without, would fit",
        )


def _aligned(emit: Emitter, a: Operand, x: Operand) -> Operand:
    """The factors with as many axes as x."""
    wanted = (*a.shape[:2], *(1,) * (len(x.shape) - 2))
    return a if a.shape == wanted else emit("Reshape", a, emit.constant(emit.batched(wanted), "int64"))
