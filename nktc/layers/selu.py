"""Layers that keep mean 0 and variance 1: SeLu under its three names, and its dropout."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers.arithmetic import Overwritten
from nktc.layers.dropout import Dropout
from nktc.schema import SeLuDropoutParameter, SeLuParameter


class SeLu(Layer, param="selu_param", in_place=True):
    """Multiplies positive values x by lambda, and bends negative ones to lambda alpha (exp(x) - 1).

    Source: Klambauer et al. 2017; the settings are those of DeepDetect's Caffe.
    """

    scale: float
    alpha: float
    overwrites: bool = False

    @classmethod
    def read(cls, p: SeLuParameter, phase: Phase) -> Self:
        if p.alpha < 0 or not p.alpha < math.inf:
            raise LayerError(f"alpha is {p.alpha:g}", field="alpha", help="give a number from 0 on")
        return cls(getattr(p, "lambda"), p.alpha)

    def overwriting(self) -> Self:
        return replace(self, overwrites=True)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]; the gradient at 0 is that of the negative side. In place it is DeepDetect's, see
        `Overwritten`."""
        y = F.elu(x, self.alpha) * self.scale
        if not self.overwrites:
            return y
        slope = torch.where(y > 0, self.scale, self.scale * self.alpha * y.exp()).to(y.dtype)
        return Overwritten.apply(x, y, slope, False)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Mul", emit("Elu", x, alpha=self.alpha), emit.constant(self.scale))

    def flops(self, x: Shape, y: Shape) -> int:
        return 4 * math.prod(y)


class SELU(SeLu, param="selu_param", in_place=True):
    """SeLu under another name."""


class SeLU(SeLu, param="selu_param", in_place=True):
    """SeLu under another name."""


class SeLuDropout(Dropout, param="selu_dropout_param", in_place=True, saves="nothing"):
    """Sets a random share of its values to `alpha` in TRAIN, then brings all to the mean and the variance that they
    had; copies its input in TEST.

    Source: Klambauer et al. 2017; the settings are those of DeepDetect's Caffe.
    """

    alpha: float = -1.7580993

    @classmethod
    def read(cls, p: SeLuDropoutParameter, phase: Phase) -> Self:  # type: ignore[override]
        if not 0 <= p.dropout_ratio < 1:
            said = f"dropout_ratio {p.dropout_ratio:g} is outside 0 to 1"
            raise LayerError(said, field="dropout_ratio", help="0.1 drops every tenth value; 1 would leave none")
        return cls(p.dropout_ratio, phase is Phase.TRAIN, p.alpha)

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        if not self.active:
            return x
        kept = 1 - self.ratio
        factor = (kept * (1 + self.alpha**2 * self.ratio)) ** -0.5
        dropped = torch.rand_like(x) < self.ratio
        return factor * x.masked_fill(dropped, self.alpha) - factor * self.ratio * self.alpha
