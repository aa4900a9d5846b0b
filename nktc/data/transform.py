"""Caffe's transform on whole batches, on any device: minus the mean, a crop, a factor, a mirror."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nktc.data.order import draw
from nktc.data.resident import send
from nktc.errors import LayerError
from nktc.ir import Phase, Shape, Transform, times


def cropped(shape: Shape, transform: Transform) -> Shape:
    """[c h w] after the crop. Raises LayerError for a crop that is larger than the picture."""
    if not transform.crop:
        return shape
    if len(shape) != 3 or transform.crop > min(shape[1:]):
        raise LayerError(
            f"crop {transform.crop}x{transform.crop} is larger than its image {times(shape[1:])}",
            field="crop_size",
        )
    return (shape[0], transform.crop, transform.crop)


def mean_of(transform: Transform, shape: Shape, image: np.ndarray | None = None) -> np.ndarray | None:
    """What is taken off records of `shape`: f32[c h w] of the mean image, f32[c 1 1] of the mean values, or
    None. Raises LayerError where they do not fit."""
    if image is not None:
        if image.shape != shape:
            raise LayerError(f"mean image is {times(image.shape)}, its images are {times(shape)}", field="mean_file")
        return image
    if not transform.mean_values:
        return None
    count, channels = len(transform.mean_values), shape[0]
    if count not in (1, channels):
        raise LayerError(
            f"has {count} mean values for {channels} channels",
            field="mean_value",
            help="give one for all, or one a channel",
        )
    values = np.array(transform.mean_values, np.float32)
    return np.broadcast_to(values, channels).reshape(channels, 1, 1).copy()


class Pipeline:
    """The transform of records of one shape, ready on a device. `shape` is that of its results, [c h w].

    Where chance comes in (crop and mirror in TRAIN) it follows from `seed` and the position of the record in
    the stream alone, so that a batch can be made again.
    """

    def __init__(
        self,
        transform: Transform,
        phase: Phase,
        shape: Shape,
        mean: np.ndarray | None = None,
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.shape = cropped(shape, transform)
        self.scale = transform.scale
        self.seed = seed
        self.mirrors = transform.mirror and phase is Phase.TRAIN
        self.slack = (shape[-2] - self.shape[-2], shape[-1] - self.shape[-1]) if transform.crop else (0, 0)
        self.wanders = phase is Phase.TRAIN and self.slack != (0, 0)
        self.mean = None if mean is None else torch.from_numpy(np.ascontiguousarray(mean)).to(device)
        self._flat = mean is None or mean.shape[1:] == (1, 1)  # what is taken off is the same all over a picture
        height, width = self.shape[-2:]
        self._down = torch.arange(0, height * shape[-1], shape[-1], device=device)[:, None]
        self._along = torch.arange(width, device=device)

    def __call__(self, pixels: Tensor, position: int = 0) -> Tensor:
        """x[n c h w], u8 or f32 -> f32[n c h w], a new tensor; `position` is that of the first record."""
        mean = self.mean
        if any(self.slack) and not self.wanders:
            pixels = middle(pixels, self.slack, self.shape)
            if mean is not None and not self._flat:
                mean = middle(mean, self.slack, self.shape)
        chance = self.wanders or self.mirrors
        if chance and self._flat:  # fewer and smaller numbers are moved than after it
            pixels = self._by_chance(pixels, position)
        # One pass over the batch: torch turns bytes to floats on the way.
        x = pixels.to(torch.float32, copy=True) if mean is None else torch.sub(pixels, mean)
        if chance and not self._flat:
            x = self._by_chance(x, position)
        if self.scale != 1:
            x *= self.scale
        return x

    def _by_chance(self, x: Tensor, position: int) -> Tensor:
        """The crop and the mirror of each record of x[n c h w], drawn from its position -> [n c height width]"""
        n, c, _, w = x.shape
        height, width = self.shape[-2:]

        def drawn(purpose: str, choices: int) -> np.ndarray:
            return (draw(self.seed, purpose, position, n) % np.uint64(choices)).astype(np.int64)

        slack = self.slack if self.wanders else (0, 0)
        rows, columns = drawn("row", slack[0] + 1), drawn("column", slack[1] + 1)
        flips = drawn("mirror", 2) if self.mirrors else np.zeros_like(rows)
        # Where each window starts, and which way it goes along its rows; to a GPU in one copy.
        told = np.stack([rows * w, columns + flips * (width - 1), 1 - 2 * flips])[:, :, None]
        top, left, way = send(torch.from_numpy(told), x.device)
        across = torch.addcmul(left, way, self._along)
        places = top[:, None] + self._down + across[:, None]
        return x.reshape(n, c, -1).gather(2, places.reshape(n, 1, -1).expand(n, c, -1)).reshape(n, c, height, width)


def middle(x: Tensor, slack: tuple[int, int], shape: Shape) -> Tensor:
    """The centre of x[.. h w] as a view; an odd rest goes below and to the right."""
    top, left = slack[0] // 2, slack[1] // 2
    return x[..., top : top + shape[-2], left : left + shape[-1]]
