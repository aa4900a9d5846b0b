"""The records of an LMDB or LevelDB as they are stored."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from nktc.data.databases import lmdb_reader
from nktc.data.databases.backends import Database, read_places
from nktc.data.databases.datum import BadDatum, find_alike, parse
from nktc.data.stored.stored import (
    BAD_BOX,
    CANNOT_BE_READ,
    DOES_NOT_FIT,
    NO_DATUM,
    Fault,
    Item,
    Stored,
    not_numbers,
    one_label,
    picture,
)
from nktc.errors import NktcError
from nktc.schema import AnnotatedDatum, Datum

NO_LABELS = np.zeros(0, np.float32)


class StoredDatabase(Stored):
    """Records of Datum, or of AnnotatedDatum where they are `annotated`. Pictures that are stored as files are decoded
    in `order`; with `reversed` the planes of others are brought from RGB to BGR."""

    def __init__(
        self,
        database: Database,
        order: str,
        classes: tuple[str, ...] = (),
        reversed: bool = False,
        annotated: bool = False,
    ) -> None:
        self.path: Path = database.path
        self.classes, self.background = classes, annotated
        self._database, self._order, self._reversed, self._annotated = database, order, reversed, annotated
        self._lock = threading.Lock()  # a LevelDB remembers where it is

    def __len__(self) -> int:
        return self._database.records

    def called(self, place: int) -> str:
        try:
            ((key, _),) = self._read(np.array([place]))
        except NktcError:
            return f"record {place}"
        return _called(place, key)

    def look(self, places: np.ndarray) -> list[Item]:
        return [
            record if isinstance(record, Item) else self._item(place, *record)
            for place, record in zip(places.tolist(), self._records(places), strict=True)
        ]

    def labels(self, places: np.ndarray) -> np.ndarray:
        if isinstance(self._database, lmdb_reader.Database) and not self._annotated:
            try:
                alike = find_alike(self._database.file, *self._database.values(places))
            except NktcError:
                alike = None
            if alike is not None:
                return alike.labels
        found = [NO_LABELS]
        for record in self._records(places):
            if not isinstance(record, Item):
                datum = self._parsed(record[1])
                found.append(NO_LABELS if datum is None else self._labels(datum))
        return np.concatenate(found)

    def _read(self, places: np.ndarray) -> list[tuple[bytes, bytes | memoryview]]:
        with self._lock:
            return read_places(self._database, places)

    def _records(self, places: np.ndarray) -> list[tuple[bytes, bytes | memoryview] | Item]:
        """Key and value of each, an item for one that cannot be read."""
        try:
            return [*self._read(places)]
        except NktcError as error:
            if len(places) == 1:
                place = int(places[0])
                fault = Fault(CANNOT_BE_READ, error.message, place, f"record {place}")
                return [Item(None, NO_LABELS, (fault,))]
        return [record for place in places.tolist() for record in self._records(np.array([place]))]

    def _parsed(self, value: bytes | memoryview) -> Datum | AnnotatedDatum | None:
        try:
            return (AnnotatedDatum if self._annotated else Datum).FromString(bytes(value))
        except DecodeError:
            return None

    def _labels(self, datum: Datum | AnnotatedDatum) -> np.ndarray:
        if isinstance(datum, Datum):
            return one_label(datum.label)
        if not datum.HasField("type"):
            return one_label(datum.datum.label)
        labels = [group.group_label for group in datum.annotation_group for _ in group.annotation]
        return np.array(labels, np.float32)

    def _item(self, place: int, key: bytes, value: bytes | memoryview) -> Item:
        called = _called(place, key)
        found = self._parsed(value)
        if found is None:
            kind = "AnnotatedDatum" if self._annotated else "Datum"
            fault = Fault(NO_DATUM, f"its {len(value)} bytes are no {kind}", place, called)
            return Item(None, NO_LABELS, (fault,))
        labels = self._labels(found)
        datum = found if isinstance(found, Datum) else found.datum
        if datum.encoded:
            values = picture(datum.data, self._order)
            if isinstance(values, tuple):
                return Item(None, labels, (Fault(*values, place, called),))
        else:
            try:
                values = parse(datum.SerializeToString()).values
            except BadDatum as error:
                return Item(None, labels, (Fault(DOES_NOT_FIT, str(error), place, called),))
            if self._reversed and len(values) == 3:
                values = values[::-1]
        faults = not_numbers(values, place, called)
        if isinstance(found, AnnotatedDatum):
            faults += _boxes(found, place, called)
        return Item(values, labels, faults)


def _boxes(message: AnnotatedDatum, place: int, called: str) -> tuple[Fault, ...]:
    """What is wrong with the boxes of a record."""
    boxes = [one.bbox for group in message.annotation_group for one in group.annotation]
    # A side that is no number is in no order with another.
    wrong = [b for b in boxes if not (0 <= b.xmin < b.xmax <= 1 and 0 <= b.ymin < b.ymax <= 1)]
    if not wrong:
        return ()
    sides = " ".join(f"{side:g}" for side in (wrong[0].xmin, wrong[0].ymin, wrong[0].xmax, wrong[0].ymax))
    what = f"{len(wrong)} of its {len(boxes)} boxes do not lie in the picture; the first: {sides}"
    return (Fault(BAD_BOX, what, place, called),)


def _called(place: int, key: bytes) -> str:
    return f'record {place}, key "{bytes(key).decode(errors="backslashreplace")}"'
