"""Online hard example mining: BoxAnnotatorOHEM, SmoothL1LossOHEM, SoftmaxWithLossOHEM."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, times
from nktc.layers import axes, settings
from nktc.layers.accuracy import one_label_an_item
from nktc.layers.loss import NO_LABEL, WORST, divided, ignored, refuse_class_settings, same_batch, same_count
from nktc.schema import BoxAnnotatorOHEMParameter, LossParameter, SoftmaxParameter


class BoxAnnotatorOHEM(Layer, param="box_annotator_ohem_param", tops=2):
    """The labels and box weights of the boxes of each image that cost most; all others get `ignore_label` and 0.

    Bottoms: the boxes, whose first number is the image, what each costs, its label, its box weights. Of boxes that cost
    the same the first ones are kept. No gradient comes back. Source: R-FCN; Shrivastava et al. 2016.
    """

    kept: int
    ignored: int = -1

    @classmethod
    def read(cls, p: BoxAnnotatorOHEMParameter, phase: Phase) -> Self:
        if p.roi_per_img < 1:
            help = "add box_annotator_ohem_param { roi_per_img: 128 }"
            raise LayerError("has no roi_per_img", field="roi_per_img", help=help)
        return cls(p.roi_per_img, p.ignore_label)

    def shape(self, boxes: Shape, costs: Shape, labels: Shape, weights: Shape) -> list[Shape]:
        if not 2 <= len(boxes) <= 4 or boxes[1] != 5:
            said = f"its boxes {times(boxes)} are not of five numbers: image, xmin, ymin, xmax, ymax"
            raise LayerError(said, field="bottom[0]")
        places = (boxes[0], 1, *_sides(boxes))
        for i, (what, found) in enumerate((("costs", costs), ("labels", labels)), 1):
            if _four(found) != places or len(found) > 4:
                raise LayerError(f"its {what} {times(found)} are not one a box of {times(boxes)}", field=f"bottom[{i}]")
        if (weights[:1], _sides(weights)) != (boxes[:1], _sides(boxes)) or len(weights) > 4:
            said = f"its box weights {times(weights)} are not those of boxes {times(boxes)}"
            raise LayerError(said, field="bottom[3]")
        return [places, _four(weights)]

    @torch.no_grad()
    def forward(self, boxes: Tensor, costs: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """boxes[n 5 h w] costs[n 1 h w] labels[n 1 h w] weights[n c h w] -> labels[n 1 h w], weights[n c h w]"""
        n, places = boxes.shape[0], (boxes.shape[0], 1, *_sides(tuple(boxes.shape)))
        image = boxes.reshape(n, 5, -1)[:, 0].flatten().long()
        order = costs.flatten().argsort(descending=True, stable=True)
        of_image = image[order].argsort(stable=True)  # dearest first within each image
        by_image = image[order][of_image]
        first = torch.searchsorted(by_image, by_image)
        rank = torch.arange(len(by_image), device=boxes.device) - first
        kept = torch.zeros_like(image, dtype=torch.bool).index_put((order[of_image],), rank < self.kept).view(places)
        outer = weights.reshape(*_four(tuple(weights.shape)))
        return labels.reshape(places).where(kept, self.ignored), outer.where(kept, 0)

    def flops(self, *shapes: Shape) -> int:
        return sum(map(math.prod, shapes))


class SmoothL1LossOHEM(Layer, param="loss_param", tops=(1, 2), loss=True):
    """A distance of its two inputs that is half its square up to 1 and linear beyond, divided by the places.

    A third input is multiplied with the differences, and left out of the gradient. A second top has what each place
    costs, the channels summed; no gradient comes back through it. The places are batch times height times width, or
    with `normalization` the BATCH_SIZE, or NONE. Source: R-FCN.
    """

    normalization: str = "VALID"
    by_place: bool = False  # the second top

    @classmethod
    def read(cls, loss: LossParameter, phase: Phase) -> Self:
        refuse_class_settings(loss)
        return cls(settings.normalization(loss))

    def with_tops(self, tops: int) -> Self:
        return replace(self, by_place=tops == 2)

    def shape(self, a: Shape, b: Shape, weights: Shape | None = None) -> Shape | list[Shape]:
        if len(a) > 4:
            raise LayerError(f"takes four axes at most, not {times(a)}", field="bottom[0]")
        same_batch(a, b)
        for other in (b, weights):
            if other is not None:
                same_count(a, other)
        return [(), (a[0], 1, *_sides(a))] if self.by_place else ()

    def forward(self, a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """a[n c h w] b[n c h w] weights[n c h w] -> loss[], costs[n 1 h w]"""
        shape = _four(tuple(a.shape))
        difference = a - b.reshape(a.shape)
        if weights is not None:
            weighted = difference * weights.detach().reshape(a.shape)
            difference = difference + (weighted - difference).detach()
        size = difference.abs()
        costs = torch.where(size < 1, difference.square() / 2, size - 0.5)
        places = shape[0] * shape[2] * shape[3]
        loss = divided(costs.sum(), self.normalization, places, shape[0], None)
        return (loss, costs.detach().reshape(shape).sum(1, keepdim=True)) if self.by_place else loss

    def flops(self, *shapes: Shape) -> int:
        return 5 * math.prod(shapes[0])


class SoftmaxWithLossOHEM(Layer, param=("softmax_param", "loss_param"), tops=(1, 3), loss=True):
    """SoftmaxWithLoss with a third top: what each item costs, 0 for items that do not count.

    A second top has the probabilities. No gradient comes back through either. Source: R-FCN.
    """

    axis: int = 1
    ignore: int | None = None  # items of this label do not count
    normalization: str = "VALID"
    outputs: int = 1

    @classmethod
    def read(cls, softmax: SoftmaxParameter, loss: LossParameter, phase: Phase) -> Self:
        refuse_class_settings(loss)
        return cls(softmax.axis, ignored(loss), settings.normalization(loss))

    def with_tops(self, tops: int) -> Self:
        return replace(self, outputs=tops)

    def shape(self, scores: Shape, label: Shape) -> Shape | list[Shape]:
        axis = axes.resolve(self.axis, scores)
        same_batch(scores, label)
        one_label_an_item(scores, label, axis)
        found: list[Shape] = [(), scores, label]
        return found[: self.outputs] if self.outputs > 1 else ()

    def forward(self, scores: Tensor, label: Tensor) -> Tensor | tuple[Tensor, ...]:
        """scores[n.. c p..] label[n.. p..] -> loss[], probabilities[n.. c p..], costs[n.. p..]"""
        axis = self.axis % scores.dim()
        batch = math.prod(scores.shape[:axis])
        logs = F.log_softmax(scores, axis)
        rows = logs.reshape(batch, scores.shape[axis], -1)
        wanted = label.long().reshape(batch, -1)
        missing = NO_LABEL if self.ignore is None else self.ignore
        each = F.nll_loss(rows, wanted, ignore_index=missing, reduction="none")
        value = each.detach()
        costs = value.clamp(max=WORST)
        total = (costs + (each - value)).sum()
        counted = None if self.ignore is None else wanted != self.ignore
        loss = divided(total, self.normalization, wanted.numel(), batch, counted)
        if self.outputs == 1:
            return loss
        return (loss, logs.detach().exp(), costs.reshape(label.shape))[: self.outputs]

    def flops(self, *shapes: Shape) -> int:
        return 4 * math.prod(shapes[0])


def _sides(shape: Shape) -> tuple[int, int]:
    """Height and width of a shape of four axes at most, those that lack being 1."""
    return _four(shape)[2:]


def _four(shape: Shape) -> tuple[int, int, int, int]:
    """A shape of four axes at most with as many 1 behind it as lack."""
    n, c, h, w = (*shape, 1, 1, 1, 1)[:4]
    return n, c, h, w
