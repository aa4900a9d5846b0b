"""R2Score: how much of a target's variance is explained."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nktc.ir import Layer, Shape
from nktc.layers.loss import same_batch, same_count


class R2Score(Layer):
    """The share of the target's variance that the prediction explains, 1 at best: 1 - sum (p - t)^2 / sum (t - mean)^2.

    Bottoms: prediction and target. It is of one batch, and means of batches are not that of all records: for the score
    of a set, its batch_size is the whole of it. Several outputs count alike. A target that is the same all over scores
    1 where it is met exactly, else 0.
    """

    def shape(self, prediction: Shape, target: Shape) -> Shape:
        same_batch(prediction, target)
        same_count(prediction, target)
        return ()

    @torch.no_grad()
    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction[n ..] target[n ..] -> score[]"""
        # Squares of large numbers are summed, so in double.
        wanted = target.double().reshape(target.shape[0], -1)
        left = (prediction.double().reshape(wanted.shape) - wanted).square().sum(0)
        spread = (wanted - wanted.mean(0)).square().sum(0)
        constant = wanted.amax(0) == wanted.amin(0)  # rounding may leave these a spread
        scores = torch.where(constant, (left == 0).double(), 1 - left / spread)
        return scores.mean().to(prediction.dtype)

    def flops(self, *shapes: Shape) -> int:
        return 6 * math.prod(shapes[0])
