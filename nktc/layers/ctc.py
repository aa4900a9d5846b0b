"""Sequences of labels whose places are not known: CtcLoss, CTCLoss, LabelsequenceAccuracy."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, times
from nktc.schema import CTCLossParameter, LabelsequenceAccuracyParameter

NEVER = -1e30  # the logarithm of no chance at all, finite so that gradients are


class CtcLoss(Layer, param="ctc_loss_param", loss=True):
    """The mean over the sequences of -log(probability of the labels), whatever steps they are read at.

    The scores have the steps in axis 0, the sequences in axis 1 and the classes in axis 2; a softmax is part of the
    loss. A label has one row a sequence, in which blanks, wherever they are, and numbers that are no class do not
    count. A sequence with too many labels for its steps counts as 0. Source: Graves et al. 2006; DeepDetect's Caffe,
    which has it from warp-ctc.
    """

    classes: int
    steps: int
    blank: int = 0

    @classmethod
    def read(cls, p: CTCLossParameter, phase: Phase) -> Self:
        for name in ("alphabet_size", "time_step"):
            if getattr(p, name) < 1:
                raise LayerError(f"has no {name}", field=name, help=f"add {name}: 32 (any number from 1)")
        if not 0 <= p.blank_label < p.alphabet_size:
            said = f"blank_label {p.blank_label} is outside its {p.alphabet_size} classes"
            raise LayerError(said, field="blank_label")
        return cls(p.alphabet_size, p.time_step, p.blank_label)

    def shape(self, scores: Shape, label: Shape) -> Shape:
        steps, streams = _sequences(scores, self.classes)
        if self.steps > steps:
            raise LayerError(f"time_step {self.steps} is more than its {steps} steps", field="time_step")
        if len(label) < 2 or label[0] != streams:
            said = f"its label {times(label)} is not a row for each of {streams} sequences"
            raise LayerError(said, field="bottom[1]")
        return ()

    def forward(self, scores: Tensor, label: Tensor) -> Tensor:
        """scores[t n c] (or scores[t n c 1]) label[n l] -> loss[]"""
        rows = label.detach().long().flatten(1)
        labels, lengths = _packed(rows, (rows != self.blank) & (rows >= 0) & (rows < self.classes))
        logs = F.log_softmax(scores.reshape(*scores.shape[:2], -1)[: self.steps], -1)
        steps = torch.full_like(lengths, self.steps)
        each = chances(logs, labels, steps, lengths, self.blank, True)
        return -each.where(each > NEVER / 2, 0).mean()

    def flops(self, *shapes: Shape) -> int:
        return _flops(shapes[0], shapes[1][1])


class CTCLoss(Layer, param="ctc_loss_param", loss=True):
    """The mean over the sequences of -log(probability of the labels), whatever steps they are read at.

    The scores have the steps in axis 0, the sequences in axis 1 and the classes in axis 2; a softmax is part of the
    loss. The second bottom is 0 at the first step behind a sequence, as recurrent layers have it; the third has the
    labels of each sequence down a column, and a number below 0 behind them. A sequence without labels, or with too many
    for its steps, counts as 0. The first `delay` steps count for nothing. The gradient is that of the sum: a net that
    learns through it learns as it did there. Source: Graves et al. 2006; TextBoxes++.
    """

    delay: int = 0
    blank: int = -1
    collapses: bool = False  # equal labels that follow each other are one
    merges: bool = True  # equal outputs that follow each other are one

    @classmethod
    def read(cls, p: CTCLossParameter, phase: Phase) -> Self:
        if p.output_delay < 0:
            raise LayerError(f"output_delay is {p.output_delay}", field="output_delay", help="it is steps, from 0 on")
        return cls(p.output_delay, max(-1, p.blank_index), p.preprocess_collapse_repeated, p.ctc_merge_repeated)

    def shape(self, scores: Shape, goes_on: Shape, label: Shape) -> Shape:
        steps, streams = _sequences(scores, None)
        if self.blank >= scores[2]:
            said = f"blank_index {self.blank} is outside its {scores[2]} classes"
            raise LayerError(said, field="blank_index")
        if self.delay >= steps:
            raise LayerError(f"output_delay {self.delay} leaves none of its {steps} steps", field="output_delay")
        for place, (name, one) in enumerate((("sequence indicators", goes_on), ("label", label)), 1):
            if one[:2] != (steps, streams) or math.prod(one[2:]) != 1:
                said = f"its {name} are {times(one)}" if place == 1 else f"its {name} is {times(one)}"
                raise LayerError(f"{said}, not {steps}x{streams}", field=f"bottom[{place}]")
        return ()

    def forward(self, scores: Tensor, goes_on: Tensor, label: Tensor) -> Tensor:
        """scores[t n c] (or scores[t n c 1]) goes_on[t n] label[t n] -> loss[]"""
        steps, streams = scores.shape[:2]
        rows = label.detach().reshape(steps, streams).t()
        # As many as are there before the first that ends them.
        counts = (rows >= 0).long().cumprod(1)
        wanted = (rows + 0.5).long()
        if self.collapses:
            counts = counts * F.pad((wanted[:, 1:] != wanted[:, :-1]).long(), (1, 0), value=1)
        labels, lengths = _packed(wanted.clamp(0, scores.shape[2] - 1), counts.bool())
        within = (goes_on.detach().reshape(steps, streams)[1:] > 0.5).long().cumprod(0)
        lasts = 1 + within.sum(0) - self.delay
        logs = F.log_softmax(scores.reshape(steps, streams, -1)[self.delay :], -1)
        blank = self.blank if self.blank >= 0 else scores.shape[2] - 1
        each = chances(logs, labels, lasts, lengths, blank, self.merges)
        total = -each.where((lengths > 0) & (each > NEVER / 2), 0).sum()
        value = total.detach()
        return value / streams + (total - value)

    def flops(self, *shapes: Shape) -> int:
        return _flops(shapes[0], shapes[0][0])


class LabelsequenceAccuracy(Layer, param="labelsequence_accuracy_param"):
    """The share of the sequences whose labels are read without a fault: the best class of each step, equal ones that
    follow each other taken for one, blanks left out.

    The scores have the sequences in axis 0, the steps in axis 1 and the classes in axis 2; a label has one row a
    sequence, in which blanks do not count. Source: DeepDetect's Caffe.
    """

    blank: int = 0

    @classmethod
    def read(cls, p: LabelsequenceAccuracyParameter, phase: Phase) -> Self:
        return cls(p.blank_label)

    def shape(self, scores: Shape, label: Shape) -> Shape:
        if len(scores) < 3 or math.prod(scores[3:]) != 1:
            said = f"takes 3 axes (sequences, steps, classes), not {times(scores)}"
            raise LayerError(said, field="bottom[0]", help="a Permute before it orders the axes")
        if len(label) < 2 or label[0] != scores[0]:
            said = f"its label {times(label)} is not a row for each of {scores[0]} sequences"
            raise LayerError(said, field="bottom[1]")
        return ()

    @torch.no_grad()
    def forward(self, scores: Tensor, label: Tensor) -> Tensor:
        """scores[n t c] label[n l] -> accuracy[]"""
        best = scores.flatten(2).argmax(2)
        before = F.pad(best[:, :-1], (1, 0), value=self.blank)
        found, length = _packed(best, (best != self.blank) & (best != before))
        rows = label.long().flatten(1)
        wanted, long = _packed(rows, rows != self.blank)
        least = min(found.shape[1], wanted.shape[1])
        places = torch.arange(least, device=scores.device)
        same = (found[:, :least] == wanted[:, :least]) | (places >= length[:, None])
        return ((length == long) & same.all(1)).to(scores.dtype).mean()

    def flops(self, *shapes: Shape) -> int:
        return math.prod(shapes[0])


def chances(logs: Tensor, labels: Tensor, steps: Tensor, lengths: Tensor, blank: int, merges: bool) -> Tensor:
    """The logarithm of the chance to read the first lengths[n] of labels[n l] in the first steps[n] of logs[t n c],
    logarithms of chances; about NEVER, or below, where there is none. f32[n]. Each label may be read at several steps
    in a row if it `merges`, and blanks between labels."""
    streams, most = labels.shape
    # Blanks before, between and behind the labels: b l b l b.
    states = labels.new_full((streams, 2 * most + 1), blank)
    states[:, 1::2] = labels
    blanks = states == blank
    # Over a blank, from one label to the next, unless the two would be taken for one.
    skips = ~blanks
    skips[:, :2] = False
    if merges:
        skips = skips & F.pad(states[:, 2:] != states[:, :-2], (2, 0))
    stays = torch.ones_like(blanks) if merges else blanks
    read = logs.gather(2, states[None].expand(len(logs), -1, -1))
    none = torch.full_like(read[0], NEVER)
    first = torch.arange(states.shape[1], device=logs.device) < 2
    now = torch.where(first, read[0], none)
    for step in range(1, len(logs)):
        before = torch.stack(
            [
                torch.where(stays, now, none),
                F.pad(now[:, :-1], (1, 0), value=NEVER),
                torch.where(skips, F.pad(now[:, :-2], (2, 0), value=NEVER), none) if most else none,
            ]
        )
        going = read[step] + before.logsumexp(0)
        now = torch.where((step < steps)[:, None], going, now)
    ends = torch.stack([2 * lengths, (2 * lengths - 1).clamp(min=0)], 1)
    last = now.gather(1, ends)
    twice = lengths == 0  # both are the one blank
    return torch.where(twice, last[:, 0], last.logsumexp(1))


def _packed(rows: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """What is kept of each of rows[n l], brought to its front, and how much that is, int64[n]."""
    order = (~kept).to(torch.int8).argsort(dim=1, stable=True)
    return rows.gather(1, order), kept.sum(1)


def _sequences(scores: Shape, classes: int | None) -> tuple[int, int]:
    """Steps and sequences of scores. Raises LayerError."""
    if len(scores) < 3 or math.prod(scores[3:]) != 1:
        said = f"takes 3 axes (steps, sequences, classes), not {times(scores)}"
        raise LayerError(said, field="bottom[0]", help="a Permute before it orders the axes")
    if classes is not None and scores[2] != classes:
        said = f"alphabet_size {classes} is not its {scores[2]} classes"
        raise LayerError(said, field="alphabet_size")
    return scores[0], scores[1]


def _flops(scores: Shape, labels: int) -> int:
    return 4 * math.prod(scores) + 8 * scores[0] * scores[1] * (2 * labels + 1)
