"""The kinds of database: which of them lies at a path, and opening it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from nktc.data.databases import leveldb, lmdb_reader


class Database(Protocol):
    """Records in the order of their keys."""

    path: Path
    records: int

    def read(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """Key and value of `count` records from position `first` on, around at the end. Raises NktcError."""


def backend_of(path: Path) -> str:
    """LMDB or LEVELDB, as Caffe calls them; empty for what is neither."""
    if lmdb_reader.is_lmdb(path):
        return "LMDB"
    return "LEVELDB" if leveldb.is_leveldb(path) else ""


def open_database(path: Path, backend: str = "") -> Database:
    """The database at `path`, of the kind that it is unless one is asked for. Raises NktcError."""
    return (
        leveldb.open_database(path) if (backend or backend_of(path)) == "LEVELDB" else lmdb_reader.open_database(path)
    )


def read_places(database: Database, places: np.ndarray) -> list[tuple[bytes, bytes | memoryview]]:
    """Key and value of the records at `places`; those that follow one another are read together. Raises NktcError."""
    if isinstance(database, lmdb_reader.Database):
        return list(database.read_at(places))
    ends = [*(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    found: list[tuple[bytes, bytes | memoryview]] = []
    for start, end in zip([0, *ends], ends, strict=False):
        found += database.read(int(places[start]), end - start)
    return found
