"""An LMDB of records: read by position, written in transactions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import lmdb

from nktc.errors import NktcError

DATA_FILE = "data.mdb"
MARK = 1000  # positions between two remembered keys
LONGEST_KEY = 511  # bytes
TRANSACTION = 1000  # records

HOW_TO_MAKE_ONE = "nktc data convert TREE OUT.lmdb makes one from folders of images, one folder a class"


class Database:
    """The records of an LMDB in the order of their keys. Reading needs no lock file and writes nothing. May
    be used by several threads."""

    def __init__(self, path: Path) -> None:
        """`path` is the folder that holds data.mdb, or that file. Raises NktcError."""
        self.path = path
        file = path / DATA_FILE if path.is_dir() else path
        if not file.is_file():
            what = f"{path} holds no {DATA_FILE}" if path.is_dir() else f"there is no LMDB at {path}"
            raise NktcError(what, help=HOW_TO_MAKE_ONE)
        try:
            self._environment = lmdb.open(str(file), subdir=False, readonly=True, lock=False)
            self._check_length(file)
            self._transaction = self._environment.begin(buffers=False)
            self._cursor = self._transaction.cursor()
            self._cursor.first()
            self.records: int = self._environment.stat()["entries"]
        except lmdb.Error as error:
            raise NktcError(f"{file} cannot be opened as an LMDB ({error})") from None
        self._lock = Lock()
        self._position = 0  # of the cursor
        self._marks: list[bytes] = []  # keys of the records 0, MARK, 2 MARK, ... as far as they were passed

    def _check_length(self, file: Path) -> None:
        """LMDB maps the file into memory: a page beyond its end would end the process, not raise an error."""
        pages, page = self._environment.info()["last_pgno"] + 1, self._environment.stat()["psize"]
        size = file.stat().st_size
        if size < pages * page:
            raise NktcError(f"{file} is cut off: it has {size} bytes, its own index tells of {pages * page}")

    def read(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """Key and value of `count` records from position `first` on, around at the end. Raises NktcError."""
        if not self.records:
            raise NktcError(f"{self.path} holds no records", help=HOW_TO_MAKE_ONE)
        found: list[tuple[bytes, bytes]] = []
        with self._lock:
            try:
                while len(found) < count:
                    self._go((first + len(found)) % self.records)
                    stretch = min(MARK - self._position % MARK, self.records - self._position)
                    found += self._take(min(stretch, count - len(found)))
            except lmdb.Error as error:
                self._cursor.first()
                self._position = 0
                raise NktcError(f"{self.path} is damaged near record {first + len(found)} ({error})") from None
        return found

    def _take(self, count: int) -> list[tuple[bytes, bytes]]:
        """`count` records from the cursor on, which is then after them; they lie in one stretch between
        marks."""
        taken = []
        for item in self._cursor.iternext():
            taken.append(item)
            if len(taken) == count:
                break
        if len(taken) < count:
            raise lmdb.CorruptedError(f"the keys end after {self._position + len(taken)} of {self.records} records")
        self._mark(taken[0][0])
        # The cursor still stands on the last record taken.
        self._position += count
        self._cursor.next()
        return taken

    def _go(self, position: int) -> None:
        """Put the cursor on a record: from the nearest remembered key before it, or from where it is."""
        if position == self._position:
            return
        mark = max(0, min(position // MARK, len(self._marks) - 1))
        if not mark * MARK <= self._position < position:
            if not (self._marks and self._cursor.set_key(self._marks[mark])):
                self._cursor.first()
                mark = 0
            self._position = mark * MARK
        while self._position < position:
            self._mark(self._cursor.key())
            if not self._cursor.next():
                raise lmdb.CorruptedError(f"the keys end after {self._position} of {self.records} records")
            self._position += 1

    def _mark(self, key: bytes) -> None:
        if self._position == len(self._marks) * MARK:
            self._marks.append(bytes(key))


def is_lmdb(path: Path) -> bool:
    return (path / DATA_FILE).is_file() or (path.name == DATA_FILE and path.is_file())


_open: WeakValueDictionary[tuple[Path, int, int], Database] = WeakValueDictionary()


def open_database(path: Path) -> Database:
    """The LMDB at `path`. The library refuses to open one twice in a process, so the nets of both phases
    share it."""
    file = path / DATA_FILE if path.is_dir() else path
    if not file.is_file():
        return Database(path)
    status = file.stat()
    key = (file.resolve(), status.st_ino, status.st_mtime_ns)
    return _open.get(key) or _open.setdefault(key, Database(path))


def write_database(path: Path, records: Iterable[tuple[bytes, bytes]], beside: dict[str, str] | None = None) -> int:
    """An LMDB of the records, in a folder that is there whole or not at all; `beside` has further text files
    for the folder. Returns the number of records. A folder that was there is replaced."""
    with _whole_folder(path) as part:
        environment = lmdb.open(str(part), map_size=64 << 20, lock=False, sync=False)
        count, waiting = 0, []
        for record in records:
            waiting.append(record)
            if len(waiting) == TRANSACTION:
                _commit(environment, waiting)
                count, waiting = count + len(waiting), []
        _commit(environment, waiting)
        environment.sync(True)
        environment.close()
        for name, text in (beside or {}).items():
            (part / name).write_text(text, encoding="utf-8")
    return count + len(waiting)


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


def _commit(environment: lmdb.Environment, records: list[tuple[bytes, bytes]]) -> None:
    """Write records in one transaction; the map grows until they fit."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in records:
                    transaction.put(key[:LONGEST_KEY], value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
