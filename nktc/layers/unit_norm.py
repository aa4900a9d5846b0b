"""Normalize: values divided by their norm."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers.settings import filler
from nktc.schema import ItemNormalizeParameter, NormalizeParameter

EPS = 1e-6  # what caffe-windows adds to the sum, whatever the net says


class Normalize(Layer, param=("norm_param", "normalize_param"), tops=(1, 2)):
    """Divides an item, or each pixel's channels, by its norm.

    With `norm_param`, or none: SSD's. The norm is the Euclidean one, with `eps` in the root, of the whole item or
    (`across_spatial: false`) of the channels at each pixel, and a learned scale follows, one for all channels or one
    for each. With `normalize_param`, or two tops: that of caffe-windows. The norm, L2 or L1, is of the channels at
    each pixel, there is no scale, and a second top is the norm [n 1 p..].
    """

    across: bool = True
    shared: bool = True
    eps: float = 1e-10
    scale: Filler | None = Filler(value=1.0)
    kind: str = "L2"
    through_norm: bool = False
    norms: bool = False

    @classmethod
    def read(cls, p: NormalizeParameter, item: ItemNormalizeParameter, phase: Phase) -> Self:
        if p.ListFields() and item.ListFields():
            help = "norm_param is SSD's Normalize, normalize_param is that of caffe-windows: give one"
            raise LayerError("has norm_param and normalize_param", field="normalize_param", help=help)
        if item.ListFields():
            if item.normalize_type not in ("L1", "L2"):
                raise LayerError(
                    f'normalize_type is "{item.normalize_type}"', field="normalize_type", help="give L1 or L2"
                )
            if item.fix_gradient and phase is Phase.TRAIN:
                help = "leave it out: the gradient is that of what is computed"
                message = "fix_gradient, a gradient without the norm, is not supported"
                raise LayerError(message, field="fix_gradient", help=help)
            return cls(False, True, EPS, None, item.normalize_type, item.bp_norm)
        scale = filler(p.scale_filler, "scale_filler") if p.HasField("scale_filler") else Filler(value=1.0)
        return cls(p.across_spatial, p.channel_shared, p.eps, scale)

    def with_tops(self, tops: int) -> Self:
        if tops == 1:
            return self
        if self.scale is not None and self != type(self)():
            help = "only the Normalize of caffe-windows, with normalize_param, has the norm as a second top"
            raise LayerError("makes 1 top with norm_param, not 2", field="top", help=help)
        return type(self)(False, True, EPS, None, self.kind, self.through_norm, norms=True)

    def shape(self, x: Shape) -> Shape | list[Shape]:
        if len(x) < 2:
            raise LayerError(f"takes 2 axes or more (batch, channels, ...), not {len(x)}", field="bottom")
        return [x, (x[0], 1, *x[2:])] if self.norms else x

    def weights(self, x: Shape) -> dict[str, Weight]:
        return {} if self.scale is None else {"weight": Weight(() if self.shared else (x[1],), self.scale)}

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """x[n c p..] weight[] or [c] -> y[n c p..], norm[n 1 p..] where it is a top"""
        along = tuple(range(1, x.dim())) if self.across else (1,)
        if weight is not None and not self.shared:
            scaled: Tensor = ScaledChannels.apply(x, weight.reshape(-1, *(1 for _ in x.shape[2:])), along, self.eps)
            return scaled
        sizes = x.abs() if self.kind == "L1" else x.square()
        total = sizes.sum(along, keepdim=True) + self.eps
        norm = total if self.kind == "L1" else total.sqrt()
        y = x / norm
        if self.norms:
            return y, norm if self.through_norm else norm.detach()
        return y if weight is None else y * weight

    def onnx(self, emit: Emitter, x: Operand, weight: Operand | None = None) -> Operand | tuple[Operand, Operand]:
        along = list(range(1, len(x.shape))) if self.across else [1]
        sizes = emit("Abs", x) if self.kind == "L1" else emit("Mul", x, x)
        total = emit("ReduceSum", sizes, emit.constant(along, "int64"), keepdims=1)
        total = emit("Add", total, emit.constant(self.eps))
        norm = total if self.kind == "L1" else emit("Sqrt", total)
        y = emit("Div", x, norm)
        if self.norms:
            return y, norm
        if weight is None:
            return y
        aligned = (1,) if self.shared else (x.shape[1], *(1 for _ in x.shape[2:]))
        return emit("Mul", y, emit("Reshape", weight, emit.constant(aligned, "int64")))

    def flops(self, x: Shape, *made: Shape) -> int:
        return math.prod(x) * (3 + (self.scale is not None))


class ScaledChannels(torch.autograd.Function):
    """x / norm times a factor for each channel, with the gradient that SSD's Caffe has.

    That applies the factors to the gradient last: right only where all are equal. A net that learns through it learns
    as it did there.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Tensor, along: tuple[int, ...], eps: float) -> Tensor:
        norm = (x.square().sum(along, keepdim=True) + eps).sqrt()
        ctx.save_for_backward(x, factors, norm)
        ctx.along = along
        return x / norm * factors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, factors, norm = ctx.saved_tensors
        own = (gradient - x * ((x * gradient).sum(ctx.along, keepdim=True) / norm.square())) / norm * factors
        return own, (gradient * x / norm).sum_to_size(1, *factors.shape)[0], None, None
