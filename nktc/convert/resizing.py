"""Interpolation as matrices, and as the deconvolutions that come to the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from nktc.ir import Shape


@dataclass(frozen=True, eq=False)
class Spread:
    """A deconvolution along an axis: `kernel` [k], and the `factors` [m] that its results are then multiplied by."""

    kernel: np.ndarray
    stride: int
    pad: int
    factors: np.ndarray


def matrices(before: Shape, after: Shape, mode: str, corners: bool) -> list[np.ndarray]:
    """A matrix [m n] for each axis, as Resize has it: the share of each of n places in each of m."""
    found = []
    for n, m in zip(before, after, strict=True):
        if mode == "NEAREST":
            found.append(np.eye(n)[np.arange(m) * n // m])
        else:
            how = {"LINEAR": "bilinear", "CUBIC": "bicubic"}[mode]
            unit = torch.eye(n, dtype=torch.float64)[None, None]
            found.append(F.interpolate(unit, (m, n), mode=how, align_corners=corners)[0, 0].numpy())
    return found


def deconvolved(matrix: np.ndarray) -> Spread | None:
    """The deconvolution that does what a matrix [m n] does, None where none of those known does."""
    m, n = matrix.shape
    for kernel, stride, pad in _candidates(n, m):
        if stride * (n - 1) + len(kernel) - 2 * pad != m:
            continue
        place = np.arange(m)[:, None] + pad - stride * np.arange(n)
        inside = (place >= 0) & (place < len(kernel))
        made = np.where(inside, kernel[np.clip(place, 0, len(kernel) - 1)], 0.0)
        sums = made.sum(1)
        if not sums.all():
            continue
        factors = matrix.sum(1) / sums
        if np.allclose(made * factors[:, None], matrix, atol=1e-6):
            return Spread(kernel, stride, pad, factors)
    return None


def _candidates(n: int, m: int) -> list[tuple[np.ndarray, int, int]]:
    """Kernels, strides and pads: copies, the triangle about a pixel's middle, and the triangle about its corner."""
    found = []
    if m % n == 0:
        s = m // n
        found.append((np.ones(s), s, 0))
        side = 2 * s - s % 2
        found.append((1 - np.abs(np.arange(side) - (side - 1) / 2) / s, s, s // 2))
    if n > 1 and m > 1 and (m - 1) % (n - 1) == 0:
        s = (m - 1) // (n - 1)
        found.append((1 - np.abs(np.arange(2 * s - 1) - (s - 1)) / s, s, s - 1))
    return found
