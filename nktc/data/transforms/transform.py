"""What pictures go through on their way into a net, in whole batches and on any device.

Caffe's own: minus the mean, a crop, a factor, a mirror; and what its users asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nktc.data.pictures import windows
from nktc.data.transforms import chance, geometry
from nktc.data.transforms.blots import blot, rectangles, squares
from nktc.data.transforms.colors import jittered
from nktc.data.transforms.mixing import mixed
from nktc.data.transforms.rescale import tested_side
from nktc.errors import LayerError
from nktc.ir import Phase, Preprocessing, Shape, Transform, times


def cropped(shape: Shape, transform: Transform, phase: Phase = Phase.TEST) -> Shape:
    """[c h w] after the crop, or the random resized crop of TRAIN, which any picture is large enough for. Raises
    LayerError for a crop that is larger than the picture."""
    if not transform.crop:
        return shape
    if len(shape) == 3 and (transform.rescale or (transform.random_resized_crop and phase is Phase.TRAIN)):
        return (shape[0], transform.crop, transform.crop)
    if len(shape) != 3 or transform.crop > min(shape[1:]):
        raise LayerError(
            f"crop {transform.crop}x{transform.crop} is larger than its image {times(shape[1:])}",
            field="crop_size",
        )
    return (shape[0], transform.crop, transform.crop)


def mean_of(transform: Transform, shape: Shape, image: np.ndarray | None = None) -> np.ndarray | None:
    """What is taken off records of `shape`: f32[c h w] of the mean image, f32[c 1 1] of the mean values, or None.

    A mean image has the size of the records and is cut with them; with a random resized crop it has that of the
    results, and where pictures are rescaled its middle is taken. Raises LayerError where they do not fit.
    """
    if image is not None:
        if transform.rescale:
            if image.shape[0] != shape[0] or min(image.shape[1:]) < transform.crop:
                expected = (shape[0], transform.crop, transform.crop)
                problem = f"mean image is {times(image.shape)}, a crop is {times(expected)}"
                raise LayerError(problem, field="mean_file", help="give mean_value, one a channel")
            top, left = ((side - transform.crop) // 2 for side in image.shape[1:])
            return np.ascontiguousarray(image[:, top : top + transform.crop, left : left + transform.crop])
        if transform.random_resized_crop:
            expected = (shape[0], transform.crop, transform.crop)
            if image.shape != expected:
                problem = f"mean image is {times(image.shape)}, what is cut at random is {times(expected)}"
                raise LayerError(problem, field="mean_file", help="give mean_value, one a channel")
            return image
        if image.shape != shape:
            raise LayerError(f"mean image is {times(image.shape)}, its images are {times(shape)}", field="mean_file")
        return image
    return _by_channel(transform.mean_values, shape[0], "mean_value", "mean values") if transform.mean_values else None


def std_of(transform: Transform, shape: Shape) -> np.ndarray | None:
    """What records of `shape` are divided by: f32[c 1 1] of the std values, or None. Raises LayerError."""
    return _by_channel(transform.std_values, shape[0], "std_value", "std values") if transform.std_values else None


def _by_channel(values: tuple[float, ...], channels: int, field: str, what: str) -> np.ndarray:
    """One value for all channels, or one each, as f32[c 1 1]. Raises LayerError for another number of them."""
    if len(values) not in (1, channels):
        raise LayerError(
            f"has {len(values)} {what} for {channels} channels",
            field=field,
            help="give one for all, or one a channel",
        )
    return np.broadcast_to(np.array(values, np.float32), channels).reshape(channels, 1, 1).copy()


def preprocessing_of(
    transform: Transform, shape: Shape, mean: np.ndarray | None, order: str = ""
) -> Preprocessing | None:
    """What a picture goes through to be the equal, in TEST, of records of `shape`, [c h w] after any resize; None for
    records that are no pictures. `mean` is what `mean_of` tells, `order` that of the planes where the transform does
    not say it. Raises LayerError where the deviation does not fit."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        return None
    size, mode = transform.resize if any(transform.resize) else (shape[1], shape[2]), transform.resize_mode
    if transform.rescale:
        side = max(transform.crop, tested_side(transform))
        size, mode = (side, side), "CROP"
    elif transform.crop > min(size):  # a random resized crop takes a picture of any size
        size = (transform.crop, transform.crop)
    return Preprocessing(
        size,
        order or (transform.order if shape[0] == 3 else "GRAY"),
        mean,
        transform.scale,
        transform.crop,
        mode,
        transform.fill,
        std_of(transform, shape),
    )


class Pipeline:
    """The transform of records of one shape, ready on a device. `shape` is that of its results, [c h w].

    It has two halves. `cut` does what is done to bytes: a random resized crop or a turn and a crop, the mirror, the
    colours. `values` does the arithmetic, and what is blotted out. All chance follows from `seed` and the counter of a
    record alone, so a batch can be made again, whole or in parts. `mixes` tells whether batches are then to be mixed.
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
        """`shape` is [c h w] of the records, `mean` what `mean_of` tells. Raises LayerErrors for settings that do not
        fit the records."""
        self.shape = cropped(shape, transform, phase)
        # In TEST nothing comes by chance.
        self._chances = transform if phase is Phase.TRAIN else Transform()
        self._picture, self._size = (shape[-2], shape[-1]), (self.shape[-2], self.shape[-1])
        self._transform, self._seed, self._phase = transform, seed, phase
        self._mean, self._std = _on(mean, device), _on(std_of(transform, shape), device)
        self._flat = mean is None or mean.shape[1:] == (1, 1)  # what is taken off is the same all over a picture
        if mean is not None and not self._flat and self._chances.random_resized_crop:
            mean_of(transform, shape, mean)
        self._wanders = phase is Phase.TRAIN and self._picture != self._size
        self._samples = bool(self._chances.random_resized_crop or self._chances.rotation)
        if self._chances.color_jitter and shape[0] not in (1, 3):
            problem = f"changes the colours of pictures, its records {times(shape)} have {shape[0]} planes"
            raise LayerError(problem, field="color_jitter", help="leave color_jitter out")

    @property
    def mixes(self) -> bool:
        """Whether batches are to be mixed, so that a label is one share a class."""
        return self._chances.mixes

    def __call__(self, pixels: Tensor, counters: np.ndarray) -> Tensor:
        """x[n c H W], u8 or f32 -> f32[n c h w], a new tensor; `counters` u64[n] or i64[n], one a record."""
        return self.values(self.cut(pixels, counters), counters)

    def cut(self, pixels: Tensor, counters: np.ndarray) -> Tensor:
        """x[n c H W], u8 or f32 -> the same kind of [n c h w], perhaps `pixels` or a view of them. Bytes are rounded
        and kept within 0 to 255 after each of sampling and colours, so they are the same wherever they are made."""
        x = self._sampled(pixels, counters) if self._samples else self._window(pixels, counters)
        return self._coloured(x, counters)

    @property
    def samples(self) -> bool:
        """Whether `cut` takes more than windows of the pictures."""
        return self._samples

    def cut_pictures(self, pictures: Sequence[np.ndarray], counters: np.ndarray) -> Tensor:
        """`cut` of single pictures [c H W] of any sizes that are large enough, in whatever order their pixels lie, for
        a transform that does not sample."""
        there = np.array([picture.shape[1:] for picture in pictures])
        rows, columns, flips = self._drawn(counters, there[:, 0], there[:, 1])
        if self._phase is not Phase.TRAIN:
            rows, columns = ((there[:, i] - self._size[i]) // 2 for i in (0, 1))
        x = torch.from_numpy(windows(pictures, rows, columns, flips, self._size))
        return self._coloured(x, counters)

    def _coloured(self, x: Tensor, counters: np.ndarray) -> Tensor:
        if not self._chances.color_jitter:
            return x
        return jittered(x, self._chances.color_jitter, self._transform.order, self._seed, counters)

    def values(self, cut: Tensor, counters: np.ndarray) -> Tensor:
        """x[n c h w] of `cut` -> f32[n c h w], a new tensor: minus the mean of the same window, times the scale,
        divided by the deviation; then 0, which is the mean, where something is blotted out."""
        mean = self._mean
        if mean is not None and not self._flat:
            mean = self._window(mean.expand(len(cut), -1, -1, -1), counters)
        # One pass over the batch: torch turns bytes to floats on the way.
        x = cut.to(torch.float32, copy=True) if mean is None else torch.sub(cut, mean)
        if self._transform.scale != 1:
            x *= self._transform.scale
        if self._std is not None:
            x /= self._std
        boxes = []
        if self._chances.cutout:
            boxes.append(squares(self._chances.cutout, self._size, self._seed, counters))
        if self._chances.random_erasing:
            boxes.append(rectangles(self._chances.random_erasing, self._size, self._seed, counters))
        return blot(x, boxes) if boxes else x

    def mix(self, x: Tensor, labels: Tensor, counters: np.ndarray, classes: int) -> tuple[Tensor, Tensor]:
        """A whole batch of `values`, f32[n c h w], and its class numbers f32[n] -> x, mixed in its own memory, and the
        share of each class, f32[n classes]. Raises NktcError for a label outside the classes."""
        return mixed(x, labels, classes, self._chances.mixup, self._chances.cutmix, self._seed, counters)

    def _sampled(self, x: Tensor, counters: np.ndarray) -> Tensor:
        """Turned, cut and mirrored, each record of x[n c H W] in its own way, by one map: it is sampled once."""
        rows, columns, flips = self._drawn(counters)
        if self._chances.random_resized_crop:
            boxes = geometry.random_boxes(self._chances.random_resized_crop, self._picture, self._seed, counters)
            maps = geometry.stretches(boxes, self._size)
        else:
            maps = geometry.shifts(rows, columns)
        maps = maps @ geometry.mirrors(flips, self._size[1])
        if not (most := self._chances.rotation):
            return geometry.sample(x, maps, self._size)
        degrees = chance.even(self._seed, "rotation", counters, -most, most)
        return geometry.sample(x, geometry.turns(degrees, self._picture) @ maps, self._size, self._transform.fill)

    def _window(self, x: Tensor, counters: np.ndarray) -> Tensor:
        """The crop and the mirror of each record of x[n c H W], which may have the size of the results: then it is only
        mirrored -> [n c h w]"""
        whole = x.shape[-2:] == self._size
        if not self._chances.mirror and (whole or not self._wanders):
            return geometry.middle(x, self._size)
        rows, columns, flips = self._drawn(counters)
        if whole or not self._wanders:
            x, rows, columns = geometry.middle(x, self._size), np.zeros_like(rows), np.zeros_like(columns)
        return geometry.window(x, rows, columns, flips, self._size)

    def _drawn(
        self, counters: np.ndarray, heights: np.ndarray | int = 0, widths: np.ndarray | int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """i64[n] each: the row and the column where a crop starts, and 1 where a record is mirrored. The heights and
        widths of pictures are those of the records where they are not given."""
        picture = (heights, widths) if np.any(heights) else self._picture
        rows, columns = (
            chance.whole(self._seed, name, counters, np.maximum(0, np.subtract(there, wanted)) + 1)
            for name, there, wanted in zip(("row", "column"), picture, self._size, strict=True)
        )
        flips = chance.whole(self._seed, "mirror", counters, 2) if self._chances.mirror else np.zeros_like(rows)
        return rows, columns, flips


def _on(values: np.ndarray | None, device: torch.device | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(np.ascontiguousarray(values)).to(device)
