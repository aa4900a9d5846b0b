"""Writing an LMDB of records, in transactions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import lmdb

from nktc.errors import NktcError

LONGEST_KEY = 511  # bytes
TRANSACTION = 1000  # records


class Writer:
    """Adds records to an LMDB. Raises lmdb.Error, as where the disk is full; what was written before stays whole."""

    def __init__(self, folder: Path) -> None:
        """`folder` may hold records already."""
        self._environment = lmdb.open(str(folder), map_size=64 << 20, lock=False, sync=False)

    def write(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """All of them or, where an error is raised, none; a record whose key is there is replaced."""
        _commit(self._environment, records)

    def sync(self) -> None:
        """Have all that was written on the disk."""
        self._environment.sync(True)

    def close(self) -> None:
        self._environment.close()


def write_database(path: Path, records: Iterable[tuple[bytes, bytes]], beside: dict[str, str] | None = None) -> int:
    """An LMDB of the records, in a folder that is there whole or not at all; `beside` has further text files
    for the folder. Returns the number of records. A folder that was there is replaced."""
    with new_database(path, beside or {}) as writer:
        count, waiting = 0, []
        for record in records:
            waiting.append(record)
            if len(waiting) == TRANSACTION:
                writer.write(waiting)
                count, waiting = count + len(waiting), []
        writer.write(waiting)
    return count + len(waiting)


@contextmanager
def new_database(path: Path, beside: Mapping[str, str]) -> Iterator[Writer]:
    """What adds records to a new LMDB, which takes the place of what was there when all went well, with the text files
    that `beside` has by then. Raises NktcError."""
    with _whole_folder(path) as part:
        writer = Writer(part)
        try:
            yield writer
            writer.sync()
        finally:
            writer.close()
        for name, text in beside.items():
            (part / name).write_text(text, encoding="utf-8", errors="surrogateescape")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its place, and that of what was there, when all went
    well."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        around = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise NktcError(f"cannot write {folder}: {error.strerror or error}") from None
    part, old = around / "new", around / "old"
    try:
        part.mkdir()
        yield part
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    except (OSError, lmdb.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NktcError(f"cannot write {folder}: {reason}") from None
    finally:
        shutil.rmtree(around, ignore_errors=True)


def _commit(environment: lmdb.Environment, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Write records in one transaction; the map grows until they fit."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in records:
                    transaction.put(key[:LONGEST_KEY], value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
