"""Whole pictures scaled before the crop, as Intel's and NVIDIA's forks of Caffe do it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from nktc.data.transforms import chance
from nktc.errors import LayerError
from nktc.ir import Phase, RandomAspectCrop, Rescale, Transform, times

MOST = 1 << 30  # pixels of a picture; OpenCV decodes no larger one
THIN = 64  # times a side may be longer than the other: the shorter one is scaled to a length, the longer one follows
F = np.float32  # the forks compute sides in these
METHODS = {
    "NEAREST": cv2.INTER_NEAREST,
    "LINEAR": cv2.INTER_LINEAR,
    "CUBIC": cv2.INTER_CUBIC,
    "AREA": cv2.INTER_AREA,
    "LANCZOS4": cv2.INTER_LANCZOS4,
}


def rescaled(picture: np.ndarray, settings: Transform, phase: Phase, seed: int, counter: np.ndarray) -> np.ndarray:
    """u8 or f32 [c h w] as the settings scale it, no side shorter than the crop; what is drawn in TRAIN follows from
    the seed and the counter [1]."""
    match settings.rescale:
        case RandomAspectCrop() as part:
            return _aspect_crop(picture, part, settings.crop, phase, seed, counter)
        case Rescale() as scaling:
            return _scaled(picture, scaling, settings.crop, phase, seed, counter)
    return picture


def tested_side(settings: Transform) -> int:
    """The shorter side of pictures in TEST, 0 where it stays what it is."""
    if isinstance(settings.rescale, Rescale):
        return sum(settings.rescale.sides) // 2 if all(settings.rescale.sides) else 0
    return settings.crop


def _scaled(
    picture: np.ndarray, scaling: Rescale, crop: int, phase: Phase, seed: int, counter: np.ndarray
) -> np.ndarray:
    def drawn(what: str, low: float, high: float) -> float:
        if phase is not Phase.TRAIN:
            return (low + high) / 2
        return float(chance.even(seed, what, counter, low, high)[0])

    height, width = picture.shape[1:]
    low, high = scaling.sides
    if scaling.cuts:
        low, high = low or min(height, width), high or max(height, width)
    else:
        low, high = low or min(height, width), high or min(height, width)
    side = (low + high) // 2
    if phase is Phase.TRAIN:
        side = low + int(chance.whole(seed, "shorter side", counter, max(0, high - low) + 1)[0])
    if scaling.cuts:
        rows, columns = (int(F(there) / F(min(height, width)) * F(side)) for there in (height, width))
        rows, columns = (side, columns) if height < width else (rows, side)
        size = max(crop, rows), max(crop, columns)
    else:
        factor = F(side) / F(min(height, width))
        tall, wide = float(factor * F(height)), float(factor * F(width))
        if all(scaling.longer):
            ratio = drawn("longer side", *scaling.longer)
            tied = wide == tall and phase is Phase.TRAIN
            if wide > tall or (tied and chance.whole(seed, "which side", counter, 2)[0]):
                wide = tall * ratio
            else:
                tall = wide * ratio
        tall, wide = tall * drawn("height", *scaling.tall), wide * drawn("width", *scaling.wide)
        size = max(crop, math.floor(tall + 0.5)), max(crop, math.floor(wide + 0.5))
        if not scaling.enlarges:
            size = max(crop, min(size[0], height)), max(crop, min(size[1], width))
    smaller = size[0] <= height and size[1] <= width
    return _brought(picture, size, scaling.methods[0] if smaller else scaling.methods[1])


def _aspect_crop(
    picture: np.ndarray, part: RandomAspectCrop, crop: int, phase: Phase, seed: int, counter: np.ndarray
) -> np.ndarray:
    height, width = picture.shape[1:]

    def ratio(what: str, low: float, high: float) -> float:
        """In steps of a thousandth."""
        steps = int((high - low) * 1000 + 1)
        return float(chance.whole(seed, what, counter, steps)[0]) / 1000 + low

    for attempt in range(part.attempts if phase is Phase.TRAIN else 0):
        side = math.sqrt(ratio(f"area {attempt}", *part.area) * height * width)
        change = ratio(f"aspect {attempt}", part.change, 1 / part.change)
        tall, wide = int(side * change), int(side / change)
        if chance.whole(seed, f"turned {attempt}", counter, 2)[0]:
            tall, wide = wide, tall
        if 0 < tall <= height and 0 < wide <= width:
            top = int(chance.whole(seed, f"part row {attempt}", counter, height - tall + 1)[0])
            left = int(chance.whole(seed, f"part column {attempt}", counter, width - wide + 1)[0])
            return _brought(picture[:, top : top + tall, left : left + wide], (crop, crop), part.method)
    shorter = Rescale((crop, crop), methods=(part.method, part.method), cuts=True)
    return _scaled(picture, shorter, crop, Phase.TEST, seed, counter)


@contextmanager
def bringing(picture: np.ndarray, size: tuple[int, int]) -> Iterator[None]:
    """Raises LayerError where [c h w] cannot be brought to a height and width."""
    if math.prod(size) > MOST:
        raise LayerError(f"a picture of {times(size)} has more than {MOST:,} pixels", help="bring it to a smaller size")
    try:
        yield
    except (cv2.error, MemoryError) as error:
        reason = (getattr(error, "err", None) or "").lower() or "there is no memory for it"
        problem = f"a picture of {times(picture.shape)} cannot be brought to {times(size)}: {reason}"
        raise LayerError(problem) from None


def _brought(picture: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    if picture.shape[1:] == size:
        return picture
    with bringing(picture, size):
        whole = np.ascontiguousarray(picture.transpose(1, 2, 0))
        scaled = cv2.resize(whole, size[::-1], interpolation=METHODS[method])
    return scaled[None] if scaled.ndim == 2 else scaled.transpose(2, 0, 1)
