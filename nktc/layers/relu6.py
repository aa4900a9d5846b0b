"""The forks' ReLUs: ReLU6, which ends at 6, and CReLU, which keeps both signs."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers import axes
from nktc.schema import CReLUParameter, ReLUParameter


class ReLU6(Layer, param="relu6_param", in_place=True):
    """Keeps values between 0 and 6, holds larger ones at 6 and multiplies negative ones by a slope, 0 unless given.

    Source: MobileNet-YOLO and caffe2onnx.
    """

    negative_slope: float = 0.0

    @classmethod
    def read(cls, p: ReLUParameter, phase: Phase) -> Self:
        if p.negative_slope < 0:
            help = "a slope from 0 on keeps the sign, so that the layer can run in place"
            raise LayerError(f"negative_slope is {p.negative_slope:g}", field="negative_slope", help=help)
        return cls(p.negative_slope)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; the gradient at 0 is that of the negative side, that at 6 is 0."""
        y = F.relu6(x)
        return y if not self.negative_slope else y + self.negative_slope * x.clamp(max=0)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        if not self.negative_slope:
            return emit("Clip", x, emit.constant(0.0), emit.constant(6.0))
        return emit("Min", emit("LeakyRelu", x, alpha=self.negative_slope), emit.constant(6.0))

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * math.prod(y)


class CReLU(Layer, param="crelu_param", saves="outputs"):
    """The ReLU of its input and the ReLU of the negated input, one behind the other along an axis.

    Source: Shang et al. 2016; the settings are those of Cambricon's Caffe.
    """

    axis: int = 1
    negative_slope: float = 0.0

    @classmethod
    def read(cls, p: CReLUParameter, phase: Phase) -> Self:
        return cls(p.concat_axis, p.negative_slope)

    def shape(self, x: Shape) -> Shape:
        axis = axes.resolve(self.axis, x, "concat_axis")
        return (*x[:axis], 2 * x[axis], *x[axis + 1 :])

    def forward(self, x: Tensor) -> Tensor:
        """x[.. c ..] -> y[.. 2*c ..]; the gradient at 0 is that of the negative side."""
        return F.leaky_relu(torch.cat([x, -x], self.axis), self.negative_slope)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        both = emit("Concat", x, emit("Neg", x), axis=self.axis % len(x.shape))
        return emit("LeakyRelu", both, alpha=self.negative_slope) if self.negative_slope else emit("Relu", both)

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y) + math.prod(x)
