"""Softmax: scores to probabilities."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers import axes
from nktc.schema import SoftmaxParameter


class Softmax(Layer, param="softmax_param", in_place=True, saves="outputs"):
    """Turns scores into probabilities that sum to 1 along `axis`."""

    axis: int = 1

    @classmethod
    def read(cls, p: SoftmaxParameter, phase: Phase) -> Self:
        return cls(p.axis)

    def shape(self, x: Shape) -> Shape:
        axes.resolve(self.axis, x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[n.. c p..] -> y[n.. c p..]"""
        return F.softmax(x, self.axis)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Softmax", x, axis=axes.resolve(self.axis, x.shape))

    def flops(self, x: Shape, y: Shape) -> int:
        return 4 * math.prod(y)
