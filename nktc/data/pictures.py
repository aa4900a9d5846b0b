"""Pictures as OpenCV has them, pixel after pixel, brought into planes: the one copy between decoding and a batch."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """[n c h w] of pictures [c h w] of one size and kind, in whatever order their pixels lie."""
    found = np.empty((len(pictures), *pictures[0].shape), pictures[0].dtype)
    for picture, planes in zip(pictures, found, strict=True):
        put(picture, planes)
    return found


def windows(
    pictures: Sequence[np.ndarray], rows: np.ndarray, columns: np.ndarray, flips: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """[n c *size] of pictures [c H W] of one kind: the window of each that starts at its row and column, mirrored where
    `flips` is 1."""
    height, width = size
    found = np.empty((len(pictures), len(pictures[0]), height, width), pictures[0].dtype)
    starts = zip(rows.tolist(), columns.tolist(), flips.tolist(), strict=True)
    for picture, planes, (top, left, flip) in zip(pictures, found, starts, strict=True):
        put(picture[:, top : top + height, left : left + width], planes, bool(flip))
    return found


def put(picture: np.ndarray, planes: np.ndarray, flip: bool = False) -> None:
    """Copy [c h w] into planes of the same size, mirrored if asked."""
    step = picture.itemsize
    if len(picture) > 1 and picture.strides[0] == step and picture.strides[2] == len(picture) * step:
        pixels = picture.transpose(1, 2, 0)
        cv2.split(cv2.flip(pixels, 1) if flip else pixels, list(planes))
    else:
        planes[:] = picture[..., ::-1] if flip else picture
