"""Dropout and SpatialDropout: noise that keeps a net from leaning on single values, or on whole channels."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.schema import DropoutParameter


class Dropout(Layer, param="dropout_param", in_place=True, saves="outputs"):
    """Sets a random share of its values to 0 in TRAIN and scales the rest up; copies its input in TEST."""

    ratio: float = 0.5
    active: bool = False

    @classmethod
    def read(cls, p: DropoutParameter, phase: Phase) -> Self:
        if not 0 <= p.dropout_ratio < 1:
            raise LayerError(
                f"dropout_ratio {p.dropout_ratio:g} is outside 0 to 1",
                field="dropout_ratio",
                help="0.5 drops every second value; 1 would leave none",
            )
        return cls(p.dropout_ratio, phase is Phase.TRAIN)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        return F.dropout(x, self.ratio) if self.active else x

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        if self.active:
            raise LayerError("its TRAIN form is random and has no ONNX form", help="export the TEST net")
        return x

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y) if self.active else 0

    def aside(self, x: Shape, y: Shape) -> int:
        """The mask."""
        return math.prod(y) if self.active else 0


class SpatialDropout(Dropout, param="dropout_param", in_place=True, saves="nothing"):
    """Sets a random share of its channels to 0 in TRAIN and scales the rest up; copies its input in TEST.

    Every item has channels of its own dropped. Source: Tompson et al. 2015; Intel's Caffe.
    """

    def shape(self, x: Shape) -> Shape:
        if len(x) < 2:
            raise LayerError(f"takes 2 axes or more (batch, channels, ...), not {len(x)}", field="bottom")
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[n c p..] -> y[n c p..]"""
        if not self.active:
            return x
        return x * F.dropout(x.new_ones(*x.shape[:2], *(1,) * (x.dim() - 2)), self.ratio)

    def aside(self, x: Shape, y: Shape) -> int:
        """The mask, one number a channel."""
        return math.prod(y[:2]) if self.active else 0
