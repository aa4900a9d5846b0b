"""Classifier: a net that is asked about pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nktc.ir import Phase
from nktc.pycaffe.io import CROPS, InputError, Transformer, oversample, resize_image
from nktc.pycaffe.net import Net


def transformer_of(
    net: Net,
    mean: np.ndarray | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> Transformer:
    """What brings pictures [h w c] to the first input of a net. Raises InputError where it has none."""
    if not net.inputs:
        raise InputError("the net has no input to put pictures into: give its deploy net, which begins with an Input")
    name = net.inputs[0]
    made = Transformer({name: net.blobs[name].data.shape})
    made.set_transpose(name, (2, 0, 1))
    if mean is not None:
        made.set_mean(name, mean)
    if input_scale is not None:
        made.set_input_scale(name, input_scale)
    if raw_scale is not None:
        made.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        made.set_channel_swap(name, channel_swap)
    return made


class Classifier(Net):
    """A deploy net with its weights, that prepares pictures itself.

    They are scaled to `image_dims` (height, width; the net's input without it) and cut to the net's input; the others
    are what the setters of `io.Transformer` of these names take.
    """

    def __init__(
        self,
        model_file: str | Path,
        pretrained_file: str | Path,
        image_dims: Sequence[int] | None = None,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, Phase.TEST.value, weights=pretrained_file)
        self.transformer = transformer_of(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].data.shape[2:])
        self.image_dims: Sequence[int] = self.crop_dims.tolist() if image_dims is None else image_dims

    def predict(self, inputs: Sequence[np.ndarray] | np.ndarray, oversample: bool = True) -> np.ndarray:
        """The net's first output of pictures [h w c], [n c]: with `oversample` the means over ten crops of each, the
        corners and the centre and the same mirrored, else of the centre. Raises InputError."""
        if not len(inputs):
            raise InputError("there are no pictures to classify")
        pictures = np.stack([resize_image(picture, self.image_dims) for picture in inputs])
        crops = self._crops(pictures) if oversample else self._centres(pictures)
        name = self.inputs[0]
        fed: dict[str, Any] = {name: np.stack([self.transformer.preprocess(name, crop) for crop in crops])}
        predictions: np.ndarray = self.forward_all(**fed)[self.outputs[0]]
        if oversample:
            predictions = predictions.reshape(len(inputs), CROPS, -1).mean(1)
        return predictions

    def _crops(self, pictures: np.ndarray) -> np.ndarray:
        return oversample(pictures, self.crop_dims)

    def _centres(self, pictures: np.ndarray) -> np.ndarray:
        tall, wide = self.crop_dims.tolist()
        height, width = pictures.shape[1:3]
        if tall > height or wide > width:
            raise InputError(f"crops of {tall}x{wide} cannot be cut from {height}x{width}")
        top, left = (height - tall) // 2, (width - wide) // 2
        return pictures[:, top : top + tall, left : left + wide]
