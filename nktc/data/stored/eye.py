"""Batches brought back to pictures that can be looked at, and labels to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nktc.data.stored.stored import named
from nktc.ir import Phase, Preprocessing

SLACK = 2.0  # values that may lie outside 0 to 255 by rounding, or by what a resize does


@dataclass(frozen=True)
class Box:
    """Sides as shares of the picture's: xmin, ymin, xmax, ymax; and what it shows."""

    sides: tuple[float, float, float, float]
    name: str
    label: int


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture u8[h w 3], red first, or its grey plane u8[h w]; what is said below it, a line each."""

    picture: np.ndarray
    caption: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()


def undone(x: np.ndarray, p: Preprocessing | None, phase: Phase) -> tuple[np.ndarray, str]:
    """f32[n c h w] as a net gets it -> u8[n c h w], and how, in words: deviation, scale and mean are taken back where
    that gives bytes; else each picture is stretched to its own range. Of a mean image the part that was taken off is
    put back where it is known, else the mean of each plane."""
    if p is not None:
        said, exact = list[str](), True
        if p.std is not None:
            x, said = x * p.std, ["std"]
        if p.scale not in (0, 1):
            x, said = x / np.float32(p.scale), [*said, "scale"]
        if p.mean is not None:
            mean, exact = _mean(p.mean, x.shape, phase)
            x, said = x + mean, [*said, "mean" if exact else "mean of each plane"]
        low, high = float(np.nanmin(x)), float(np.nanmax(x))
        slack = SLACK if exact else 255
        if low >= -slack and 1 < high <= 255 + slack:
            words = f"{', '.join(said)} taken back" if said else ""
            return np.rint(np.nan_to_num(x).clip(0, 255)).astype(np.uint8), words
    return stretched(x), "each stretched to its own range"


def _mean(mean: np.ndarray, shape: tuple[int, ...], phase: Phase) -> tuple[np.ndarray, bool]:
    """What was taken off pictures of a shape [n c h w], as far as it can be known, and whether it is that."""
    if mean.shape[1:] == (1, 1):
        return mean, True
    height, width = shape[2:]
    same = mean.shape[1:] == (height, width)
    if same or phase is Phase.TEST:
        top, left = (mean.shape[1] - height) // 2, (mean.shape[2] - width) // 2
        return mean[:, top : top + height, left : left + width], True
    return mean.mean(axis=(1, 2), keepdims=True), False


def stretched(x: np.ndarray) -> np.ndarray:
    """[n c h w] -> u8[n c h w], the least value of each record black and its largest white."""
    x = np.nan_to_num(x.astype(np.float64), posinf=0, neginf=0)
    axes = tuple(range(1, x.ndim))
    low, high = x.min(axis=axes, keepdims=True), x.max(axis=axes, keepdims=True)
    return np.rint((x - low) / np.where(high > low, high - low, 1) * 255).astype(np.uint8)


def for_the_eye(planes: np.ndarray, order: str) -> np.ndarray:
    """u8[c h w] with planes in an order -> u8[h w 3], red first, or u8[h w]: of other numbers of planes the first."""
    if len(planes) not in (3, 4):
        return planes[0]
    return np.ascontiguousarray((planes[:3] if order == "RGB" else planes[2::-1]).transpose(1, 2, 0))


def captions(label: np.ndarray | None, count: int, classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Of each of `count` records, from the label of their batch: a class, or the two largest shares of a mixed label,
    or numbers."""
    if label is None or len(label) != count:
        return [()] * count
    rows = label.reshape(count, -1)
    if rows.shape[1] == 1:
        return [(named(float(row[0]), classes),) for row in rows]
    shares = bool((rows >= 0).all()) and bool(np.allclose(rows.sum(axis=1), 1, atol=1e-3))
    return [_shares(row, classes) if shares else (" ".join(f"{v:.3g}" for v in row[:3]),) for row in rows]


def _shares(row: np.ndarray, classes: Sequence[str]) -> tuple[str, ...]:
    largest = np.argsort(-row, kind="stable")[:2]
    return tuple(f"{named(float(i), classes)} {row[i]:.0%}" for i in largest if row[i] > 0)


def boxes_of(label: np.ndarray, count: int, classes: Sequence[str]) -> list[tuple[Box, ...]]:
    """The boxes of each picture, from the label of AnnotatedData, [1 1 rows 8]."""
    found: list[list[Box]] = [[] for _ in range(count)]
    for item, number, _, *sides, _ in label.reshape(-1, 8).tolist():
        if 0 <= item < count:
            found[int(item)].append(Box((sides[0], sides[1], sides[2], sides[3]), named(number, classes), int(number)))
    return [tuple(boxes) for boxes in found]


def cells_of(pictures: np.ndarray, order: str, said: Sequence[tuple[str, ...]]) -> list[Cell]:
    """u8[n c h w] with their captions."""
    return [Cell(for_the_eye(planes, order), caption) for planes, caption in zip(pictures, said, strict=True)]
