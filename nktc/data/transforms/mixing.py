"""Mixed batches: each picture with that of its partner, and the labels in the same shares.

The partner of item i of n is item n - 1 - i. One share is drawn for a batch, from Beta(alpha, alpha).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nktc.data.transforms import chance
from nktc.errors import NktcError


def mixed(
    x: Tensor, labels: Tensor, classes: int, mixup: float, cutmix: float, seed: int, counters: np.ndarray
) -> tuple[Tensor, Tensor]:
    """x[n c h w] and class numbers f32[n] -> x, in its own memory, and the share of each class, f32[n classes].

    `mixup` and `cutmix` are alphas, 0 for what is not done; where both are done a batch takes one of them, either as
    often. All follows from the counter of the batch's first record. Raises NktcError for a label outside the classes.
    """
    counter = int(counters[0])
    pastes = bool(cutmix)
    if mixup and cutmix:
        pastes = bool(chance.whole(seed, "mixing", counters[:1], 2)[0])
    share = chance.beta(seed, "share", counter, cutmix if pastes else mixup)
    if pastes:
        share = paste(x, *_box(x.shape[-2], x.shape[-1], share, seed, counters))
    else:
        x.copy_(x * share + x.flip(0) * (1 - share))
    return x, shares(labels, classes, share)


def paste(x: Tensor, top: int, bottom: int, left: int, right: int) -> float:
    """Put a part of each picture's partner in its place; returns the share of a picture that stays its own."""
    x[..., top:bottom, left:right] = x[..., top:bottom, left:right].flip(0)
    return 1 - (bottom - top) * (right - left) / (x.shape[-2] * x.shape[-1])


def shares(labels: Tensor, classes: int, share: float) -> Tensor:
    """Class numbers f32[n] -> f32[n classes]: `share` for an item's own class, the rest for its partner's. Raises
    NktcError for a label outside the classes."""
    if labels.device.type == "cpu" and not ((labels >= 0) & (labels < classes)).all():
        wrong = labels[(labels < 0) | (labels >= classes)][0].item()
        help = f"give num_classes in transform_param, above {wrong:g}" if wrong > 0 else "labels start at 0"
        raise NktcError(f"label {wrong:g} is outside the {classes} classes of mixed labels", help=help)
    own = labels.long()[:, None]  # on a GPU, where asking would stop it, scatter refuses for itself
    found = torch.zeros(len(labels), classes, device=labels.device).scatter_(1, own, share)
    return found.scatter_add_(1, own.flip(0), torch.full_like(own, 1 - share, dtype=torch.float32))


def _box(height: int, width: int, share: float, seed: int, counters: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the part that comes from a partner: 1 - share of the area before what sticks out
    of the picture is cut off (Yun et al. 2019)."""
    side = math.sqrt(1 - share)
    rows, columns = round(height * side), round(width * side)
    top = int(chance.whole(seed, "pasted row", counters[:1], height)[0]) - rows // 2
    left = int(chance.whole(seed, "pasted column", counters[:1], width)[0]) - columns // 2
    return max(top, 0), min(top + rows, height), max(left, 0), min(left + columns, width)
