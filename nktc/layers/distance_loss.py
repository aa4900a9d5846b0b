"""Losses of distances and margins: EuclideanLoss, L1Loss, SmoothL1Loss, ContrastiveLoss, HingeLoss."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, times
from nktc.layers.accuracy import one_label_an_item
from nktc.layers.loss import same_batch, same_count
from nktc.schema import (
    ContrastiveLossParameter,
    HingeLossParameter,
    L1LossParameter,
    LossParameter,
    SmoothL1LossParameter,
    SmoothL1Parameter,
)


class EuclideanLoss(Layer, loss=True):
    """Half the squared distance of its two inputs, averaged over the batch."""

    def shape(self, a: Shape, b: Shape) -> Shape:
        same_batch(a, b)
        same_count(a, b)
        return ()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a[n ..] b[n ..] -> loss[]"""
        return F.mse_loss(a, b.reshape(a.shape), reduction="sum") / (2 * a.shape[0])

    def flops(self, *shapes: Shape) -> int:
        return 3 * math.prod(shapes[0])


class L1Loss(Layer, param="l1_loss_param", loss=True):
    """The distance of its two inputs along the axes, summed, and averaged over the batch. Source: NVIDIA Caffe."""

    @classmethod
    def read(cls, p: L1LossParameter, phase: Phase) -> Self:
        for name in ("l2_per_location", "l2_prescale_by_channels", "normalize_by_num_entries", "plateau"):
            if getattr(p, name):
                help = "leave it out: the loss is then the sum of all differences, divided by the batch"
                raise LayerError(f"{name}, of FlowNet2's L1Loss, is not supported", field=name, help=help)
        return cls()

    def shape(self, a: Shape, b: Shape) -> Shape:
        same_batch(a, b)
        same_count(a, b)
        return ()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a[n ..] b[n ..] -> loss[]; the gradient where they are equal is 0"""
        return (a - b.reshape(a.shape)).abs().sum() / a.shape[0]

    def flops(self, *shapes: Shape) -> int:
        return 2 * math.prod(shapes[0])


class SmoothL1Loss(Layer, param=("smooth_l1_loss_param", "smoothl1_param", "loss_param"), loss=True):
    """A distance of its two inputs that is square where it is small and linear beyond, averaged over the batch.

    Of a difference d it is half of (sigma d)^2 up to 1 / sigma^2, and |d| less half of that beyond; with `turn_point`
    in place of sigma, half of d^2 up to there, with a slope of 1 beyond. A third input is multiplied with the
    differences, as in SSD's Caffe, which leaves it out of the gradient; with a fourth, multiplied with what they
    cost, as in Fast R-CNN, the gradient is that of the loss. `normalization: NONE` takes the sum.
    """

    sigma: float = 1.0
    turn: float | None = None
    averages: bool = True

    @classmethod
    def read(cls, p: SmoothL1LossParameter, turn: SmoothL1Parameter, loss: LossParameter, phase: Phase) -> Self:
        for field, value in (("sigma", p.sigma), ("turn_point", turn.turn_point)):
            if not (value > 0 and math.isfinite(value)):
                raise LayerError(f"{field} is {value:g}", field=field, help="give a number above 0")
        point = turn.turn_point if turn.HasField("turn_point") else None
        return cls(p.sigma, point, loss.normalization != LossParameter.NONE or not loss.HasField("normalization"))

    def shape(self, a: Shape, b: Shape, inside: Shape | None = None, outside: Shape | None = None) -> Shape:
        same_batch(a, b)
        for other in (b, inside, outside):
            if other is not None:
                same_count(a, other)
        return ()

    def forward(self, a: Tensor, b: Tensor, inside: Tensor | None = None, outside: Tensor | None = None) -> Tensor:
        """a[n ..] b[n ..] inside[n ..] outside[n ..] -> loss[]; no gradient is for inside and outside"""
        difference = a - b.reshape(a.shape)
        if inside is not None:
            weighted = difference * inside.detach().reshape(a.shape)
            # Without outside it is SSD's, whose gradient lacks the weight.
            difference = weighted if outside is not None else difference + (weighted - difference).detach()
        size = difference.abs()
        if self.turn is not None:
            small, square = self.turn, difference.square() / 2
            far = size - small + small * small / 2
        else:
            small, square = 1 / self.sigma**2, difference.square() * (self.sigma**2 / 2)
            far = size - small / 2
        costs = torch.where(size < small, square, far)
        if outside is not None:
            costs = costs * outside.detach().reshape(a.shape)
        return costs.sum() / a.shape[0] if self.averages else costs.sum()

    def flops(self, *shapes: Shape) -> int:
        return math.prod(shapes[0]) * (4 + len(shapes) - 3)


class ContrastiveLoss(Layer, param="contrastive_loss_param", loss=True):
    """Draws the features of like pairs together and pushes those of unlike pairs apart, up to `margin`.

    Bottoms: the features of either side, and for each pair 0 where it is unlike. Half the mean over the batch of d^2
    for like pairs and max(0, margin - d)^2 for unlike ones, d being their distance; with `legacy_version`
    max(0, margin - d^2).
    """

    margin: float = 1.0
    legacy: bool = False

    @classmethod
    def read(cls, p: ContrastiveLossParameter, phase: Phase) -> Self:
        return cls(p.margin, p.legacy_version)

    def shape(self, a: Shape, b: Shape, alike: Shape) -> Shape:
        same_batch(a, b)
        same_count(a, b)
        same_batch(a, alike)
        if math.prod(alike) != a[0]:
            raise LayerError(f"its {a[0]} pairs have {times(alike)} labels", field="bottom", help="one label a pair")
        return ()

    def forward(self, a: Tensor, b: Tensor, alike: Tensor) -> Tensor:
        """a[n ..] b[n ..] alike[n] -> loss[]"""
        squared = (a - b.reshape(a.shape)).reshape(a.shape[0], -1).square().sum(1)
        value = squared.detach()
        distance = value.sqrt()
        like = alike.detach().reshape(-1).trunc() != 0
        left = (self.margin - (value if self.legacy else distance)).clamp(min=0)
        # Caffe keeps the divisor from 0, so that equal features have no gradient.
        slope = -(left > 0).to(left.dtype) if self.legacy else -left / (distance + 1e-4)
        cost = value.where(like, left if self.legacy else left.square())
        return (cost + slope.where(~like, 1) * (squared - value)).sum() / (2 * a.shape[0])

    def flops(self, *shapes: Shape) -> int:
        return 3 * math.prod(shapes[0])


class HingeLoss(Layer, param="hinge_loss_param", loss=True):
    """The sum over the classes of max(0, 1 - t score), or with norm L2 of its square, averaged over the batch.

    t is 1 for the class of the label and -1 for every other.
    """

    norm: str = "L1"

    @classmethod
    def read(cls, p: HingeLossParameter, phase: Phase) -> Self:
        return cls(HingeLossParameter.Norm.Name(p.norm))

    def shape(self, scores: Shape, label: Shape) -> Shape:
        same_batch(scores, label)
        one_label_an_item((scores[0], math.prod(scores[1:])), label, 1)
        return ()

    def forward(self, scores: Tensor, label: Tensor) -> Tensor:
        """scores[n c..] label[n] -> loss[]"""
        batch = scores.shape[0]
        rows = scores.reshape(batch, -1)
        signs = torch.ones_like(rows).scatter(1, label.long().reshape(batch, 1), -1)
        margins = F.relu(1 + signs * rows)
        return (margins.square() if self.norm == "L2" else margins).sum() / batch

    def flops(self, *shapes: Shape) -> int:
        return 4 * math.prod(shapes[0])
