"""The Dataset layer: a set that nktc knows by name, wherever it can be had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from nktc.data import cifar10, digits, mnist, shapes10
from nktc.data.catalogue import KnownSet, find_set
from nktc.data.copies import Copy
from nktc.data.download import DownloadError, download
from nktc.data.images import Images
from nktc.data.mean import file_mean
from nktc.data.order import Order
from nktc.data.parts import part_records, part_size
from nktc.data.places import DATA, Places, archives, split_root
from nktc.data.resident import Kept
from nktc.data.stream import Batch, Stream, data_feed, with_tops
from nktc.data.transform import Pipeline, cropped, mean_of
from nktc.errors import LayerError, NktcError
from nktc.ir import Feed, Preprocessing
from nktc.layers import Dataset

FINDERS: dict[str, Callable[[Path], Copy | None]] = {"cifar10": cifar10.find, "mnist": mnist.find}
"""Sets that lie somewhere: how a folder or an archive is looked at."""

MADE: dict[str, Callable[[], Copy]] = {"digits": digits.copy, "shapes10": shapes10.copy}
"""Sets that are always there."""


class Missing(NktcError):
    """A known set that cannot be had; `why` is the reason alone."""

    def __init__(self, known: KnownSet, why: str, help: str) -> None:
        super().__init__(f'the data of "{known.name}" is missing: {why}', help=help)
        self.why = why


def find_copy(known: KnownSet, places: Places) -> Copy | None:
    """The copy that is on this machine, among what was downloaded at the last; None where there is none."""
    if known.name in MADE:
        return MADE[known.name]()
    downloads = _downloads(known, places)
    downloaded = (downloads, *archives(downloads)) if downloads.is_dir() else ()
    candidates = chain(places.candidates(known.name), downloaded)
    return next((copy for place in candidates if (copy := FINDERS[known.name](place))), None)


def obtain(known: KnownSet, places: Places) -> Copy:
    """The copy on this machine, downloaded if it has to be. Raises Missing, and LayerError where a place that was named
    for this set does not hold it."""
    if found := find_copy(known, places):
        return found
    for root in places.roots:
        name, path = split_root(root)
        if name == known.name and path.exists():
            # Named for this very set: going on without it would not be what was asked.
            raise LayerError(f"{path} does not hold {known.name}", field="name", help=ways(known, places))
    if not places.download:
        raise Missing(known, "it is not on this machine, and downloading is off", ways(known, places))
    try:
        for wanted in known.downloads:
            download(wanted, _downloads(known, places))
    except DownloadError as error:
        raise Missing(known, f"it is not on this machine, and {error.message}", ways(known, places)) from None
    if found := find_copy(known, places):
        return found
    raise Missing(known, "what was downloaded does not hold it", ways(known, places))


def ways(known: KnownSet, places: Places) -> str:
    """Every way to provide a set, as help of several lines."""
    lines = [f"provide {known.name} in one of these ways:"]
    lines += [
        f"  --data PATH, or the environment variable {DATA}=PATH: a folder, or an archive, with",
        *(f"    {form}" for form in known.forms),
        f"    (in PATH itself or in PATH/{known.name}; {known.name}=PATH for this set alone)",
        *(f"  download {wanted.url}" for wanted in known.downloads),
        f"    to {_downloads(known, places)}",
    ]
    lines += [f"looked in {_looked(root)}" for root in places.roots]
    return "\n".join(lines)


def _looked(root: str) -> str:
    path = split_root(root)[1]
    return f"{root}" if path.exists() else f"{root}, which is not there"


def _downloads(known: KnownSet, places: Places) -> Path:
    return places.cache / "downloads" / known.name


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
    image = cropped(known.image, layer.transform)
    return data_feed(image, layer.batch, part_size(layer.part, known.sizes[layer.split]), known.labels)


def _check_stand_in(known: KnownSet, other: KnownSet) -> None:
    if (known.image, len(known.labels)) != (other.image, len(other.labels)):
        raise LayerError(
            f'"{other.name}" cannot stand in for "{known.name}": {_form(other)}, not {_form(known)}',
            field="stand_in",
        )


def _form(known: KnownSet) -> str:
    return f"{len(known.labels)} classes of {'x'.join(map(str, known.image))}"


def open_stream(
    layer: Dataset,
    *,
    places: Places,
    folder: Path,
    seed: int,
    device: torch.device,
    tops: int,
    resident: bool = True,
) -> DatasetStream:
    """The stream of the layer, of its stand-in where it declares one and the set cannot be had; always resident, for
    the sets are small. Raises LayerError."""
    feed = with_tops(describe(layer, folder), tops)
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
    stream = DatasetStream(layer, known, mean, images, seed, device, tops)
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
    size = (known.image[1], known.image[2])
    return Preprocessing(size, known.order, mean, layer.transform.scale, layer.transform.crop)


class DatasetStream(Stream):
    """All records lie on the device as bytes; a batch is a slice of them, or a selection, and some arithmetic."""

    resident = True

    def __init__(
        self,
        layer: Dataset,
        known: KnownSet,
        mean: np.ndarray | None,
        images: Images,
        seed: int,
        device: torch.device,
        tops: int,
    ) -> None:
        self.preprocessing, self.device = _preprocessing(layer, known, mean), device
        self._order = Order(len(images), layer.batch, seed, layer.shuffle)
        self._pipeline = Pipeline(layer.transform, layer.phase, known.image, mean, seed, device)
        pixels = torch.from_numpy(np.require(images.pixels, requirements="W")).to(device)
        labels = torch.from_numpy(images.labels.astype(np.float32)).to(device)
        self._records = Kept(pixels, labels, there=True)
        self._tops = tops

    def batch(self, k: int) -> Batch:
        pixels, labels = self._records.take(self._order.batch_records(k))
        return (self._pipeline(pixels, k * self._order.batch), labels)[: self._tops]
