"""Detector: a net that is asked about windows of pictures, as R-CNN does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.pycaffe.classifier import transformer_of
from nktc.pycaffe.io import InputError, load_image, resize_image
from nktc.pycaffe.net import Net

Window = Sequence[int] | np.ndarray


def selective_search(image_fnames: Sequence[str]) -> list[tuple[str, Sequence[Window]]]:
    """Refused: for these windows Caffe calls MATLAB code that is no part of it."""
    raise NktcError(
        "selective search is MATLAB code that is part neither of Caffe nor of nktc",
        help="give windows of your own, as those of cv2.ximgproc's selective search: detect_windows, --crop_mode list",
    )


class Detector(Net):
    """A deploy net with its weights, for windows (ymin, xmin, ymax, xmax) of pictures, each warped to the net's input.

    With `context_pad` so many pixels at each edge of the input show what is around a window; where that is outside of
    the picture they are the mean. The others are what the setters of `io.Transformer` of these names take.
    """

    def __init__(
        self,
        model_file: str | Path,
        pretrained_file: str | Path,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, Phase.TEST.value, weights=pretrained_file)
        self.transformer = transformer_of(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple[str, Sequence[Window]]]) -> list[dict[str, Any]]:
        """For every window of every image file its "window", "prediction" (the first output's row) and "filename".
        Raises NktcError."""
        name, found, rows = self.inputs[0], [], []
        for filename, windows in images_windows:
            image = load_image(filename)
            for window in windows:
                found.append({"window": window, "filename": filename})
                rows.append(self.transformer.preprocess(name, self.crop(image, window)))
        if not found:
            return []
        fed: dict[str, Any] = {name: np.stack(rows)}
        predictions = self.forward_all(**fed)[self.outputs[0]]
        return [one | {"prediction": prediction} for one, prediction in zip(found, predictions, strict=True)]

    def detect_selective_search(self, image_fnames: Sequence[str]) -> list[dict[str, Any]]:
        """`detect_windows` of what `selective_search` gives."""
        return self.detect_windows(selective_search(image_fnames))

    def crop(self, im: np.ndarray, window: Window) -> np.ndarray:
        """The part of a picture [h w c] in a window; with context_pad f32[*crop_dims] with what is around it. Raises
        InputError for a window that has nothing of the picture."""
        top, left, bottom, right = (int(side) for side in window)
        plain = im[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        if not plain.size:
            raise InputError(
                f"the window {top}, {left}, {bottom}, {right} has nothing of a {im.shape[0]}x{im.shape[1]}"
            )
        if not self.context_pad:
            return plain
        side = int(self.crop_dims[1])  # taken to be square
        scale = side / (side - 2.0 * self.context_pad)
        half = np.array([bottom - top + 1, right - left + 1]) / 2
        centre = np.array([top, left]) + half
        begin, end = np.round(centre - scale * half), np.round(centre + scale * half)
        zoom = side / (end - begin + 1)  # of the widened window to the input
        pad = np.round(np.maximum(0, -begin) * zoom).astype(int)
        begin, end = np.maximum(begin, 0).astype(int), np.minimum(end, im.shape[:2]).astype(int)
        size = np.clip(np.round((end - begin + 1) * zoom).astype(int), 1, side - pad)
        made = np.array(np.broadcast_to(self.crop_mean, self.crop_dims), np.float32)
        around = resize_image(im[begin[0] : end[0], begin[1] : end[1]], size.tolist())
        made[pad[0] : pad[0] + size[0], pad[1] : pad[1] + size[1]] = around
        return made

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the context, see the class. Raises InputError where it leaves nothing of a window."""
        name = self.inputs[0]
        back = np.argsort(self.transformer.transpose[name])
        self.crop_dims = np.array(self.blobs[name].data.shape[1:])[back]
        self.context_pad = context_pad
        if context_pad and 2 * context_pad >= self.crop_dims[1]:
            raise InputError(f"a context_pad of {context_pad} leaves nothing of an input {self.crop_dims[1]} wide")
        if context_pad and self.crop_dims[0] != self.crop_dims[1]:
            high, wide = self.crop_dims[:2].tolist()
            raise InputError(f"context_pad is for a square input, this net's is {high} high and {wide} wide")
        self.crop_mean: np.ndarray = np.zeros(1)
        mean = self.transformer.mean.get(name)
        if context_pad and mean is not None:
            # What is filled in goes through the transformer too, so it is the mean in the colours of a picture.
            filling = mean.transpose(back)
            if name in self.transformer.channel_swap:
                filling = filling[:, :, np.argsort(self.transformer.channel_swap[name])]
            self.crop_mean = filling / (self.transformer.raw_scale.get(name) or 1)
