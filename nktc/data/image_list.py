"""The ImageData layer: the image files of a list, in its order or mixed anew in each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nktc.data.datum import Record
from nktc.data.images import decode, resize
from nktc.data.lists import Line, read_list
from nktc.data.mean import file_mean
from nktc.data.order import Order, draw
from nktc.data.places import Places
from nktc.data.records import Records, RecordStream
from nktc.data.stream import data_feed
from nktc.data.transform import cropped
from nktc.errors import LayerError, NktcError
from nktc.files import find_file, read_bytes
from nktc.ir import Feed, Shape
from nktc.layers import ImageData


def describe(layer: ImageData, folder: Path) -> Feed:
    """From the settings or, where they do not tell the size, the first image. Raises LayerError."""
    images = ListedImages(layer, folder)
    return data_feed(image_shape(layer) or images.first().values.shape, layer.batch, len(images), ())


def image_shape(layer: ImageData) -> Shape | None:
    """[c h w] of what the layer feeds where its settings tell it. Raises LayerError."""
    channels, crop = 3 if layer.color else 1, layer.transform.crop
    if layer.resize:
        return cropped((channels, *layer.resize), layer.transform)
    return (channels, crop, crop) if crop else None


def first_file(layer: ImageData, folder: Path) -> Path:
    """The file that the list has first. Raises LayerError."""
    return _entry(layer, folder, read_list(layer.source_path, folder)[0]).path


def open_stream(
    layer: ImageData,
    *,
    places: Places,
    folder: Path,
    seed: int,
    device: torch.device,
    tops: int,
    resident: bool = False,
) -> RecordStream:
    """The stream of the layer. Raises LayerError."""
    images, feed = ListedImages(layer, folder), describe(layer, folder)
    images.first()
    skipped = int(draw(seed, "rand_skip", 0, 1)[0] % np.uint64(layer.rand_skip)) if layer.rand_skip else 0
    return RecordStream(
        images,
        Order(len(images), layer.batch, seed, layer.shuffle, skipped),
        feed,
        layer.transform,
        layer.phase,
        mean=file_mean(layer.transform, folder),
        seed=seed,
        device=device,
        tops=tops,
        resident=resident,
    )


@dataclass(frozen=True)
class Entry:
    """An image file, its label, and the line that names them."""

    path: Path
    label: int
    line: Line


class ListedImages(Records):
    """The images that the layer's list names, decoded and resized as it says. Raises LayerErrors for a list that cannot
    be read or has a line without a label."""

    def __init__(self, layer: ImageData, folder: Path) -> None:
        self._layer = layer
        self._entries = [_entry(layer, folder, line) for line in read_list(layer.source_path, folder)]

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, places: np.ndarray) -> list[Record]:
        return [self._read(self._entries[place]) for place in places.tolist()]

    def first(self) -> Record:
        """The first image of the list. Raises LayerError."""
        try:
            return self._read(self._entries[0])
        except NktcError as error:
            raise LayerError(error.message, field="source", help=error.help) from None

    def refusal(self, place: int, what: str) -> NktcError:
        return _refusal(self._entries[place], what)

    def _read(self, entry: Entry) -> Record:
        try:
            data = read_bytes(entry.path, "image")
        except NktcError as error:
            raise NktcError(f"{entry.line}: {error.message}", help=error.help) from None
        picture = decode(data, self._layer.transform.order if self._layer.color else "GRAY")
        if picture is None:
            raise _refusal(entry, "it is no 8-bit picture that can be decoded")
        if self._layer.resize:
            height, width = self._layer.resize
            picture = resize(picture, (height, width))
        return Record(picture, entry.label)


def _entry(layer: ImageData, folder: Path, line: Line) -> Entry:
    """`path label`, the label behind the last space, as Caffe has it."""
    name, _, label = line.text.rpartition(" ")
    try:
        number = int(label)
    except ValueError:
        name = ""
    if not name:
        raise LayerError(f'{line}: "{line.text}" is no path and label', field="source", help="write: cat.jpg 0")
    return Entry(find_file(f"{layer.root_folder}{name.rstrip()}", folder), number, line)


def _refusal(entry: Entry, what: str) -> NktcError:
    return NktcError(f"{entry.line}: {entry.path}: {what}")
