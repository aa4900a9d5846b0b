"""Ten crops of a picture: the corners and the centre, and the same mirrored, as Caffe's Classifier oversamples."""

from __future__ import annotations

import dataclasses

import numpy as np

from nktc import data
from nktc.ir import Preprocessing

CROPS = 10
LARGER = 8 / 7  # what a picture is brought to, times the crop, where the model knows no larger size: 256 for 224


def ten_crops(planes: np.ndarray, p: Preprocessing) -> np.ndarray:
    """u8 or f32 [c h w], planes in the order of `p` -> f32[10 c h w].

    The picture is brought to the size that it had before the crop in training, its mean taken off, and then cut. For a
    model that knows no crop they are cut from a picture 8/7 as large as its input, then the mean is taken off each.
    Raises LayerError where the picture cannot be brought to that size.
    """
    if p.crop and p.crop < max(p.size):
        whole = data.resize(planes, p.size, p.resize_mode, p.fill)
        return cut(data.prepared(whole[None], dataclasses.replace(p, crop=0)).numpy()[0], (p.crop, p.crop))
    larger = round(p.size[0] * LARGER), round(p.size[1] * LARGER)
    return data.prepared(cut(data.resize(planes, larger, p.resize_mode, p.fill), p.size), p).numpy()


def cut(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """x[c H W] -> [10 c *size]: top left, top right, bottom left, bottom right, centre; then the same mirrored."""
    down, right = (there - wanted for there, wanted in zip(x.shape[1:], size, strict=True))
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = np.stack([x[:, top : top + size[0], left : left + size[1]] for top, left in corners])
    return np.concatenate([crops, crops[..., ::-1]])
