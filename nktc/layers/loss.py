"""What training lowers: SoftmaxWithLoss, EuclideanLoss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, times
from nktc.layers import axes, settings
from nktc.layers.accuracy import one_label_an_item
from nktc.schema import LossParameter, SoftmaxParameter

WORST = -math.log(2.0**-126)  # the loss of an item of no probability: Caffe's floor is the smallest normal f32
NO_LABEL = -(1 << 62)  # what no label is, for torch's ignore_index


class SoftmaxWithLoss(Layer, param=("softmax_param", "loss_param"), tops=(1, 2), loss=True):
    """The mean of -log(probability of the label), probabilities being the softmax of the scores along `axis`.

    The sum is divided by what `normalization` says: FULL all items, VALID those not ignored (at least 1),
    BATCH_SIZE the axes before `axis`, NONE nothing. A second top has the probabilities; no gradient comes
    back through it.
    """

    axis: int = 1
    ignore: int | None = None  # items of this label do not count
    normalization: str = "VALID"
    probabilities: bool = False

    @classmethod
    def read(cls, softmax: SoftmaxParameter, loss: LossParameter, phase: Phase) -> Self:
        ignore = loss.ignore_label if loss.HasField("ignore_label") else None
        return cls(softmax.axis, ignore, settings.normalization(loss))

    def with_tops(self, tops: int) -> Self:
        return replace(self, probabilities=tops == 2)

    def shape(self, scores: Shape, label: Shape) -> Shape | list[Shape]:
        axis = axes.resolve(self.axis, scores)
        same_batch(scores, label)
        one_label_an_item(scores, label, axis)
        return [(), scores] if self.probabilities else ()

    def forward(self, scores: Tensor, label: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """scores[n.. c p..] label[n.. p..] -> loss[], probabilities[n.. c p..]"""
        axis = self.axis % scores.dim()
        batch = math.prod(scores.shape[:axis])
        logs = F.log_softmax(scores, axis)
        rows = logs if axis == 1 else logs.reshape(batch, scores.shape[axis], -1)
        items = label.long().reshape(batch, *rows.shape[2:])
        each = F.nll_loss(rows, items, ignore_index=NO_LABEL if self.ignore is None else self.ignore, reduction="none")
        # The floor is one of the value; the gradient is that of the logarithm.
        value = each.detach()
        total = (value.clamp(max=WORST) + (each - value)).sum()
        match self.normalization:
            case "VALID" if self.ignore is not None:
                loss = total / (items != self.ignore).sum().clamp(min=1)
            case "VALID" | "FULL":
                loss = total / items.numel()
            case "BATCH_SIZE":
                loss = total / batch
            case _:
                loss = total
        return (loss, logs.detach().exp()) if self.probabilities else loss

    def flops(self, *shapes: Shape) -> int:
        return 4 * math.prod(shapes[0])


class EuclideanLoss(Layer, loss=True):
    """Half the squared distance of its two inputs, averaged over the batch."""

    def shape(self, a: Shape, b: Shape) -> Shape:
        same_batch(a, b)
        if math.prod(a[1:]) != math.prod(b[1:]):
            raise LayerError(f"its inputs {times(a)} and {times(b)} differ", field="bottom")
        return ()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a[n ..] b[n ..] -> loss[]"""
        return F.mse_loss(a, b.reshape(a.shape), reduction="sum") / (2 * a.shape[0])

    def flops(self, *shapes: Shape) -> int:
        return 3 * math.prod(shapes[0])


def same_batch(a: Shape, b: Shape) -> None:
    """Refuse two inputs of a loss that differ in axis 0."""
    if a[:1] != b[:1] or not a:
        raise LayerError(f"its inputs {times(a)} and {times(b)} differ in axis 0, the batch", field="bottom")
