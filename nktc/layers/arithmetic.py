"""Arithmetic on each value on its own: AbsVal, Clip, Exp, Log, Power, Threshold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.schema import ClipParameter, ExpParameter, LogParameter, PowerParameter, ThresholdParameter


class AbsVal(Layer):
    """Takes off the sign of each value."""

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; the gradient at 0 is 0."""
        return x.abs()

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Abs", x)

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y)


class Clip(Layer, param="clip_param", in_place=True):
    """Holds each value between `min` and `max`."""

    min: float
    max: float
    overwrites: bool = False

    @classmethod
    def read(cls, p: ClipParameter, phase: Phase) -> Self:
        if not p.HasField("min"):
            raise LayerError("has no clip_param", help="add clip_param { min: 0 max: 6 } for a ReLU6")
        if not p.min <= p.max:
            raise LayerError(f"nothing is between min {p.min:g} and max {p.max:g}", field="min", help="swap them")
        return cls(p.min, p.max)

    def overwriting(self) -> Self:
        return replace(self, overwrites=True)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; the gradient passes at min and at max too, and everywhere in place."""
        y = x.clamp(self.min, self.max)
        return Overwritten.apply(x, y, torch.ones_like(y), False) if self.overwrites else y

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Clip", x, emit.constant(self.min), emit.constant(self.max))

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * math.prod(y)


class Exp(Layer, param="exp_param", in_place=True):
    """Raises a base, e unless given, to the power shift + scale x."""

    base: float = math.e
    scale: float = 1.0
    shift: float = 0.0

    @classmethod
    def read(cls, p: ExpParameter, phase: Phase) -> Self:
        return cls(_base(p), p.scale, p.shift)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return torch.exp((x * self.scale + self.shift) * math.log(self.base))

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        exponent = _scaled(emit, x, self.scale, self.shift)
        if self.base != math.e:
            exponent = emit("Mul", exponent, emit.constant(math.log(self.base)))
        return emit("Exp", exponent)

    def flops(self, x: Shape, y: Shape) -> int:
        return 4 * math.prod(y)


class Log(Layer, param="log_param", in_place=True):
    """Takes the logarithm of shift + scale x, to the base e unless given."""

    base: float = math.e
    scale: float = 1.0
    shift: float = 0.0
    overwrites: bool = False

    @classmethod
    def read(cls, p: LogParameter, phase: Phase) -> Self:
        base = _base(p)
        if base == 1:
            raise LayerError("there is no logarithm to the base 1", field="base", help="leave it out for e")
        return cls(base, p.scale, p.shift)

    def overwriting(self) -> Self:
        return replace(self, overwrites=True)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; in place the gradient is Caffe's, see `Overwritten`."""
        y = torch.log(x * self.scale + self.shift) / math.log(self.base)
        if not self.overwrites:
            return y
        slope = self.scale / math.log(self.base) / (y * self.scale + self.shift)
        return Overwritten.apply(x, y, slope, True)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        y = emit("Log", _scaled(emit, x, self.scale, self.shift))
        return y if self.base == math.e else emit("Div", y, emit.constant(math.log(self.base)))

    def flops(self, x: Shape, y: Shape) -> int:
        return 4 * math.prod(y)


class Power(Layer, param="power_param", in_place=True):
    """Raises shift + scale x to a power."""

    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0
    overwrites: bool = False

    @classmethod
    def read(cls, p: PowerParameter, phase: Phase) -> Self:
        return cls(p.power, p.scale, p.shift)

    def overwriting(self) -> Self:
        return replace(self, overwrites=True)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; with a scale or power of 0 a constant, whose gradient is 0 even where x is not finite. In
        place the gradient is Caffe's, see `Overwritten`."""
        if self.scale == 0 or self.power == 0:
            # The sign of anything is finite, so this is the constant and keeps a path for the gradient.
            return torch.full_like(x, self.shift).pow(self.power) + x.sign() * 0
        scaled = x * self.scale + self.shift
        y = scaled if self.power == 1 else scaled.pow(self.power)
        return Overwritten.apply(x, y, self._slope(y), True) if self.overwrites else y

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        scaled = _scaled(emit, x, self.scale, self.shift)
        return scaled if self.power == 1 else emit("Pow", scaled, emit.constant(self.power))

    def flops(self, x: Shape, y: Shape) -> int:
        return 3 * math.prod(y)

    def _slope(self, y: Tensor) -> Tensor:
        """What Caffe takes for the slope at x where only y is left."""
        factor = self.power * self.scale
        match self.power:
            case 1:
                return torch.full_like(y, factor)
            case 2:
                return factor * (y * self.scale + self.shift)
        return self.power * y / y if self.shift == 0 else factor * y / (y * self.scale + self.shift)


class Threshold(Layer, param="threshold_param", in_place=True):
    """Turns each value above a limit into 1 and every other into 0; no gradient passes."""

    threshold: float = 0.0

    @classmethod
    def read(cls, p: ThresholdParameter, phase: Phase) -> Self:
        return cls(p.threshold)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..], 0 at the limit itself"""
        return (x > self.threshold).to(x.dtype)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("CastLike", emit("Greater", x, emit.constant(self.threshold)), x)

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y)


class Overwritten(torch.autograd.Function):
    """The gradient that Caffe has for a layer whose output takes its input's place: the slope is that at the output,
    all that is left; where the slope is written over the gradient too (`squared`), it is multiplied by itself.

    A net that learns through one learns as it did in Caffe. A top of its own gives the layer its right gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, slope: Tensor, squared: bool) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.squared = squared
        return y.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * (slope if ctx.squared else gradient), None, None, None


def _base(p: ExpParameter | LogParameter) -> float:
    """The base, where -1 stands for e. Raises LayerError."""
    if p.base == -1:
        return math.e
    if not 0 < p.base < math.inf:
        raise LayerError(f"base is {p.base:g}", field="base", help="give a number above 0, or -1 for e")
    return p.base


def _scaled(emit: Emitter, x: Operand, scale: float, shift: float) -> Operand:
    """shift + scale x"""
    scaled = x if scale == 1 else emit("Mul", x, emit.constant(scale))
    return scaled if shift == 0 else emit("Add", scaled, emit.constant(shift))
