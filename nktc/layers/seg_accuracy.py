"""SegAccuracy: how well the class of each pixel is told."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, Weight, times
from nktc.schema import SegAccuracyParameter


class SegAccuracy(Layer, param="seg_accuracy_param"):
    """Three numbers: the share of the pixels told right, the mean share of each class, the mean intersection by union.

    Pixels of labels to ignore, and of labels that are no class, do not count; a class that no pixel has counts for
    nothing in the second number and, if nobody tells it, as 1 in the third. Of equal scores the last class is told.
    Unless it resets, pixels of all batches count together. Source: DeepLab and PSPNet.
    """

    ignored: Shape = ()
    resets: bool = True

    @classmethod
    def read(cls, p: SegAccuracyParameter, phase: Phase) -> Self:
        return cls(tuple(p.ignore_label), p.reset)

    def shape(self, scores: Shape, label: Shape) -> Shape:
        if len(scores) != 4:
            said = f"takes scores of 4 axes (batch, classes, height, width), not {len(scores)}"
            raise LayerError(said, field="bottom[0]")
        if math.prod(label) * scores[1] != math.prod(scores) or label[:1] != scores[:1]:
            said = f"its label {times(label)} is not one class for each pixel of {times(scores)}"
            raise LayerError(said, field="bottom[1]")
        return (1, 1, 1, 3)

    def weights(self, scores: Shape, label: Shape) -> dict[str, Weight]:
        return {} if self.resets else {"pixels": Weight((scores[1], scores[1]), learns=False, kept=False)}

    @torch.no_grad()
    def forward(self, scores: Tensor, label: Tensor, pixels: Tensor | None = None) -> Tensor:
        """scores[n c h w] label[n h w] pixels[c c] -> accuracies[1 1 1 3]"""
        classes = scores.shape[1]
        told = classes - 1 - scores.flip(1).argmax(1).flatten()
        wanted = label.long().flatten()
        counts = (wanted >= 0) & (wanted < classes)
        for one in self.ignored:
            counts = counts & (wanted != one)
        cells = wanted.where(counts, 0) * classes + told
        found = scores.new_zeros(classes**2).index_add(0, cells, counts.to(scores.dtype)).view(classes, classes)
        if pixels is not None:
            pixels.add_(found)
            found = pixels
        right, actual, said = found.diagonal(), found.sum(1), found.sum(0)
        union = actual + said - right
        shares = torch.stack(
            [
                right.sum() / found.sum().clamp(min=1),
                (right / actual.clamp(min=1)).sum() / (actual > 0).sum().clamp(min=1),
                torch.where(union > 0, right / union.clamp(min=1), 1).mean(),
            ]
        )
        return shares.view(1, 1, 1, 3)

    def flops(self, *shapes: Shape) -> int:
        return math.prod(shapes[0])
