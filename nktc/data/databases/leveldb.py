"""A LevelDB of records, Caffe's default: read by position, never written to.

The reader is our own, for LevelDB's library opens no database without writing: it locks the folder, turns the
log into a table, starts a new manifest and log and removes old files. A data set that is shared, archived or
on a read-only disk could not be used, and the files of the user would change by being looked at.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path
from threading import Lock

from nktc.data.databases.leveldb_bytes import (
    DELETED,
    Entry,
    Malformed,
    Value,
    counted_bytes,
    damaged,
    reading,
    split_key,
    varint,
)
from nktc.data.databases.leveldb_log import batch_entries, log_records
from nktc.data.databases.leveldb_table import Table
from nktc.data.databases.lmdb_reader import HOW_TO_MAKE_ONE
from nktc.data.progress import progress
from nktc.errors import NktcError

CURRENT = "CURRENT"
ORDER = "leveldb.BytewiseComparator"
MARK = 64  # positions between two remembered keys
TABLES = 16  # kept open
DATABASES = 2  # kept open: those of a net's two phases

HOW_TO_HAVE_ONE = f"make an LMDB and set backend: LMDB; {HOW_TO_MAKE_ONE}"


@dataclass(frozen=True)
class TableFile:
    """What the manifest tells of a table: its number, bytes, first and last key."""

    number: int
    size: int
    smallest: bytes
    largest: bytes


@dataclass
class Manifest:
    """The live files of a database: its tables, by level and number, and the first of its logs. `older_log`
    lives too; 0 where there is none. `order` names how its keys are compared."""

    tables: dict[tuple[int, int], TableFile] = field(default_factory=dict)
    log: int | None = None
    older_log: int = 0
    order: str = ORDER


class Database:
    """The records of a LevelDB in the order of their keys. Reading writes nothing. May be used by several
    threads.

    Opening counts the records, which no file of a LevelDB tells: it reads the logs, which stay in memory, and
    of the tables every block, but of a large one that holds a single record only the head. Memory holds every
    MARKth key and the index of a few tables.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the folder. Raises NktcError."""
        self.path = path
        if not is_leveldb(path):
            what = f"{path} holds no {CURRENT}" if path.is_dir() else f"there is no LevelDB at {path}"
            raise NktcError(what, help=HOW_TO_HAVE_ONE)
        with reading(path):
            self._names = {entry.name for entry in os.scandir(path)}
        manifest = read_manifest(_manifest_file(path))
        self._chains = chains(list(manifest.tables.values()))
        missing = [name for table in manifest.tables.values() if (name := self._table_name(table)) not in self._names]
        if missing:
            more = f", and {len(missing) - 1} more of {len(manifest.tables)} tables" if len(missing) > 1 else ""
            raise NktcError(f"{path / min(missing)} is missing{more}")
        self._written = self._read_logs(manifest)
        self._tables: OrderedDict[int, Table] = OrderedDict()
        self._lock = Lock()
        self._position = -1  # of the next live entry; -1 is nowhere
        self._next = self._live(b"")
        self.records, self._marks = self._count()

    def read(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """Key and value of `count` records from position `first` on, around at the end. Raises NktcError."""
        if not self.records:
            raise NktcError(f"{self.path} holds no records", help=HOW_TO_HAVE_ONE)
        found: list[tuple[bytes, bytes]] = []
        with self._lock:
            while len(found) < count:
                self._go((first + len(found)) % self.records)
                stretch = min(count - len(found), self.records - self._position)
                position, self._position = self._position, -1
                taken = [
                    (key, value if isinstance(value, bytes) else value()) for key, value in islice(self._next, stretch)
                ]
                if len(taken) < stretch:
                    raise NktcError(f"{self.path} has changed: its keys end after {position + len(taken)} records")
                self._position = position + stretch
                found += taken
        return found

    def _go(self, position: int) -> None:
        """Be before a record: from the nearest remembered key, or from where we are."""
        mark, here = position // MARK, self._position
        self._position = -1  # if an error comes
        if not mark * MARK <= here <= position:
            self._next = self._live(self._marks[mark])
            here = mark * MARK
        for _ in islice(self._next, position - here):
            pass
        self._position = position

    def _count(self) -> tuple[int, list[bytes]]:
        records, marks = 0, []
        with progress(f"counting {self.path.name}", None) as advance:
            for key, _ in self._live(b""):
                if not records % MARK:
                    marks.append(key)
                    advance(MARK)
                records += 1
        return records, marks

    def _live(self, start: bytes) -> Iterator[tuple[bytes, Value]]:
        """The newest value of every key from `start` on that is not deleted."""
        sources = [self._along(chain, start) for chain in self._chains]
        sources.append(iter(self._written[bisect_left(self._written, start, key=itemgetter(0)) :]))
        # Order decides before values are compared, and no two entries have one.
        entries = merge(*sources, key=itemgetter(0, 1)) if self._written or len(sources) > 2 else sources[0]
        last = None
        for key, order, value in entries:
            if key != last:
                last = key
                if ~order & 0xFF != DELETED:
                    yield key, value

    def _along(self, chain: list[TableFile], start: bytes) -> Iterator[Entry]:
        for i in range(bisect_left(chain, start, key=lambda table: table.largest), len(chain)):
            yield from self._open_table(chain[i]).entries(start)

    def _open_table(self, table: TableFile) -> Table:
        if table.number not in self._tables:
            self._tables[table.number] = Table(self.path / self._table_name(table), table.size)
            if len(self._tables) > TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(table.number)
        return self._tables[table.number]

    def _table_name(self, table: TableFile) -> str:
        """A new LevelDB writes .ldb, an old one .sst."""
        new, old = f"{table.number:06d}.ldb", f"{table.number:06d}.sst"
        return old if old in self._names and new not in self._names else new

    def _read_logs(self, manifest: Manifest) -> list[Entry]:
        """The newest entry of every key in the live logs."""
        newest: dict[bytes, Entry] = {}
        numbers = sorted(int(name[:-4]) for name in self._names if re.fullmatch(r"\d{6,}\.log", name))
        live = [n for n in numbers if n >= (manifest.log or 0) or n == manifest.older_log]
        for number in live:
            file = self.path / f"{number:06d}.log"
            for offset, record in log_records(file, may_be_cut=number == live[-1]):
                try:
                    for entry in batch_entries(record):
                        if entry[0] not in newest or entry[1] < newest[entry[0]][1]:
                            newest[entry[0]] = entry
                except Malformed as error:
                    raise damaged(file, offset, error) from None
        return [newest[key] for key in sorted(newest)]


def is_leveldb(path: Path) -> bool:
    # Unlike Path.is_file it says no, and raises nothing, of what the system does not let us see.
    return os.path.isfile(path / CURRENT)


_open: OrderedDict[object, Database] = OrderedDict()


def open_database(path: Path) -> Database:
    """The LevelDB at `path`. The last ones stay open as long as their files are what they were, for a net is
    described before it is fed and its records need not be counted twice."""
    if not is_leveldb(path):
        return Database(path)
    with reading(path):
        files = sorted(
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in os.scandir(path)
            if not entry.name.endswith((".ldb", ".sst"))
        )
    state = (path.resolve(), *files)
    database = _open.pop(state, None) or Database(path)
    _open[state] = database
    while len(_open) > DATABASES:
        _open.popitem(last=False)
    return database


def read_manifest(file: Path) -> Manifest:
    """What all the changes in a manifest come to. Raises NktcError."""
    manifest = Manifest()
    # One that was being written is no change yet: its files are there, and the logs it would have ended.
    for offset, edit in log_records(file, may_be_cut=True):
        try:
            _apply(edit, manifest)
        except Malformed as error:
            raise damaged(file, offset, error) from None
    if manifest.order != ORDER:
        raise NktcError(f"{file}: its keys are in the order {manifest.order}, {ORDER} is known")
    if manifest.log is None:
        raise NktcError(f"{file} tells of no log, so it is no manifest of a LevelDB, or cut off")
    return manifest


def _apply(edit: bytes, manifest: Manifest) -> None:
    """A change: what goes, then what comes."""
    come: dict[tuple[int, int], TableFile] = {}
    at = 0
    while at < len(edit):
        tag, at = varint(edit, at)
        match tag:
            case 1:  # comparator
                order, at = counted_bytes(edit, at)
                manifest.order = order.decode(errors="backslashreplace")
            case 2:
                manifest.log, at = varint(edit, at)
            case 9:
                manifest.older_log, at = varint(edit, at)
            case 3 | 4:  # next file, last sequence
                _, at = varint(edit, at)
            case 5:  # where to compact next
                _, at = varint(edit, at)
                _, at = counted_bytes(edit, at)
            case 6:
                level, at = varint(edit, at)
                number, at = varint(edit, at)
                manifest.tables.pop((level, number), None)
            case 7:
                level, at = varint(edit, at)
                number, at = varint(edit, at)
                size, at = varint(edit, at)
                smallest, at = counted_bytes(edit, at)
                largest, at = counted_bytes(edit, at)
                table = TableFile(number, size, split_key(smallest)[0], split_key(largest)[0])
                if table.smallest > table.largest:
                    raise Malformed(f"table {number} starts after its end")
                come[level, number] = table
            case _:
                raise Malformed(f"a change of kind {tag}, which LevelDB does not have")
    manifest.tables.update(come)


def chains(tables: list[TableFile]) -> list[list[TableFile]]:
    """As few lists of tables as can be, in each of which every table begins after the one before it ends.
    Their levels do not matter, for every entry tells how new it is."""
    made: list[list[TableFile]] = []
    for table in sorted(tables, key=lambda table: table.smallest):
        chain = next((chain for chain in made if chain[-1].largest < table.smallest), None)
        if chain is None:
            made.append(chain := [])
        chain.append(table)
    return made


def _manifest_file(path: Path) -> Path:
    file = path / CURRENT
    with reading(file):
        name = file.read_bytes()
    if not re.fullmatch(rb"MANIFEST-\d+\n", name):
        raise NktcError(f"{file} names no manifest: it holds {name[:40]!r}")
    return path / name[:-1].decode()
