"""Accuracy: how often the label is among the best scores."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, times
from nktc.layers import axes
from nktc.schema import AccuracyParameter


class Accuracy(Layer, param="accuracy_param", tops=(1, 2)):
    """The share of items whose label is among the `top_k` best scores.

    A score that equals the label's counts as better than it. A second top has the share of each class. A label of the
    shape of the scores has one share a class, as mixed batches have it: the largest is taken.
    """

    top_k: int = 1
    axis: int = 1
    ignore: int | None = None  # items of this label are left out
    per_class: bool = False

    @classmethod
    def read(cls, p: AccuracyParameter, phase: Phase) -> Self:
        if p.top_k < 1:
            raise LayerError("top_k is 0", field="top_k", help="top_k starts at 1")
        return cls(p.top_k, p.axis, p.ignore_label if p.HasField("ignore_label") else None)

    def with_tops(self, tops: int) -> Self:
        return replace(self, per_class=tops == 2)

    def shape(self, scores: Shape, label: Shape) -> Shape | list[Shape]:
        axis = axes.resolve(self.axis, scores)
        if not one_share_a_class(scores, label, axis, self.ignore):
            one_label_an_item(scores, label, axis)
        if self.top_k > scores[axis]:
            raise LayerError(f"top_k {self.top_k} is more than its {scores[axis]} classes", field="top_k")
        return [(), (scores[axis],)] if self.per_class else ()

    @torch.no_grad()
    def forward(self, scores: Tensor, label: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """scores[n.. c p..] label[n.. p..] or [n.. c p..] -> accuracy[], per class[c]"""
        axis = self.axis % scores.dim()
        if one_share_a_class(tuple(scores.shape), tuple(label.shape), axis):
            label = label.argmax(axis)
        items = label.long().reshape(*scores.shape[:axis], 1, *scores.shape[axis + 1 :])
        counted = None if self.ignore is None else items != self.ignore
        wanted = items if counted is None else items.where(counted, 0)
        better = (scores >= scores.gather(axis, wanted)).sum(axis, keepdim=True) - 1
        found = better < self.top_k if counted is None else (better < self.top_k) & counted
        right = found.to(scores.dtype)
        total = right.numel() if counted is None else counted.sum().clamp(min=1)
        if not self.per_class:
            return right.sum() / total
        classes = right.new_zeros(scores.shape[axis])
        hits = classes.index_add(0, wanted.flatten(), right.flatten())
        seen = torch.ones_like(right) if counted is None else counted.to(right.dtype)
        members = classes.index_add(0, wanted.flatten(), seen.flatten())
        return right.sum() / total, hits / members.clamp(min=1)

    def flops(self, *shapes: Shape) -> int:
        return 2 * math.prod(shapes[0])


def one_share_a_class(scores: Shape, label: Shape, axis: int, ignore: int | None = None) -> bool:
    """Whether a label has the shape of the scores, a share for each class; of one class it is a class number. Raises
    LayerError where items of a label are to be ignored all the same."""
    if label != scores or scores[axis] == 1:
        return False
    if ignore is not None:
        problem = f"its label {times(label)} has one share a class, and no label to ignore"
        raise LayerError(problem, field="ignore_label", help="leave ignore_label out")
    return True


def one_label_an_item(scores: Shape, label: Shape, axis: int) -> None:
    """Refuse labels that are not one for each item: scores without the axis of the classes."""
    items = (*scores[:axis], *scores[axis + 1 :])
    if math.prod(items) != math.prod(label):
        raise LayerError(
            f"its scores {times(scores)} are {math.prod(items)} items, its label {times(label)} has {math.prod(label)}",
            field="bottom",
            help="the label is one class number an item",
        )
