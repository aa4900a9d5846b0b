"""Bends of each value on its own, as they stand between layers: ReLU and its kin, Sigmoid, TanH, and smooth ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import settings
from nktc.layers.arithmetic import Overwritten
from nktc.schema import (
    ELUParameter,
    GELUParameter,
    PReLUParameter,
    ReLUParameter,
    SoftplusParameter,
    SwishParameter,
)


class BNLL(Layer, in_place=True):
    """Turns each value x into log(1 + exp(x)): about 0 for small values, about x for large ones."""

    overwrites: bool = False

    def overwriting(self) -> Self:
        return replace(self, overwrites=True)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; in place the gradient is Caffe's, see `Overwritten`."""
        y = F.softplus(x)
        return Overwritten.apply(x, y, y.sigmoid(), False) if self.overwrites else y

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Softplus", x)

    def flops(self, x: Shape, y: Shape) -> int:
        return 3 * math.prod(y)


class ELU(Layer, param="elu_param", in_place=True):
    """Keeps positive values x and bends negative ones to alpha (exp(x) - 1), which ends at -alpha."""

    alpha: float = 1.0
    overwrites: bool = False

    @classmethod
    def read(cls, p: ELUParameter, phase: Phase) -> Self:
        return cls(p.alpha)

    def overwriting(self) -> Self:
        # With an alpha from 0 on the output has the sign of the input, and nothing is lost.
        return replace(self, overwrites=self.alpha < 0)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; the gradient at 0 is that of the negative side. In place with an alpha below 0 it is Caffe's,
        see `Overwritten`."""
        y = F.elu(x, self.alpha)
        if not self.overwrites:
            return y
        return Overwritten.apply(x, y, torch.where(y > 0, 1.0, y + self.alpha), False)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Elu", x, alpha=self.alpha)

    def flops(self, x: Shape, y: Shape) -> int:
        return 3 * math.prod(y)


class GELU(Layer, param="gelu_param", in_place=True):
    """Multiplies each value by the probability that a normal number is below it.

    With `tanh` the probability is taken from a hyperbolic tangent near it. Source: Hendrycks and Gimpel 2016.
    """

    tanh: bool = False

    @classmethod
    def read(cls, p: GELUParameter, phase: Phase) -> Self:
        return cls(p.approximate == GELUParameter.TANH)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return F.gelu(x, approximate="tanh" if self.tanh else "none")

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        # The operator Gelu exists from opset 20 only.
        if self.tanh:
            cube = emit("Mul", emit("Mul", x, x), x)
            bent = emit("Add", x, emit("Mul", cube, emit.constant(0.044715)))
            odd = emit("Tanh", emit("Mul", bent, emit.constant(math.sqrt(2 / math.pi))))
        else:
            odd = emit("Erf", emit("Div", x, emit.constant(math.sqrt(2))))
        return emit("Mul", emit("Mul", x, emit.constant(0.5)), emit("Add", odd, emit.constant(1.0)))

    def flops(self, x: Shape, y: Shape) -> int:
        return (9 if self.tanh else 5) * math.prod(y)


class HardSwish(Layer, in_place=True):
    """Multiplies each value x by (x + 3) / 6, held between 0 and 1: SiLU in straight pieces.

    Source: Howard et al. 2019 (MobileNetV3).
    """

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return F.hardswish(x)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("HardSwish", x)

    def flops(self, x: Shape, y: Shape) -> int:
        return 5 * math.prod(y)


class PReLU(Layer, param="prelu_param", in_place=True):
    """Keeps positive values and multiplies negative ones by a slope learned for each channel, or for all."""

    shared: bool = False
    filler: Filler = Filler(value=0.25)

    @classmethod
    def read(cls, p: PReLUParameter, phase: Phase) -> Self:
        filler = settings.filler(p.filler, "filler") if p.HasField("filler") else Filler(value=0.25)
        return cls(p.channel_shared, filler)

    def shape(self, x: Shape) -> Shape:
        if len(x) < 2:
            raise LayerError(f"takes 2 axes or more (batch, channels, ...), not {len(x)}", field="bottom")
        return x

    def weights(self, x: Shape) -> dict[str, Weight]:
        return {"slope": Weight(() if self.shared else (x[1],), self.filler)}

    def forward(self, x: Tensor, slope: Tensor) -> Tensor:
        """x[n c p..] slope[c] (or slope[]) -> y[n c p..]; the gradient at 0 is that of the negative side."""
        return F.prelu(x, slope)

    def onnx(self, emit: Emitter, x: Operand, slope: Operand) -> Operand:
        if len(x.shape) > 2 and not self.shared:
            aligned = (*slope.shape, *(1,) * (len(x.shape) - 2))
            return emit("PRelu", x, emit("Reshape", slope, emit.constant(aligned, "int64")))
        return emit("PRelu", x, slope)

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y)


class ReLU(Layer, param="relu_param", in_place=True, saves="outputs"):
    """Keeps positive values and multiplies negative ones by a slope, 0 unless given."""

    negative_slope: float = 0.0
    overwrites: bool = False

    @classmethod
    def read(cls, p: ReLUParameter, phase: Phase) -> Self:
        return cls(p.negative_slope)

    def overwriting(self) -> Self:
        # With a slope from 0 on the output has the sign of the input, and nothing is lost.
        return replace(self, overwrites=self.negative_slope < 0)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; the gradient at 0 is that of the negative side. In place with a slope below 0 it is Caffe's,
        see `Overwritten`."""
        y = F.leaky_relu(x, self.negative_slope) if self.negative_slope else F.relu(x)
        if not self.overwrites:
            return y
        return Overwritten.apply(x, y, torch.where(y > 0, 1.0, self.negative_slope).to(y.dtype), False)

    def forward_in_place(self, x: Tensor) -> Tensor:
        """x[..] -> y[..], the same written over x; only for a slope from 0 on."""
        return F.leaky_relu(x, self.negative_slope, inplace=True) if self.negative_slope else F.relu(x, inplace=True)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("LeakyRelu", x, alpha=self.negative_slope) if self.negative_slope else emit("Relu", x)

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y)


class Sigmoid(Layer, param="sigmoid_param", in_place=True, saves="outputs"):
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


class SiLU(Layer, in_place=True):
    """Multiplies each value by its sigmoid: x / (1 + exp(-x))."""

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return F.silu(x)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Mul", x, emit("Sigmoid", x))

    def flops(self, x: Shape, y: Shape) -> int:
        return 4 * math.prod(y)


class Softplus(Layer, param="softplus_param", in_place=True):
    """Turns each value x into log(1 + exp(beta x)) / beta: a ReLU whose bend is round."""

    beta: float = 1.0

    @classmethod
    def read(cls, p: SoftplusParameter, phase: Phase) -> Self:
        if not 0 < p.beta < math.inf:
            raise LayerError(f"beta is {p.beta:g}", field="beta", help="give a number above 0")
        return cls(p.beta)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return F.softplus(x, self.beta)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        if self.beta == 1:
            return emit("Softplus", x)
        beta = emit.constant(self.beta)
        return emit("Div", emit("Softplus", emit("Mul", x, beta)), beta)

    def flops(self, x: Shape, y: Shape) -> int:
        return 5 * math.prod(y)


class Swish(Layer, param="swish_param", in_place=True):
    """Multiplies each value x by the sigmoid of beta x."""

    beta: float = 1.0

    @classmethod
    def read(cls, p: SwishParameter, phase: Phase) -> Self:
        return cls(p.beta)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return x * torch.sigmoid(x * self.beta)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        bent = x if self.beta == 1 else emit("Mul", x, emit.constant(self.beta))
        return emit("Mul", x, emit("Sigmoid", bent))

    def flops(self, x: Shape, y: Shape) -> int:
        return 5 * math.prod(y)


class TanH(Layer, param="tanh_param", in_place=True, saves="outputs"):
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
