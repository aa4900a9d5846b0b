"""BN: the batch normalisations of SegNet and of PSPNet, which have one name."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import settings
from nktc.layers.batch_norm import by_batch, emit_normalised
from nktc.schema import BNParameter

SEGNET = ("scale_filler", "shift_filler", "bn_mode")
PSPNET = ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine")
SEGNET_EPS = 1e-9


class BN(Layer, param="bn_param", tops=(1, 3), in_place=True):
    """Brings every channel to mean 0 and variance 1, then multiplies it by a learned factor and adds a learned shift.

    What else it does depends on the fork, which its fields tell. SegNet's (scale_filler, shift_filler, bn_mode) has 2
    weights and takes mean and variance from the batch, in TEST too; a second and a third top have them. In mode
    INFERENCE it is the factor and the shift alone. PSPNet's and TSN's (slope_filler, bias_filler, momentum, eps,
    frozen) has 4: the factor, the shift, and the mean and the variance that it stores in TRAIN and takes in TEST;
    `frozen` takes them in TRAIN too and learns nothing. caffe-windows's has the same fields, and 1 / sqrt(variance +
    eps) in place of the variance.
    """

    kind: str  # BATCH and AFFINE are SegNet's two, STORED takes what was stored, TRAINED stores it
    eps: float = SEGNET_EPS
    keep: float = 0.9  # share of the stored mean and variance that stays at each step
    frozen: bool = False
    fillers: tuple[Filler, Filler] = (Filler(), Filler())
    tells: int = 0  # how many of mean and variance are tops

    @classmethod
    def read(cls, p: BNParameter, phase: Phase) -> Self:
        segnet, pspnet = ([name for name in names if p.HasField(name)] for names in (SEGNET, PSPNET))  # type: ignore[arg-type]
        if segnet and pspnet:
            raise LayerError(
                f"{segnet[0]} is SegNet's, {pspnet[0]} is PSPNet's",
                field=pspnet[0],
                help="they are two layers of one name: keep the fields of one",
            )
        if segnet:
            fillers = (settings.filler(p.scale_filler, segnet[0]), settings.filler(p.shift_filler, "shift_filler"))
            return cls("AFFINE" if p.bn_mode == BNParameter.INFERENCE else "BATCH", fillers=fillers)
        if not pspnet:
            raise LayerError(
                "does not say which of two it is",
                field="bn_param",
                help="add bn_mode: LEARN for SegNet's with 2 weights, momentum: 0.9 for PSPNet's with 4",
            )
        if not 0 <= p.momentum <= 1:
            raise LayerError(f"momentum {p.momentum:g} is outside 0 to 1", field="momentum")
        fillers = (settings.filler(p.slope_filler, "slope_filler"), settings.filler(p.bias_filler, "bias_filler"))
        kind = "STORED" if p.frozen or phase is Phase.TEST else "TRAINED"
        return cls(kind, p.eps, p.momentum, p.frozen, fillers)

    def with_tops(self, tops: int) -> Self:
        if tops > 1 and self.kind != "BATCH":
            help = "only SegNet's tells the mean and the variance of the batch, in mode LEARN"
            raise LayerError(f"makes 1 top, not {tops}", field="top", help=help)
        return replace(self, tells=tops - 1)

    def shape(self, x: Shape) -> Shape | list[Shape]:
        if len(x) < 2:
            raise LayerError(f"takes 2 axes or more (batch, channels, ...), not {len(x)}", field="bottom")
        return [x, *[(1, x[1], 1, 1)] * self.tells] if self.tells else x

    def weights(self, x: Shape) -> dict[str, Weight]:
        # Four axes, as the forks' files have it.
        own = (1, x[1], 1, 1)
        factor, shift = self.fillers
        weights = {"slope": Weight(own, factor, not self.frozen), "bias": Weight(own, shift, not self.frozen)}
        if self.kind not in ("BATCH", "AFFINE"):
            start = Filler(value=float(self.frozen))
            weights |= {"mean": Weight(own, learns=False), "variance": Weight(own, start, learns=False)}
        return weights

    def forward(
        self, x: Tensor, slope: Tensor, bias: Tensor, mean: Tensor | None = None, variance: Tensor | None = None
    ) -> Any:
        """x[n c p..] slope[1 c 1 1] bias[1 c 1 1] mean[1 c 1 1] variance[1 c 1 1] -> y[n c p..], the batch's mean and
        variance[1 c 1 1]"""
        factor, shift = slope.flatten(), bias.flatten()
        if self.kind == "AFFINE":
            aligned = (-1, *(1,) * (x.dim() - 2))
            return x * factor.reshape(aligned) + shift.reshape(aligned)
        if self.kind == "STORED":
            assert mean is not None
            assert variance is not None
            return F.batch_norm(x, mean.flatten(), variance.flatten(), factor, shift, eps=self.eps)
        y, middle, unbiased = by_batch(x, factor, shift, self.eps, factor.detach())
        count = x.numel() // x.shape[1]
        spread = unbiased * ((count - 1) / count)
        if mean is not None and variance is not None:
            with torch.no_grad():
                mean.lerp_(middle.view_as(mean), 1 - self.keep)
                variance.lerp_(spread.view_as(variance), 1 - self.keep)
        told = [one.detach().view(1, -1, 1, 1) for one in (middle, spread)[: self.tells]]
        return (y, *told) if told else y

    def onnx(
        self,
        emit: Emitter,
        x: Operand,
        slope: Operand,
        bias: Operand,
        mean: Operand | None = None,
        variance: Operand | None = None,
    ) -> Any:
        flat = emit.constant([-1], "int64")
        if self.kind == "STORED":
            given = (emit("Reshape", one, flat) for one in (slope, bias, mean, variance))
            return emit("BatchNormalization", x, *given, epsilon=self.eps)
        aligned = emit.constant([-1, *(1,) * (len(x.shape) - 2)], "int64")
        y, told = x, []
        if self.kind != "AFFINE":
            y, *moments = emit_normalised(emit, x, self.eps)
            one = emit.constant([1, x.shape[1], 1, 1], "int64")
            told = [emit("Reshape", found, one) for found in moments[: self.tells]]
        for op, along in (("Mul", slope), ("Add", bias)):
            y = emit(op, y, emit("Reshape", along, aligned))
        return (y, *told) if told else y

    def flops(self, x: Shape, y: Shape, *told: Shape) -> int:
        return math.prod(y) * {"AFFINE": 2, "STORED": 4}.get(self.kind, 9)
