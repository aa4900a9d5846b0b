"""Values divided by the strength of their neighbours: LRN."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.schema import LRNParameter


class LRN(Layer, param="lrn_param"):
    """Divides each value by a power of the mean square of its neighbours, across channels or within one.

    y = x / (k + alpha * mean square) ** beta, the mean over `size` channels or, with `within`, over `size` by
    `size` pixels of the same channel, where k is always 1. Outside the picture there are zeros.
    """

    size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    within: bool = False

    @classmethod
    def read(cls, p: LRNParameter, phase: Phase) -> Self:
        if p.local_size % 2 == 0:
            help = f"local_size: {p.local_size + 1} has a middle"
            raise LayerError(f"local_size {p.local_size} is even", field="local_size", help=help)
        within = p.norm_region == LRNParameter.WITHIN_CHANNEL
        return cls(p.local_size, p.alpha, p.beta, 1.0 if within else p.k, within)

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise LayerError(f"takes 4 axes (batch, channels, height, width), not {len(x)}", field="bottom")
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[n c h w] -> y[n c h w]"""
        # Squares of half floats overflow from 256 on.
        squares = x.to(torch.promote_types(x.dtype, torch.float32)).square()
        if self.within:
            mean = F.avg_pool2d(squares, self.size, 1, self.size // 2)
        else:
            # Channels as the rows of a picture, pixels as its columns.
            rows = squares.flatten(2)[:, None]
            mean = F.avg_pool2d(rows, (self.size, 1), 1, (self.size // 2, 0)).view_as(x)
        return x * (mean * self.alpha + self.k).pow(-self.beta).to(x.dtype)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        if not self.within:
            return emit("LRN", x, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)
        mean = emit(
            "AveragePool",
            emit("Mul", x, x),
            kernel_shape=[self.size] * 2,
            strides=[1, 1],
            pads=[self.size // 2] * 4,
            count_include_pad=1,
        )
        divisor = emit("Add", emit("Mul", mean, emit.constant(self.alpha)), emit.constant(self.k))
        return emit("Div", x, emit("Pow", divisor, emit.constant(self.beta)))

    def flops(self, x: Shape, y: Shape) -> int:
        neighbours = self.size**2 if self.within else self.size
        return math.prod(y) * (neighbours + 5)
