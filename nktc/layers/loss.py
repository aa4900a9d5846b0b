"""Losses of probabilities: SoftmaxWithLoss, InfogainLoss, MultinomialLogisticLoss, SigmoidCrossEntropyLoss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, Weight, times
from nktc.layers import axes, settings
from nktc.layers.accuracy import one_label_an_item, one_share_a_class
from nktc.schema import InfogainLossParameter, LossParameter, SoftmaxParameter

WORST = -math.log(2.0**-126)  # the loss of an item of no probability: Caffe's floor is the smallest normal f32
LEAST = 1e-20  # the probability that InfogainLoss and MultinomialLogisticLoss take for a smaller one
NO_LABEL = -(1 << 62)  # what no label is, for torch's ignore_index


class SoftmaxWithLoss(Layer, param=("softmax_param", "loss_param"), tops=(1, 2), loss=True):
    """The mean of -log(probability of the label), probabilities being the softmax of the scores along `axis`.

    The sum is divided by what `normalization` says: FULL all items, VALID those not ignored (at least 1),
    BATCH_SIZE the axes before `axis`, NONE nothing. A second top has the probabilities; no gradient comes
    back through it.

    A label of the shape of the scores has one share a class, as mixed batches have it: then -log(probability) of every
    class counts by its share.

    In TRAIN `label_smoothing` gives that share of a label's weight to all classes evenly (Szegedy et al. 2016).

    With SegNet's `weight_by_label_freqs` what an item costs is multiplied with the `class_weighting` of its label; the
    sum is divided by as much as before.
    """

    axis: int = 1
    ignore: int | None = None  # items of this label do not count
    normalization: str = "VALID"
    probabilities: bool = False
    smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    @classmethod
    def read(cls, softmax: SoftmaxParameter, loss: LossParameter, phase: Phase) -> Self:
        if loss.weight_by_label_freqs and not loss.class_weighting:
            help = "add class_weighting, one number a class"
            raise LayerError("has no class_weighting", field="weight_by_label_freqs", help=help)
        if loss.weight_by_label_freqs and loss.label_smoothing:
            help = "keep one of them"
            raise LayerError("class_weighting and label_smoothing are both given", field="label_smoothing", help=help)
        if not 0 <= loss.label_smoothing <= 1:
            problem = f"label_smoothing is {loss.label_smoothing:g}"
            raise LayerError(problem, field="label_smoothing", help="it is a share: from 0 to 1")
        smoothing = loss.label_smoothing if phase is Phase.TRAIN else 0.0
        weights = tuple(loss.class_weighting) if loss.weight_by_label_freqs else ()
        return cls(softmax.axis, ignored(loss), settings.normalization(loss), False, smoothing, weights)

    def with_tops(self, tops: int) -> Self:
        return replace(self, probabilities=tops == 2)

    def shape(self, scores: Shape, label: Shape) -> Shape | list[Shape]:
        axis = axes.resolve(self.axis, scores)
        same_batch(scores, label)
        if self.class_weights and len(self.class_weights) != scores[axis]:
            problem = f"has {len(self.class_weights)} class weights for {scores[axis]} classes"
            raise LayerError(problem, field="class_weighting", help="give one number a class")
        if not one_share_a_class(scores, label, axis, self.ignore):
            one_label_an_item(scores, label, axis)
        return [(), scores] if self.probabilities else ()

    def forward(self, scores: Tensor, label: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """scores[n.. c p..] label[n.. p..] or [n.. c p..] -> loss[], probabilities[n.. c p..]"""
        axis = self.axis % scores.dim()
        batch = math.prod(scores.shape[:axis])
        logs = F.log_softmax(scores, axis)
        rows = logs if axis == 1 else logs.reshape(batch, scores.shape[axis], -1)
        if one_share_a_class(tuple(scores.shape), tuple(label.shape), axis):
            shares, counted = label.detach().reshape(rows.shape), None
            if self.class_weights:
                shares = shares * shares.new_tensor(self.class_weights).view(-1, *(1,) * (rows.dim() - 2))
            value = rows.detach()
            total = -(shares * (value.clamp(min=-WORST) + (rows - value))).sum()
            items = rows.numel() // rows.shape[1]
        else:
            wanted = label.long().reshape(batch, *rows.shape[2:])
            missing = NO_LABEL if self.ignore is None else self.ignore
            each = F.nll_loss(rows, wanted, ignore_index=missing, reduction="none")
            # The floor is one of the value; the gradient is that of the logarithm.
            value = each.detach()
            costs = value.clamp(max=WORST) + (each - value)
            counted = None if self.ignore is None else wanted != self.ignore
            if self.class_weights:
                classes = wanted if counted is None else wanted.where(counted, 0)
                costs = costs * costs.new_tensor(self.class_weights)[classes]
            total = costs.sum()
            items = wanted.numel()
        if self.smoothing:
            evenly = -rows.mean(1) if counted is None else -rows.mean(1).where(counted, 0)
            total = total.lerp(evenly.sum(), self.smoothing)
        loss = divided(total, self.normalization, items, batch, counted)
        return (loss, logs.detach().exp()) if self.probabilities else loss

    def flops(self, *shapes: Shape) -> int:
        return 4 * math.prod(shapes[0])


class InfogainLoss(Layer, param=("infogain_loss_param", "loss_param"), tops=(1, 2), loss=True):
    """The mean of -H[label] . log(probabilities), probabilities being the softmax of the scores along `axis`.

    H, one row a label and one column a class, is a third bottom, or is read from the .binaryproto `source`; with the
    identity for H this is SoftmaxWithLoss. Probabilities below 1e-20 count as that. A second top has the probabilities;
    no gradient comes back through it.
    """

    source_path: str = ""
    axis: int = 1
    ignore: int | None = None  # items of this label do not count
    normalization: str = "VALID"
    probabilities: bool = False

    @classmethod
    def read(cls, p: InfogainLossParameter, loss: LossParameter, phase: Phase) -> Self:
        if loss.HasField("normalize"):
            help = f"write normalization: {settings.normalization(LossParameter(normalize=loss.normalize))}"
            raise LayerError("takes normalization, not the old normalize", field="normalize", help=help)
        refuse_class_settings(loss)
        return cls(p.source, p.axis, ignored(loss), settings.normalization(loss))

    def with_tops(self, tops: int) -> Self:
        return replace(self, probabilities=tops == 2)

    def shape(self, scores: Shape, label: Shape, matrix: Shape | None = None) -> Shape | list[Shape]:
        axis = axes.resolve(self.axis, scores)
        same_batch(scores, label)
        one_label_an_item(scores, label, axis)
        classes = scores[axis]
        if matrix is None and not self.source_path:
            help = 'add infogain_loss_param { source: "H.binaryproto" }, or make H a third bottom'
            raise LayerError("has no matrix H", help=help)
        if matrix is not None and math.prod(matrix) != classes**2:
            raise LayerError(f"its matrix {times(matrix)} is not {classes}x{classes}, its classes", field="bottom")
        return [(), scores] if self.probabilities else ()

    def weights(self, scores: Shape, label: Shape, matrix: Shape | None = None) -> dict[str, Weight]:
        classes = scores[self.axis]
        read = Weight((classes, classes), learns=False, kept=False, file=self.source_path)
        return {"matrix": read} if matrix is None else {}

    def forward(self, scores: Tensor, label: Tensor, matrix: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """scores[n.. c p..] label[n.. p..] matrix[c c] -> loss[], probabilities[n.. c p..]"""
        axis = self.axis % scores.dim()
        batch, classes = math.prod(scores.shape[:axis]), scores.shape[axis]
        logs = F.log_softmax(scores, axis)
        rows = logs.reshape(batch, classes, -1)
        items = label.long().reshape(batch, -1)
        counted = None if self.ignore is None else items != self.ignore
        wanted = items if counted is None else items.where(counted, 0)
        gains = F.embedding(wanted, matrix.detach().reshape(classes, classes)).movedim(-1, 1)
        value = rows.detach()
        each = -(gains * (value.clamp(min=math.log(LEAST)) + (rows - value))).sum(1)
        total = (each if counted is None else each.where(counted, 0)).sum()
        loss = divided(total, self.normalization, items.numel(), batch, counted)
        return (loss, logs.detach().exp()) if self.probabilities else loss

    def flops(self, *shapes: Shape) -> int:
        return 6 * math.prod(shapes[0])


class MultinomialLogisticLoss(Layer, loss=True):
    """The mean of -log(probability of the label) over the batch; its first bottom has the probabilities.

    Probabilities below 1e-20 count as that, for the gradient too.
    """

    def shape(self, probabilities: Shape, label: Shape) -> Shape:
        same_batch(probabilities, label)
        one_label_an_item((probabilities[0], math.prod(probabilities[1:])), label, 1)
        return ()

    def forward(self, probabilities: Tensor, label: Tensor) -> Tensor:
        """probabilities[n c..] label[n] -> loss[]"""
        batch = probabilities.shape[0]
        found = probabilities.reshape(batch, -1).gather(1, label.long().reshape(batch, 1))
        value = found.detach()
        floored = value.clamp(min=LEAST)
        return -(floored.log() + (found - value) / floored).sum() / batch

    def flops(self, *shapes: Shape) -> int:
        return 3 * shapes[0][0]


class SigmoidCrossEntropyLoss(Layer, param="loss_param", loss=True):
    """The cross-entropy of the sigmoid of every score with its target, a number from 0 to 1; divided by the batch.

    `normalization` divides by something else: FULL all scores, VALID those whose target is not ignored (at least 1),
    NONE nothing.
    """

    ignore: int | None = None  # scores whose target is this whole number do not count
    normalization: str = "BATCH_SIZE"

    @classmethod
    def read(cls, loss: LossParameter, phase: Phase) -> Self:
        refuse_class_settings(loss)
        return cls(ignored(loss), settings.normalization(loss, "BATCH_SIZE"))

    def shape(self, scores: Shape, target: Shape) -> Shape:
        same_batch(scores, target)
        same_count(scores, target)
        return ()

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """scores[n ..] target[n ..] -> loss[]"""
        wanted = target.detach().reshape(scores.shape)
        each = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
        counted = None if self.ignore is None else wanted.long() != self.ignore
        total = (each if counted is None else each.where(counted, 0)).sum()
        return divided(total, self.normalization, scores.numel(), scores.shape[0], counted)

    def flops(self, *shapes: Shape) -> int:
        return 6 * math.prod(shapes[0])


def ignored(loss: LossParameter) -> int | None:
    """The label whose items do not count, None where all do."""
    return loss.ignore_label if loss.HasField("ignore_label") else None


def refuse_class_settings(loss: LossParameter) -> None:
    """Refuse a share for all classes, and weights of classes, where a loss has none to give."""
    if loss.weight_by_label_freqs:
        raise LayerError("takes no class weights", field="weight_by_label_freqs", help="SoftmaxWithLoss takes them")
    if loss.HasField("label_smoothing"):
        raise LayerError("takes no label_smoothing", field="label_smoothing", help="SoftmaxWithLoss takes it")


def divided(total: Tensor, normalization: str, items: int, batch: int, counted: Tensor | None) -> Tensor:
    """A summed loss over what `normalization` says; `counted` is true of the items that count, None for all."""
    match normalization:
        case "VALID" if counted is not None:
            return total / counted.sum().clamp(min=1)
        case "VALID" | "FULL":
            return total / items
        case "BATCH_SIZE":
            return total / batch
        case _:
            return total


def same_batch(a: Shape, b: Shape) -> None:
    """Refuse two inputs of a loss that differ in axis 0."""
    if a[:1] != b[:1] or not a:
        raise LayerError(f"its inputs {times(a)} and {times(b)} differ in axis 0, the batch", field="bottom")


def same_count(a: Shape, b: Shape) -> None:
    """Refuse two inputs of a loss that differ in how many numbers an item has."""
    if math.prod(a[1:]) != math.prod(b[1:]):
        raise LayerError(f"its inputs {times(a)} and {times(b)} differ", field="bottom")
