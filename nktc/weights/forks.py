"""Blobs of layers that forks wrote in another order, or in other shapes, than the net has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nktc.ir import Shape
from nktc.weights.entry import Entry


def in_the_nets_way(layer: str, shapes: Sequence[Shape], held: Sequence[Entry | None]) -> Sequence[Entry | None]:
    """The blobs of a layer of that type for weights of these shapes; what is of no fork comes back as it is.

    The forks have [c], [1 c] or [1 c 1 1] in BN, and in NVIDIA's BatchNorm. That was factor, bias, mean, variance and a
    number without meaning up to NVIDIA Caffe 0.15, the one of DIGITS.
    """
    if layer not in ("BN", "BatchNorm") or len(held) != len(shapes):
        return held
    counts = [math.prod(entry.shape) if entry else 0 for entry in held]
    if layer == "BatchNorm" and len(held) == 5 and counts[4] == 1 < counts[2]:
        held = [held[2], held[3], Entry((1,), "f32", lambda: np.ones(1, np.float32)), held[0], held[1]]
        counts[2], counts[4] = 1, counts[2]
    return [
        _shaped(entry, shape) if entry and entry.shape != shape and count == math.prod(shape) else entry
        for entry, count, shape in zip(held, counts, shapes, strict=True)
    ]


def _shaped(entry: Entry, shape: Shape) -> Entry:
    return replace(entry, shape=shape, read=lambda: entry.read().reshape(shape))
