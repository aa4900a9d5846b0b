"""The Data layer: an LMDB or LevelDB of Datum, in the order of its keys, around and around."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nktc.data.backends import Database, backend_of, open_database
from nktc.data.datum import BadDatum, Record, parse
from nktc.data.images import ANY
from nktc.data.mean import bad_record, file_mean
from nktc.data.places import Places
from nktc.data.stream import Batch, Stream, data_feed, with_tops
from nktc.data.transform import Pipeline, cropped, mean_of
from nktc.errors import LayerError, NktcError
from nktc.files import find_file
from nktc.ir import Feed, Preprocessing, Shape, Transform, times
from nktc.layers import Data

LABELS = "labels.txt"


def describe(layer: Data, folder: Path) -> Feed:
    """What the database feeds, from its first record. Raises LayerError."""
    path, database = _open(layer, folder)
    try:
        first = _records(database, 0, 1, _order(layer))[0]
    except NktcError as error:
        raise LayerError(error.message, field="source", help=error.help) from None
    image = cropped(first.values.shape, layer.transform)
    return data_feed(image, layer.batch, database.records, read_labels(path))


def open_stream(
    layer: Data, *, places: Places, folder: Path, seed: int, device: torch.device, tops: int
) -> DatabaseStream:
    """The stream of the layer. Raises LayerError. Its order is the database's own."""
    mean = file_mean(layer.transform, folder)
    return DatabaseStream(layer, folder, mean, seed, device, tops)


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of the classes that `nktc data convert` left in a database's folder; none where there are
    none."""
    try:
        return tuple((path / LABELS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()


class DatabaseStream(Stream):
    """Reads, decodes and transforms as it goes; bytes travel to the device, and become floats there."""

    def __init__(
        self, layer: Data, folder: Path, mean: np.ndarray | None, seed: int, device: torch.device, tops: int
    ) -> None:
        self.feed = with_tops(describe(layer, folder), tops)
        self._path, self._database = _open(layer, folder)
        self._layer, self._mean, self._seed, self._device, self._tops = layer, mean, seed, device, tops
        self._order = _order(layer)
        self._pipelines: dict[Shape, Pipeline] = {}
        shape = self._shape = _records(self._database, 0, 1, self._order)[0].values.shape
        self._pipeline(shape)
        self.preprocessing = _preprocessing(shape, layer.transform, mean_of(layer.transform, shape, mean))

    def batch(self, k: int) -> Batch:
        first = k * self._layer.batch
        records = _records(self._database, first, self._layer.batch, self._order)
        if all(record.values.shape == self._shape for record in records):
            data = self._transformed([record.values for record in records], first)
        else:
            self._check_shapes(records, first)
            one_by_one = [self._transformed([record.values], first + i) for i, record in enumerate(records)]
            data = torch.cat(one_by_one)
        if self._tops == 1:
            return (data,)
        return data, torch.tensor([record.label for record in records], dtype=torch.float32, device=self._device)

    def _transformed(self, values: list[np.ndarray], position: int) -> Tensor:
        pixels = torch.from_numpy(np.stack(values))
        if self._device.type == "cuda":
            pixels = pixels.pin_memory()
        pixels = pixels.to(self._device, non_blocking=True)
        return self._pipeline(values[0].shape)(pixels, position)

    def _pipeline(self, shape: Shape) -> Pipeline:
        """Images of several sizes may come, where a crop makes them equal."""
        if shape not in self._pipelines:
            layer = self._layer
            mean = mean_of(layer.transform, shape, self._mean)
            self._pipelines[shape] = Pipeline(layer.transform, layer.phase, shape, mean, self._seed, self._device)
        return self._pipelines[shape]

    def _check_shapes(self, records: list[Record], first: int) -> None:
        """Refuse a record that does not come out as the first of the database did."""
        expected = self.feed.shapes[0][1:]
        for position, record in enumerate(records, first):
            try:
                shape = cropped(record.values.shape, self._layer.transform)
                mean_of(self._layer.transform, record.values.shape, self._mean)
                what = "" if shape == expected else f"it is {times(shape)}, the first one is {times(expected)}"
            except LayerError as error:
                what = error.message
            if what:
                place = position % self._database.records
                key = self._database.read(place, 1)[0][0]
                raise bad_record(self._path, place, key, what)


def _open(layer: Data, folder: Path) -> tuple[Path, Database]:
    path = find_file(layer.source_path, folder)
    found = backend_of(path)
    if found and found != layer.backend:
        kind = "an LMDB" if found == "LMDB" else "a LevelDB"
        raise LayerError(f"{path} is {kind}, backend is {layer.backend}", field="backend", help=f"set backend: {found}")
    try:
        return path, open_database(path, layer.backend)
    except NktcError as error:
        raise LayerError(error.message, field="source", help=error.help) from None


def _order(layer: Data) -> str:
    """How an encoded picture is decoded."""
    if layer.transform.force_gray:
        return "GRAY"
    if layer.transform.force_color or layer.force_encoded_color or layer.transform.order == "RGB":
        return layer.transform.order
    return ANY


def _records(database: Database, first: int, count: int, order: str) -> list[Record]:
    records = []
    for i, (key, value) in enumerate(database.read(first, count)):
        try:
            records.append(parse(value, order))
        except BadDatum as error:
            raise bad_record(database.path, (first + i) % database.records, key, str(error)) from None
    return records


def _preprocessing(shape: Shape, transform: Transform, mean: np.ndarray | None) -> Preprocessing | None:
    """What a picture goes through to be a record's equal; None for records that are no pictures."""
    if shape[0] not in (1, 3):
        return None
    order = transform.order if shape[0] == 3 else "GRAY"
    return Preprocessing((shape[1], shape[2]), order, mean, transform.scale, transform.crop)
