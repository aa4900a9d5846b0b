"""Functions of each value on its own: ReLU, Sigmoid, TanH."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.schema import ReLUParameter


class ReLU(Layer, param="relu_param", in_place=True):
    """Keeps positive values and multiplies negative ones by a slope, 0 unless given."""

    negative_slope: float = 0.0

    @classmethod
    def read(cls, p: ReLUParameter, phase: Phase) -> Self:
        return cls(p.negative_slope)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; the gradient at 0 is that of the negative side."""
        return F.leaky_relu(x, self.negative_slope) if self.negative_slope else F.relu(x)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("LeakyRelu", x, alpha=self.negative_slope) if self.negative_slope else emit("Relu", x)

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y)


class Sigmoid(Layer, in_place=True):
    """Squeezes each value x into 0 to 1: 1 / (1 + exp(-x))."""

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return x.sigmoid()

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Sigmoid", x)

    def flops(self, x: Shape, y: Shape) -> int:
        return 3 * math.prod(y)


class TanH(Layer, in_place=True):
    """Squeezes each value into -1 to 1 by the hyperbolic tangent."""

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return x.tanh()

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Tanh", x)

    def flops(self, x: Shape, y: Shape) -> int:
        return 3 * math.prod(y)
