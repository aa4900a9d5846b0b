"""Changes of brightness, contrast, saturation and hue of whole batches.

In this order, each as it is known: brightness is a factor; contrast one on the distance from the mean grey of the
picture; saturation one on the distance from each pixel's grey; hue turns the plane of colour in YIQ. Grey is that of
Rec. 601. All of them together are one matrix and one shift a picture, so nothing is clipped but the result.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nktc.data.resident import send
from nktc.data.transforms import chance
from nktc.ir import ColorJitter

GREY = np.array([299, 587, 114])  # of red, green and blue, in thousandths
STEPS = 1024.0  # coefficients are multiples of 1/1024: with bytes all sums are exact in f32, on every device

_TO_YIQ = np.array([GREY / 1000, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def jittered(x: Tensor, settings: ColorJitter, order: str, seed: int, counters: np.ndarray) -> Tensor:
    """x[n c h w], u8 or f32 -> a new tensor of the kind, bytes rounded and kept within 0 to 255.

    c is 3, planes in `order` (BGR or RGB), or 1: there saturation and hue change nothing. A factor is drawn evenly from
    1 less the setting to 1 more, the turn of the hue evenly up to the setting either way.
    """
    c = x.shape[1]
    matrices, contrast = _drawn(settings, seed, counters)
    if c == 1:
        matrices = matrices.sum(2, keepdims=True)[:, :1]  # a grey goes to a grey
    elif order == "BGR":
        matrices = matrices[:, ::-1, ::-1]
    matrices = np.rint(matrices * STEPS) / STEPS
    towards = contrast * STEPS / (x[0, 0].numel() * 1000)
    # One copy to a GPU. The mean grey stays there, and doubles keep it exact.
    told = send(torch.from_numpy(np.concatenate([matrices.reshape(len(x), -1), towards[:, None]], 1)), x.device)
    lines = told[:, :-1].to(torch.float32).reshape(-1, c, c, 1, 1)
    shift = ((_grey(x, order) * told[:, -1]).round_() / STEPS).to(torch.float32)[:, None, None, None]
    # One plane at a time, and no fused sums: a record comes out the same in every batch.
    pixels = x.to(torch.float32)
    y = pixels[:, :1] * lines[:, :, 0]
    for plane in range(1, c):
        y += pixels[:, plane : plane + 1] * lines[:, :, plane]
    if x.dtype != torch.uint8:
        return y.add_(shift)
    return y.add_(shift + 0.5).clamp_(0, 255).to(torch.uint8)  # which cuts off what is behind the point


def _grey(x: Tensor, order: str) -> Tensor:
    """f64[n]: the sum of the greys of each picture of x[n c h w], in thousandths."""
    sums = x.sum((2, 3), dtype=torch.int64 if x.dtype == torch.uint8 else torch.float64)
    if x.shape[1] == 1:
        return (sums[:, 0] * 1000).to(torch.float64)
    red, green, blue = (2, 1, 0) if order == "BGR" else (0, 1, 2)
    parts = (sums[:, plane] * int(part) for plane, part in zip((red, green, blue), GREY, strict=True))
    first, second, third = parts
    return (first + second + third).to(torch.float64)


def _drawn(settings: ColorJitter, seed: int, counters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrices f64[n 3 3] for red, green and blue, and the share f64[n] of its mean grey that a picture gets."""

    def factor(name: str, most: float) -> np.ndarray:
        return chance.even(seed, name, counters, 1 - most, 1 + most)

    brightness = factor("brightness", settings.brightness)
    contrast = factor("contrast", settings.contrast)
    saturation = factor("saturation", settings.saturation)
    hue = chance.even(seed, "hue", counters, -settings.hue, settings.hue)
    return color_matrices(brightness * contrast, saturation, hue), (1 - contrast) * brightness


def color_matrices(factors: np.ndarray, saturations: np.ndarray, hues: np.ndarray) -> np.ndarray:
    """f64[n 3 3] for columns of red, green and blue: times a factor, saturated, turned by degrees; a grey keeps its
    colour."""
    angle = np.deg2rad(hues)
    turn = np.zeros((len(hues), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturations * np.cos(angle)
    turn[:, 2, 1] = saturations * np.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    found: np.ndarray = factors[:, None, None] * (np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ)
    return found
