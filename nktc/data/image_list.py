"""The ImageData layer: the image files of a list, or of a folder that has a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from nktc.data.image_folder import read_folder
from nktc.data.images import decode, resize
from nktc.data.lists import Entry, read_list, read_paths
from nktc.data.mean import file_mean
from nktc.data.order import Order, draw
from nktc.data.parts import part_records, part_size
from nktc.data.record_stream import Reading, RecordStream
from nktc.data.records import BadRecord, Records, Taken
from nktc.data.stream import Opening, data_feed
from nktc.data.transforms.transform import cropped
from nktc.files import find_file
from nktc.ir import Feed, Phase, Shape
from nktc.layers import ImageData

AT_ONCE = 1 << 17  # bytes that are asked of a file


def describe(layer: ImageData, folder: Path) -> Feed:
    """From the settings or, where they do not tell the size, the first image. Raises LayerError."""
    return _feed(layer, ListedImages(layer, folder))


def _feed(layer: ImageData, images: ListedImages) -> Feed:
    shape = image_shape(layer) or cropped(images.first(layer.skips).shape, layer.transform, layer.phase)
    records = part_size(layer.part, len(images))
    return data_feed(shape, layer.batch, records, images.labels, layer.transform, layer.phase)


def image_shape(layer: ImageData) -> Shape | None:
    """[c h w] of what the layer feeds where its settings tell it. Raises LayerError."""
    channels, crop = 3 if layer.color else 1, layer.transform.crop
    if layer.resize:
        return cropped((channels, *layer.resize), layer.transform, layer.phase)
    return (channels, crop, crop) if crop else None


def first_file(layer: ImageData, folder: Path) -> Path:
    """The file that the list has first. Raises LayerError."""
    return find_file(_entries(layer, folder)[0][0].path, folder)


def open_stream(layer: ImageData, opening: Opening) -> RecordStream:
    """The stream of the layer. Raises LayerError."""
    images, seed = ListedImages(layer, opening.folder), opening.seed
    feed = _feed(layer, images)
    skipped = int(draw(seed, "rand_skip", 0, 1)[0] % np.uint64(layer.rand_skip)) if layer.rand_skip else 0
    reading = Reading(
        Order(feed.records or 0, layer.batch, seed, layer.shuffle, skipped),
        feed,
        layer.transform,
        layer.phase,
        part_records(layer.part, len(images)),
        file_mean(layer.transform, opening.folder),
        layer.skips,
        partial(open_stream, layer, opening.elsewhere()),
    )
    return RecordStream(images, reading, opening)


class ListedImages(Records):
    """The images that the layer's source names, decoded and resized as it says; `labels` are the names of the classes
    where folders tell them. Raises LayerErrors for a source that cannot be read or has a line without a label."""

    def __init__(self, layer: ImageData, folder: Path) -> None:
        self._layer = layer
        self._entries, self.labels = _entries(layer, folder)
        cuts = layer.phase is Phase.TRAIN and layer.transform.random_resized_crop
        self._size = () if cuts else layer.resize
        self._order = layer.transform.order if layer.color else "GRAY"
        self._folder, self._before = folder, os.path.join(folder, "")
        if os.path.exists(self._entries[0].path) and not os.path.exists(self._before + self._entries[0].path):
            self._before = ""  # they lie under the working directory, it seems

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, places: np.ndarray) -> Taken:
        chosen = [self._entries[place] for place in places.tolist()]
        pictures = [self._read(place, entry) for place, entry in zip(places.tolist(), chosen, strict=True)]
        return Taken(pictures, np.array([entry.label for entry in chosen], np.float32))

    def refusal(self, place: int, what: str) -> BadRecord:
        entry = self._entries[place]
        return BadRecord(place, f"{entry.where}{self._path(entry)}: {what}")

    def _path(self, entry: Entry) -> Path:
        return find_file(entry.path, self._folder)

    def _read(self, place: int, entry: Entry) -> np.ndarray:
        try:
            picture = decode(self._bytes(entry.path), self._order)
        except (FileNotFoundError, NotADirectoryError):
            raise BadRecord(place, f"{entry.where}image {self._path(entry)} does not exist") from None
        except (OSError, ValueError) as error:  # ValueError: a name that no system takes
            what = getattr(error, "strerror", None) or error
            raise BadRecord(place, f"{entry.where}image {self._path(entry)} cannot be read: {what}") from None
        if picture is None:
            raise self.refusal(place, "it is no 8-bit picture that can be decoded")
        if self._size:
            height, width = self._size
            picture = resize(picture, (height, width), self._layer.transform.resize_mode, self._layer.transform.fill)
        return picture

    def _bytes(self, path: str) -> bytes:
        """A file in the net's folder, or under the working directory."""
        try:
            return _read_file(self._before + path if path[:1] != os.sep else path)
        except (FileNotFoundError, NotADirectoryError):
            return _read_file(str(find_file(path, self._folder)))


def _read_file(path: str) -> bytes:
    """A file, with as little ado as there can be: Python opens a file object more slowly than OpenCV decodes a small
    picture. OpenCV's own imread is no way: damaged files end the process in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = [os.read(descriptor, AT_ONCE)]
        while len(parts[-1]) >= AT_ONCE:
            parts.append(os.read(descriptor, AT_ONCE))
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def _entries(layer: ImageData, folder: Path) -> tuple[Sequence[Entry], tuple[str, ...]]:
    """The images of the source, and the names of the classes where it has them. Raises LayerError."""
    path = find_file(layer.source_path, folder)
    if path.is_dir():
        return read_folder(path)
    return read_paths(read_list(layer.source_path, folder), layer.root_folder), ()
