"""The Dataset layer: a set that nktc knows by name, wherever it can be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nktc.data.images import Images
from nktc.data.mean import file_mean
from nktc.data.order import Order
from nktc.data.parts import part_records, part_size
from nktc.data.places import Places
from nktc.data.resident import Kept
from nktc.data.sets.catalogue import KnownSet, find_set
from nktc.data.sets.copies import Copy
from nktc.data.sets.finding import Missing, obtain
from nktc.data.stream import Batch, Opening, Stream, data_feed, with_tops
from nktc.data.transforms.transform import Pipeline, cropped, mean_of, preprocessing_of
from nktc.errors import LayerError, NktcError
from nktc.ir import Feed, Preprocessing
from nktc.layers import Dataset


def set_mean(known: KnownSet, copy: Copy, kind: str, places: Places) -> np.ndarray | None:
    """The mean of the TRAIN split: IMAGE f32[c h w], CHANNEL f32[c 1 1], NONE None."""
    if kind == "NONE":
        return None
    image = copy.mean(known, places.cache)
    return image if kind == "IMAGE" else image.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)


def describe(layer: Dataset, folder: Path) -> Feed:
    """What the set feeds, from what is known of it: needs no data. Raises LayerError."""
    known = find_set(layer.name)
    if layer.stand_in:
        _check_stand_in(known, find_set(layer.stand_in, "stand_in"))
    if layer.subtract_mean == "IMAGE" and layer.transform.random_resized_crop:
        problem = "a mean image cannot be taken off parts of pictures that are stretched at random"
        raise LayerError(problem, field="subtract_mean", help="subtract_mean: CHANNEL")
    image = cropped(known.image, layer.transform, layer.phase)
    records = part_size(layer.part, known.sizes[layer.split])
    return data_feed(image, layer.batch, records, known.labels, layer.transform, layer.phase)


def _check_stand_in(known: KnownSet, other: KnownSet) -> None:
    if (known.image, len(known.labels)) != (other.image, len(other.labels)):
        raise LayerError(
            f'"{other.name}" cannot stand in for "{known.name}": {_form(other)}, not {_form(known)}',
            field="stand_in",
        )


def _form(known: KnownSet) -> str:
    return f"{len(known.labels)} classes of {'x'.join(map(str, known.image))}"


def open_stream(layer: Dataset, opening: Opening) -> DatasetStream:
    """The stream of the layer, of its stand-in where it declares one and the set cannot be had; always resident, for
    the sets are small. Raises LayerError."""
    places, folder = opening.places, opening.folder
    feed = with_tops(describe(layer, folder), opening.tops)
    known, copy, missing = _choose(layer, places)
    try:
        mean = _mean(layer, known, copy, places, folder)
        images = copy.load(known, layer.split, places.cache)
    except LayerError:
        raise
    except NktcError as error:
        raise LayerError(error.message, field="name", help=error.help) from None
    chosen = part_records(layer.part, len(images))
    images = images if chosen is None else Images(images.pixels[chosen], images.labels[chosen])
    stream = DatasetStream(layer, known, mean, images, opening)
    stream.feed = replace(feed, records=len(images), labels=known.labels)
    if missing:
        stream.stand_in, stream.missing = known.name, missing
    return stream


def preprocessing(layer: Dataset, places: Places, folder: Path) -> Preprocessing:
    """What a picture goes through to be the set's equal; reads the set where its mean is taken off."""
    describe(layer, folder)
    if layer.subtract_mean == "NONE":
        return _preprocessing(layer, find_set(layer.name), _mean(layer, find_set(layer.name), None, places, folder))
    known = find_set(layer.name)
    try:
        copy = obtain(known, places)
    except Missing as error:
        # A stand-in's mean would be a wrong answer in silence.
        raise LayerError(f"its mean picture is not known: {error.message}", field="name", help=error.help) from None
    return _preprocessing(layer, known, _mean(layer, known, copy, places, folder))


def _choose(layer: Dataset, places: Places) -> tuple[KnownSet, Copy, str]:
    """The set that is read, its copy, and why it is not the one asked for ("" where it is)."""
    known = find_set(layer.name)
    try:
        return known, obtain(known, places), ""
    except Missing as error:
        if not layer.stand_in:
            raise LayerError(error.message, field="name", help=error.help) from None
        missing = error.why
    other = find_set(layer.stand_in, "stand_in")
    try:
        return other, obtain(other, places), missing
    except Missing as error:
        raise LayerError(error.message, field="stand_in", help=error.help) from None


def _mean(layer: Dataset, known: KnownSet, copy: Copy | None, places: Places, folder: Path) -> np.ndarray | None:
    """What is taken off the images. Raises LayerError."""
    transform = layer.transform
    if layer.subtract_mean != "NONE":
        if transform.mean_file or transform.mean_values:
            other = "mean_file" if transform.mean_file else "mean_value"
            raise LayerError(f"subtract_mean and {other} are both given", field=other, help="keep one of them")
        assert copy is not None, "a set's own mean needs its data"
        return set_mean(known, copy, layer.subtract_mean, places)
    image = file_mean(transform, folder)
    return mean_of(transform, known.image, image)


def _preprocessing(layer: Dataset, known: KnownSet, mean: np.ndarray | None) -> Preprocessing:
    found = preprocessing_of(layer.transform, known.image, mean, known.order)
    assert found is not None, "every known set is of pictures"
    return found


class DatasetStream(Stream):
    """All records lie on the device as bytes; a batch is a slice of them, or a selection, and some arithmetic."""

    resident = True

    def __init__(
        self, layer: Dataset, known: KnownSet, mean: np.ndarray | None, images: Images, opening: Opening
    ) -> None:
        device, transform = opening.device, layer.transform
        self.preprocessing, self.device = _preprocessing(layer, known, mean), device
        self._order = Order(len(images), layer.batch, opening.seed, layer.shuffle)
        self._pipeline = Pipeline(
            replace(transform, order=known.order), layer.phase, known.image, mean, opening.seed, device
        )
        self._classes = transform.classes or len(known.labels)
        pixels = torch.from_numpy(np.require(images.pixels, requirements="W")).to(device)
        labels = torch.from_numpy(images.labels.astype(np.float32)).to(device)
        self._records = Kept(pixels, labels, there=True)
        self._tops = opening.tops

    def batch(self, k: int) -> Batch:
        pipeline, counters = self._pipeline, self._order.counters(k)
        pixels, labels = self._records.take(self._order.batch_records(k))
        x = pipeline.values(pipeline.cut(pixels, counters), counters)
        if pipeline.mixes:
            x, labels = pipeline.mix(x, labels, counters, self._classes)
        return (x, labels)[: self._tops]
