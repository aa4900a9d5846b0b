"""shapes10: colour pictures of ten kinds of textured shapes, drawn here.

Colours, place, size, turn, texture, background and noise are random, and a shape may be lighter or darker
than what is behind it: no pixel tells anything alone, so a linear model stays near chance, while the outline
tells all. Every number comes from a frozen generator, so that the set is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nktc.data.images import Images
from nktc.data.progress import progress
from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.copies import Copy
from nktc.ir import Phase

SET = KNOWN["shapes10"]
SIDE = 32
CHUNK = 1000
SEEDS = {Phase.TRAIN: 10, Phase.TEST: 11}

Floats = NDArray[np.floating]
Outline = Callable[[Floats, Floats], Floats]
"""(x, y) in units of the shape's radius -> distance from the outline, negative inside. Roughly so: only its
zero and its slope of 1 nearby count."""


def copy() -> Copy:
    """The set itself."""
    return Copy("drawn by nktc", "1", lambda: {split: draw(split, SET.sizes[split]) for split in Phase})


def draw(split: Phase, count: int) -> Images:
    """The first `count` pictures of a split; u8[n 3 32 32], as many of each class as of any other."""
    pixels = np.empty((count, 3, SIDE, SIDE), np.uint8)
    labels = np.empty(count, np.int64)
    with progress(f"drawing shapes10 {split.name}", count) as advance:
        for start in range(0, count, CHUNK):
            random = np.random.RandomState([SEEDS[split], start])
            mixed = random.permutation(CHUNK) % len(SET.labels)
            size = min(CHUNK, count - start)
            labels[start : start + size] = mixed[:size]
            pixels[start : start + size] = _pictures(mixed, random)[:size]
            advance(size)
    return Images(pixels, labels)


def _pictures(labels: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """u8[n 3 32 32] of the given classes."""
    n = len(labels)
    radius = _between(random, n, 8.0, 13.0)
    mask = _masks(labels, radius, random)
    inside, outside = _colours(n, random)
    picture = _texture(outside, random)
    picture += mask[:, None] * (_texture(inside, random) - picture)
    picture += _noise(n, random)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _masks(labels: np.ndarray, radius: Floats, random: np.random.RandomState) -> Floats:
    """f32[n h w]: how much of each pixel the shape covers."""
    n = len(labels)
    turn = _between(random, n, 0, 2 * np.pi)
    centre_x, centre_y = (_between(random, n, -1, 1) * (SIDE / 2 - radius * 0.8) for _ in range(2))
    stretch = _between(random, n, 0.85, 1.18)
    steps = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    dx, dy = steps[None, None, :] - centre_x, steps[None, :, None] - centre_y
    cos, sin = np.cos(turn) / radius, np.sin(turn) / radius
    x, y = (dx * cos + dy * sin) * stretch, (dy * cos - dx * sin) / stretch
    mask = np.empty((n, SIDE, SIDE), np.float32)
    for label, name in enumerate(SET.labels):
        chosen = labels == label
        distance = OUTLINES[name](x[chosen], y[chosen]) * radius[chosen]
        mask[chosen] = np.clip(0.5 - distance, 0, 1)
    return mask


def _colours(n: int, random: np.random.RandomState) -> tuple[Floats, Floats]:
    """Two colours a picture, f32[n 3 1 1] each, far enough apart to be told from one another."""
    one = 30 + 195 * random.random_sample((n, 3))
    other = 30 + 195 * random.random_sample((n, 3))
    apart = other - one
    distance = np.linalg.norm(apart, axis=1, keepdims=True)
    push = np.maximum(0, 110 - distance) / np.maximum(distance, 1) / 2
    pair = (np.clip(one - apart * push, 0, 255), np.clip(other + apart * push, 0, 255))
    first, second = (colour.astype(np.float32)[:, :, None, None] for colour in pair)
    return first, second


def _texture(colour: Floats, random: np.random.RandomState) -> Floats:
    """f32[n 3 h w]: a grating of some direction and width, and soft patches, both around a colour."""
    n = len(colour)
    angle, phase = _between(random, n, 0, np.pi), _between(random, n, 0, 2 * np.pi)
    frequency = 2 * np.pi / _between(random, n, 3, 12)
    steps = np.arange(SIDE, dtype=np.float32)
    right, down = np.cos(angle) * frequency, np.sin(angle) * frequency
    grating = np.sin(steps[None, None, :] * right + steps[None, :, None] * down + phase)
    tint = (random.random_sample((n, 3, 1, 1)) * 60 - 30).astype(np.float32)
    patches = (random.random_sample((n, 3, COARSE, COARSE)) * 60 - 30).astype(np.float32)
    picture: Floats = SPREAD @ patches @ SPREAD.T
    picture += colour + tint * grating[:, None]
    return picture


def _noise(n: int, random: np.random.RandomState) -> Floats:
    """f32[n 3 h w] around 0, of a strength of its own for each picture; the sum of two even ones."""
    count = n * 3 * SIDE * SIDE
    even = np.frombuffer(random.bytes(2 * count), np.uint8).reshape(2, n, 3, SIDE, SIDE)
    both: Floats = even[0].astype(np.float32)
    both += even[1]
    both -= 255
    both *= _between(random, n, 0.02, 0.16)[:, None]
    return both


def _between(random: np.random.RandomState, n: int, low: float, high: float) -> Floats:
    """f32[n 1 1], evenly spread."""
    return (low + (high - low) * random.random_sample((n, 1, 1))).astype(np.float32)


COARSE = 5


def _spread() -> Floats:
    """f32[32 5]: stretches 5 values over a row, linearly."""
    at = np.linspace(0, COARSE - 1, SIDE)[:, None]
    spread: Floats = np.clip(1 - np.abs(at - np.arange(COARSE)), 0, 1).astype(np.float32)
    return spread


SPREAD = _spread()


def _disk(x: Floats, y: Floats, radius: float = 0.95) -> Floats:
    return np.hypot(x, y) - radius


def _box(x: Floats, y: Floats, width: float, height: float) -> Floats:
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _cross(x: Floats, y: Floats) -> Floats:
    return np.minimum(_box(x, y, 1.0, 0.3), _box(x, y, 0.3, 1.0))


def _frame(x: Floats, y: Floats) -> Floats:
    return np.abs(_box(x, y, 0.65, 0.65)) - 0.16


def _ring(x: Floats, y: Floats) -> Floats:
    return np.abs(_disk(x, y, 0.8)) - 0.18


def _crescent(x: Floats, y: Floats) -> Floats:
    return np.maximum(_disk(x, y, 1.0), -_disk(x - 0.55, y, 0.8))


def _pair(x: Floats, y: Floats) -> Floats:
    return np.minimum(_disk(x - 0.6, y, 0.42), _disk(x + 0.6, y, 0.42))


def _polygon(x: Floats, y: Floats, corners: int, inner: float) -> Floats:
    """A triangle, or with `inner` less than the cosine of half a side's angle a star: corners at distance 1,
    the middles between them at distance `inner`."""
    sector = np.pi / corners
    angle = np.abs(np.mod(np.arctan2(y, x), 2 * sector) - sector)  # 0 between corners, `sector` at one
    radius = np.hypot(x, y)
    # The edge runs from (inner, angle 0) to (1, angle sector).
    along, across = np.cos(sector) - inner, np.sin(sector)
    length = np.hypot(along, across)
    px, py = radius * np.cos(angle) - inner, radius * np.sin(angle)
    distance: Floats = (px * across - py * along) / length
    return distance


OUTLINES: dict[str, Outline] = {
    "bar": lambda x, y: _box(x, y, 1.05, 0.26),
    "crescent": _crescent,
    "cross": _cross,
    "disk": _disk,
    "frame": _frame,
    "pair": _pair,
    "ring": _ring,
    "square": lambda x, y: _box(x, y, 0.78, 0.78),
    "star": lambda x, y: _polygon(x, y, 5, 0.42),
    "triangle": lambda x, y: _polygon(x, y, 3, 0.5),
}
