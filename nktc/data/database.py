"""The Data layer: an LMDB or LevelDB of Datum, in the order of its keys, around and around."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nktc.data.backends import Database, backend_of, open_database, read_places
from nktc.data.datum import BadDatum, Record, parse
from nktc.data.images import ANY
from nktc.data.mean import bad_record, file_mean
from nktc.data.order import Order
from nktc.data.parts import part_records, part_size
from nktc.data.places import Places
from nktc.data.records import Records, RecordStream
from nktc.data.stream import data_feed
from nktc.data.transform import cropped
from nktc.errors import LayerError, NktcError
from nktc.files import find_file
from nktc.ir import Feed
from nktc.layers import Data

LABELS = "labels.txt"


def describe(layer: Data, folder: Path) -> Feed:
    """What the database feeds, from its first record. Raises LayerError."""
    path, database = _open(layer, folder)
    try:
        (first,) = DatabaseRecords(database, _order(layer)).read(np.zeros(1, np.int64))
    except NktcError as error:
        raise LayerError(error.message, field="source", help=error.help) from None
    image = cropped(first.values.shape, layer.transform)
    return data_feed(image, layer.batch, part_size(layer.part, database.records), read_labels(path))


def open_stream(
    layer: Data, *, places: Places, folder: Path, seed: int, device: torch.device, tops: int, resident: bool = False
) -> RecordStream:
    """The stream of the layer. Raises LayerError. Its order is the database's own."""
    mean, feed = file_mean(layer.transform, folder), describe(layer, folder)
    _, database = _open(layer, folder)
    return RecordStream(
        DatabaseRecords(database, _order(layer)),
        Order(part_size(layer.part, database.records), layer.batch),
        feed,
        layer.transform,
        layer.phase,
        part=part_records(layer.part, database.records),
        mean=mean,
        seed=seed,
        device=device,
        tops=tops,
        resident=resident,
    )


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of the classes that `nktc data convert` left in a database's folder; none where there are
    none."""
    try:
        return tuple((path / LABELS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()


class DatabaseRecords(Records):
    """The records of a database; an encoded picture is decoded to planes in `order`."""

    def __init__(self, database: Database, order: str) -> None:
        self._database, self._order = database, order

    def read(self, places: np.ndarray) -> list[Record]:
        records = []
        for place, (key, value) in zip(places.tolist(), read_places(self._database, places), strict=True):
            try:
                records.append(parse(value, self._order))
            except BadDatum as error:
                raise bad_record(self._database.path, place, key, str(error)) from None
        return records

    def refusal(self, place: int, what: str) -> NktcError:
        return bad_record(self._database.path, place, self._database.read(place, 1)[0][0], what)


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
