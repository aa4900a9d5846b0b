"""The Data layer: an LMDB or LevelDB of Datum, in the order of its keys or mixed anew in each epoch."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from nktc.data.databases import lmdb_reader
from nktc.data.databases.backends import Database, backend_of, open_database, read_places
from nktc.data.databases.datum import Alike, BadDatum, find_alike, is_encoded, parse
from nktc.data.images import ANY, resized
from nktc.data.mean import bad_record, file_mean
from nktc.data.order import Order
from nktc.data.parts import part_records, part_size
from nktc.data.record_stream import Reading, RecordStream
from nktc.data.records import BadRecord, Records, Taken
from nktc.data.stream import Opening, data_feed
from nktc.data.transforms.transform import cropped
from nktc.errors import LayerError, NktcError
from nktc.files import find_file
from nktc.ir import Feed
from nktc.layers import Data

LOOKED_AT = 10  # records, to see of what kind they are
CHUNK = 4096  # records that are looked up together
CHUNKS = 256  # of which so many are remembered, with 12 bytes a record
LABELS = "labels.txt"


def describe(layer: Data, folder: Path) -> Feed:
    """What the database feeds, from its first record. Raises LayerError."""
    path, database = open_source(layer, folder)
    return _feed(layer, path, DatabaseRecords(database, layer))


def _feed(layer: Data, path: Path, records: DatabaseRecords) -> Feed:
    image = cropped(records.first(layer.skips).shape, layer.transform, layer.phase)
    return data_feed(
        image, layer.batch, part_size(layer.part, len(records)), read_labels(path), layer.transform, layer.phase
    )


def open_stream(layer: Data, opening: Opening) -> RecordStream:
    """The stream of the layer. Raises LayerError."""
    mean = file_mean(layer.transform, opening.folder)
    path, database = open_source(layer, opening.folder)
    records = DatabaseRecords(database, layer)
    feed = _feed(layer, path, records)
    reading = Reading(
        Order(feed.records or 0, layer.batch, opening.seed, layer.shuffle),
        feed,
        layer.transform,
        layer.phase,
        part_records(layer.part, len(records)),
        mean,
        layer.skips,
        partial(open_stream, layer, opening.elsewhere()) if records.encoded else None,
    )
    return RecordStream(records, reading, opening)


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of the classes that `nktc data convert` left in a database's folder; none where there are
    none."""
    try:
        return tuple((path / LABELS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()


class DatabaseRecords(Records):
    """The records of a database. An encoded picture is decoded as the layer says, a picture resized."""

    def __init__(self, database: Database, layer: Data) -> None:
        self._database, self._order = database, decoding(layer)
        self._transform, self._phase = layer.transform, layer.phase
        self._chunks: dict[int, Alike | None] = {}

    def __len__(self) -> int:
        return self._database.records

    @property
    def encoded(self) -> bool:
        """Whether one of the first records is a file of its own."""
        for place in range(min(len(self), LOOKED_AT)):
            with suppress(NktcError):
                ((_, value),) = read_places(self._database, np.array([place]))
                if is_encoded(value):
                    return True
        return False

    def read(self, places: np.ndarray) -> Taken:
        if isinstance(self._database, lmdb_reader.Database) and not any(self._transform.resize):
            alike = self._alike(self._database, places)
            if alike is not None:
                pixels = alike.pixels(self._database.file)
                self._database.give_back(pixels.size)
                return Taken(pixels, alike.labels)
        records = []
        for place, (key, value) in zip(places.tolist(), read_places(self._database, places), strict=True):
            try:
                records.append(parse(value, self._order))
            except BadDatum as error:
                raise self._bad(place, key, str(error)) from None
        values = [record.values for record in records]
        if any(self._transform.resize):
            values = [resized(v, self._transform, self._phase) for v in values]
        return Taken(values, np.array([record.label for record in records], np.float32))

    def _alike(self, database: lmdb_reader.Database, places: np.ndarray) -> Alike | None:
        """What needs no look at each record; of those that follow one another also for the next that come."""
        low, high = int(places[0]), int(places[-1])
        chunk = low // CHUNK
        if high - low != len(places) - 1 or high // CHUNK != chunk or (places[1:] <= places[:-1]).any():
            return find_alike(database.file, *database.values(places))
        if chunk not in self._chunks:
            if len(self._chunks) >= CHUNKS:
                self._chunks.clear()
            together = np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, database.records))
            try:
                self._chunks[chunk] = find_alike(database.file, *database.values(together))
            except NktcError:  # one of them is damaged, perhaps none of these
                self._chunks[chunk] = None
        alike = self._chunks[chunk]
        if alike is None:  # one of them is unusual, perhaps none of these
            return find_alike(database.file, *database.values(places))
        return alike.part(low - chunk * CHUNK, high - chunk * CHUNK + 1)

    def refusal(self, place: int, what: str) -> BadRecord:
        return self._bad(place, self._database.read(place, 1)[0][0], what)

    def _bad(self, place: int, key: bytes, what: str) -> BadRecord:
        return BadRecord(place, bad_record(self._database.path, place, key, what).message)


def open_source(layer: Data, folder: Path) -> tuple[Path, Database]:
    """Where the layer's database lies, and the database. Raises LayerError."""
    path = find_file(layer.source_path, folder)
    found = backend_of(path)
    if found and found != layer.backend:
        kind = "an LMDB" if found == "LMDB" else "a LevelDB"
        raise LayerError(f"{path} is {kind}, backend is {layer.backend}", field="backend", help=f"set backend: {found}")
    try:
        return path, open_database(path, layer.backend)
    except NktcError as error:
        raise LayerError(error.message, field="source", help=error.help) from None


def decoding(layer: Data) -> str:
    """How an encoded picture is decoded."""
    if layer.transform.force_gray:
        return "GRAY"
    if layer.transform.force_color or layer.force_encoded_color or layer.transform.order == "RGB":
        return layer.transform.order
    return ANY
