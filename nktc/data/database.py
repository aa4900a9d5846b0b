"""The Data layer: an LMDB or LevelDB of Datum, in the order of its keys, around and around."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nktc.data.backends import Database, backend_of, open_database, read_places
from nktc.data.datum import BadDatum, Record, parse
from nktc.data.images import ANY
from nktc.data.mean import bad_record, file_mean
from nktc.data.order import Order
from nktc.data.parts import part_records, part_size
from nktc.data.places import Places
from nktc.data.resident import room, send
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
        first = _first(database, layer)
    except NktcError as error:
        raise LayerError(error.message, field="source", help=error.help) from None
    image = cropped(first.values.shape, layer.transform)
    return data_feed(image, layer.batch, part_size(layer.part, database.records), read_labels(path))


def open_stream(
    layer: Data, *, places: Places, folder: Path, seed: int, device: torch.device, tops: int, resident: bool = False
) -> DatabaseStream:
    """The stream of the layer. Raises LayerError. Its order is the database's own."""
    mean = file_mean(layer.transform, folder)
    return DatabaseStream(layer, folder, mean, seed, device, tops, resident)


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of the classes that `nktc data convert` left in a database's folder; none where there are
    none."""
    try:
        return tuple((path / LABELS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()


class DatabaseStream(Stream):
    """Reads, decodes and transforms as it goes; bytes travel to the device, and become floats there.

    If it may, it keeps on the device what it has read, and becomes resident when that is everything.
    """

    def __init__(
        self,
        layer: Data,
        folder: Path,
        mean: np.ndarray | None,
        seed: int,
        device: torch.device,
        tops: int,
        resident: bool,
    ) -> None:
        self.feed, self.device = with_tops(describe(layer, folder), tops), device
        self._path, self._database = _open(layer, folder)
        self._layer, self._mean, self._seed, self._tops = layer, mean, seed, tops
        self._part = part_records(layer.part, self._database.records)
        self._order = Order(part_size(layer.part, self._database.records), layer.batch)
        self._pipelines: dict[Shape, Pipeline] = {}
        first = _first(self._database, layer).values
        shape = self._shape = first.shape
        self._pipeline(shape)
        self._kept = room(self._order.records, shape, device) if resident and first.dtype == np.uint8 else None
        self.preprocessing = _preprocessing(shape, layer.transform, mean_of(layer.transform, shape, mean))

    def batch(self, k: int) -> Batch:
        chosen, position = self._order.batch_records(k), k * self._layer.batch
        if (kept := self._kept) and kept.has(chosen):
            pixels, labels = kept.take(chosen)
        else:
            places = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
            places = places if self._part is None else self._part[places]
            records = _records(self._database, places, _order(self._layer))
            labels = send(torch.tensor([record.label for record in records], dtype=torch.float32), self.device)
            if any(record.values.shape != self._shape for record in records):
                self._check_shapes(records, places)
                self._kept = None
                each = [self._pipeline(r.values.shape)(self._sent([r]), position + i) for i, r in enumerate(records)]
                return (torch.cat(each), labels)[: self._tops]
            pixels = self._sent(records)
            self._keep(chosen, pixels, labels)
        return (self._pipeline(self._shape)(pixels, position), labels)[: self._tops]

    def _keep(self, chosen: np.ndarray | slice, pixels: Tensor, labels: Tensor) -> None:
        """Keep records where there is room for all and all are bytes of one shape."""
        if (kept := self._kept) and pixels.dtype == torch.uint8:
            kept.put(chosen, pixels, labels)
            self.resident = kept.whole
        else:
            self._kept = None

    def _sent(self, records: list[Record]) -> Tensor:
        return send(torch.from_numpy(np.stack([record.values for record in records])), self.device)

    def _pipeline(self, shape: Shape) -> Pipeline:
        """Images of several sizes may come, where a crop makes them equal."""
        if shape not in self._pipelines:
            layer = self._layer
            mean = mean_of(layer.transform, shape, self._mean)
            self._pipelines[shape] = Pipeline(layer.transform, layer.phase, shape, mean, self._seed, self.device)
        return self._pipelines[shape]

    def _check_shapes(self, records: list[Record], places: np.ndarray) -> None:
        """Refuse a record that does not come out as the first of the database did."""
        expected = self.feed.shapes[0][1:]
        for record, place in zip(records, places.tolist(), strict=True):
            try:
                shape = cropped(record.values.shape, self._layer.transform)
                mean_of(self._layer.transform, record.values.shape, self._mean)
                what = "" if shape == expected else f"it is {times(shape)}, the first one is {times(expected)}"
            except LayerError as error:
                what = error.message
            if what:
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


def _first(database: Database, layer: Data) -> Record:
    """The first record, which tells the shape of all. Raises NktcError."""
    return _records(database, np.zeros(1, np.int64), _order(layer))[0]


def _records(database: Database, places: np.ndarray, order: str) -> list[Record]:
    """The records at `places`. Raises NktcError."""
    records = []
    for place, (key, value) in zip(places.tolist(), read_places(database, places), strict=True):
        try:
            records.append(parse(value, order))
        except BadDatum as error:
            raise bad_record(database.path, place, key, str(error)) from None
    return records


def _preprocessing(shape: Shape, transform: Transform, mean: np.ndarray | None) -> Preprocessing | None:
    """What a picture goes through to be a record's equal; None for records that are no pictures."""
    if shape[0] not in (1, 3):
        return None
    order = transform.order if shape[0] == 3 else "GRAY"
    return Preprocessing((shape[1], shape[2]), order, mean, transform.scale, transform.crop)
