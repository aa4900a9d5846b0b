"""Records that are rows of arrays, in memory or in HDF5 files."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import h5py
import numpy as np

from nktc.data.hdf5 import HARM
from nktc.data.stored.stored import (
    CANNOT_BE_OPENED,
    CANNOT_BE_READ,
    NOT_THERE,
    Fault,
    Item,
    Stored,
    floats,
    not_numbers,
)
from nktc.data.table_file import Table

NO_LABELS = np.zeros(0, np.float32)


class StoredArrays(Stored):
    """values [n ...] of bytes or floats, labels f32[n] or f32[n t]; `name` stands before the position."""

    def __init__(
        self,
        values: np.ndarray,
        labels: np.ndarray,
        classes: tuple[str, ...] = (),
        regression: bool = False,
        name: str = "record",
    ) -> None:
        self.classes, self.regression = classes, regression
        self._values, self._labels, self._name = values, labels, name

    def __len__(self) -> int:
        return len(self._values)

    def called(self, place: int) -> str:
        return f"{self._name} {place}"

    def labels(self, places: np.ndarray) -> np.ndarray:
        return floats(self._labels[places]).ravel()

    def look(self, places: np.ndarray) -> list[Item]:
        found = []
        for place in places.tolist():
            values = self._values[place]
            if values.dtype != np.uint8:
                values = floats(values)
            labels = floats(np.atleast_1d(self._labels[place]))
            found.append(Item(values, labels, not_numbers(values, place, self.called(place))))
        return found


class StoredTable(StoredArrays):
    """The rows of a table, without labels: what is to be predicted is not said."""

    def __init__(self, table: Table, values: np.ndarray) -> None:
        super().__init__(values, np.zeros((len(values), 0), np.float32), name="row")
        self.table = table


@dataclass(frozen=True)
class File:
    """An HDF5 file, its rows, and the datasets that hold data and label; "" where it has no label."""

    path: Path
    rows: int
    data: str
    label: str


def file_of(path: Path, blobs: Sequence[str] = ()) -> File | Fault:
    """An HDF5 file as an HDF5Data layer with these tops reads it: the first is the data, the last of others its label.
    Without tops data and label are datasets of these names, or the largest and another with as many rows."""
    called = str(path)
    if not os.path.exists(path):
        return Fault(NOT_THERE, "the file does not exist", None, called)
    try:
        with h5py.File(path) as file:
            held = {
                name: tuple(s.shape)
                for name, s in file.items()
                if isinstance(s, h5py.Dataset) and s.shape and s.dtype.kind in "fiu"
            }
    except HARM as error:
        return Fault(CANNOT_BE_OPENED, f"it is no HDF5 file that can be read ({_reason(error)})", None, called)
    if not held:
        return Fault(CANNOT_BE_OPENED, "it has no rows of numbers", None, called)
    for name in blobs:
        if name not in held:
            what = f'it has no dataset "{name}" of numbers, but {", ".join(held)}'
            return Fault(CANNOT_BE_OPENED, what, None, called)
    data = blobs[0] if blobs else "data" if "data" in held else max(held, key=lambda name: np.prod(held[name]))
    others = [name for name in blobs or held if name != data]
    rows = held[data][0]
    for name in blobs:
        if held[name][0] != rows:
            what = f'dataset "{name}" has {held[name][0]} rows, "{data}" has {rows}'
            return Fault(CANNOT_BE_OPENED, what, None, called)
    others = [name for name in others if held[name][0] == rows]
    label = "label" if "label" in others else others[-1] if others else ""
    return File(path, rows, data, label)


class StoredRows(Stored):
    """The rows of HDF5 files, those of the first file first."""

    def __init__(self, files: Sequence[File | Fault]) -> None:
        self._files = [file for file in files if isinstance(file, File)]
        self.faults = tuple(fault for fault in files if isinstance(fault, Fault))
        self._ends = list(accumulate(file.rows for file in self._files))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def called(self, place: int) -> str:
        file, row = self._find(place)
        return f"{file.path}: row {row}"

    def look(self, places: np.ndarray) -> list[Item]:
        return [
            self._item(place, data, label)
            for place, data, label in zip(
                places.tolist(), self._rows(places, "data"), self._rows(places, "label"), strict=True
            )
        ]

    def labels(self, places: np.ndarray) -> np.ndarray:
        found = [np.ravel(label) for label in self._rows(places, "label") if not isinstance(label, str)]
        return floats(np.concatenate(found)) if found else NO_LABELS

    def _find(self, place: int) -> tuple[File, int]:
        i = bisect_right(self._ends, place)
        return self._files[i], place - (self._ends[i - 1] if i else 0)

    def _item(self, place: int, data: np.ndarray | str, label: np.ndarray | str) -> Item:
        called = self.called(place)
        labels = floats(np.ravel(label)) if not isinstance(label, str) else NO_LABELS
        for found in (data, label):
            if isinstance(found, str):
                return Item(None, labels, (Fault(CANNOT_BE_READ, found, place, called),))
        row = np.atleast_1d(np.asarray(data))
        values = row if row.dtype == np.uint8 else floats(row)
        faults = not_numbers(values, place, called)
        return Item(values, labels, faults or not_numbers(labels, place, called))

    def _rows(self, places: np.ndarray, which: str) -> list[np.ndarray | str]:
        """Rows of data or label, or why one cannot be read."""
        found: list[np.ndarray | str] = []
        at = places.tolist()
        while len(found) < len(at):
            file, row = self._find(at[len(found)])
            rest = at[len(found) :]
            # Places that follow one another in one file are read together.
            count = next((i for i, place in enumerate(rest) if place != rest[0] + i), len(rest))
            found += _read(file, getattr(file, which), row, min(count, file.rows - row))
        return found


def _read(file: File, name: str, row: int, count: int) -> list[np.ndarray | str]:
    if not name:
        return [NO_LABELS] * count
    try:
        with h5py.File(file.path) as opened:
            try:
                return list(opened[name][row : row + count])
            except HARM:
                return [_row(opened, name, i) for i in range(row, row + count)]
    except HARM as error:
        return [_reason(error)] * count


def _row(opened: h5py.File, name: str, row: int) -> np.ndarray | str:
    try:
        return np.asarray(opened[name][row])
    except HARM as error:
        return _reason(error)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
