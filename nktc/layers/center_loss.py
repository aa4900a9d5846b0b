"""CenterLoss: features pulled to the centre of their class."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Filler, Layer, Phase, Shape, Weight
from nktc.layers import axes, settings
from nktc.layers.accuracy import one_label_an_item
from nktc.layers.loss import same_batch
from nktc.schema import CenterLossParameter


class CenterLoss(Layer, param="center_loss_param", loss=True):
    """Half the squared distance of each feature from the centre of its class, summed and divided by the batch.

    The centres, one weight, follow by a rule of their own in TRAIN: what a centre is given as its gradient is the sum
    of its distances from the features of its class in the batch, divided by 1 + their number, whatever loss_weight is.
    With the distance L1 the absolute values count instead. Source: Wen et al. 2016; ydwen/caffe-face. The distance is
    caffe-windows', which on a CPU adds that gradient once for every one of those features.
    """

    outputs: int
    axis: int = 1
    distance: str = "L2"
    filler: Filler = Filler()
    follows: bool = False  # the centres have the gradient of their own rule

    @classmethod
    def read(cls, p: CenterLossParameter, phase: Phase) -> Self:
        if p.distance_type not in ("L1", "L2"):
            said = f'unknown distance_type "{p.distance_type}"'
            raise LayerError(said, field="distance_type", help="the distances are L2 and L1")
        filler = settings.filler(p.center_filler, "center_filler")
        return cls(settings.outputs(p.num_output), p.axis, p.distance_type, filler, phase is Phase.TRAIN)

    def shape(self, x: Shape, label: Shape) -> Shape:
        if axes.resolve(self.axis, x) != 1:
            help = "the axes behind the batch are one feature"
            raise LayerError(f"axis {self.axis} of its {len(x)}-axis input is not 1", field="axis", help=help)
        same_batch(x, label)
        one_label_an_item((x[0], self.outputs), label, 1)
        return ()

    def weights(self, x: Shape, label: Shape) -> dict[str, Weight]:
        return {"center": Weight((self.outputs, math.prod(x[1:])), self.filler)}

    def forward(self, x: Tensor, label: Tensor, center: Tensor) -> Tensor:
        """x[n ..] label[n] center[c d] -> loss[]"""
        wanted, rows = label.detach().long().flatten(), x.flatten(1)
        if self.follows:
            followed: Tensor = Following.apply(center, rows.detach(), wanted, self.distance)
            centers = followed[wanted]
        else:
            centers = center[wanted]
        apart = rows - centers
        each = apart.abs() if self.distance == "L1" else apart.square() / 2
        return each.sum() / x.shape[0]

    def flops(self, *shapes: Shape) -> int:
        return 3 * math.prod(shapes[0])


class Following(torch.autograd.Function):
    """The centres as they are; the gradient they are given is how far they lie from their features, on average."""

    @staticmethod
    def forward(ctx: Any, center: Tensor, rows: Tensor, label: Tensor, distance: str) -> Tensor:
        ctx.save_for_backward(center, rows, label)
        ctx.distance = distance
        return center.view_as(center)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        center, rows, label = ctx.saved_tensors
        apart = center[label] - rows
        sums = torch.zeros_like(center).index_add(0, label, apart.sign() if ctx.distance == "L1" else apart)
        members = center.new_ones(len(center)).index_add(0, label, center.new_ones(len(label)))
        return sums / members[:, None], None, None, None
