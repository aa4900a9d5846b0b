"""Records as they are stored, for whoever looks at every one of them: what is wrong with one is told, not raised."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from nktc.data.images import decode
from nktc.data.progress import progress
from nktc.ir import Shape

CHUNK = 64  # records that one task looks at
AHEAD = 4  # tasks under way for each thread

CANNOT_BE_OPENED = "cannot be opened"
CANNOT_BE_READ = "cannot be read"
NOT_THERE = "is not there"
CANNOT_BE_DECODED = "cannot be decoded"
NO_DATUM = "is no Datum"
DOES_NOT_FIT = "values do not fit the size"
NO_NUMBER = "holds what is no number"
NO_LABEL = "line has no path and label"
BAD_BOX = "box that does not fit"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a record, or with the source where `record` is None; `kind` is one of the constants here, and
    what is counted together. `called` is the record's name for people."""

    kind: str
    what: str
    record: int | None = None
    called: str = ""

    def __str__(self) -> str:
        return f"{self.called}: {self.what}" if self.called else self.what


@dataclass(frozen=True, eq=False)
class Item:
    """A record: values u8 or f32 [c h w], or a row f32[f]; None where it cannot be had, for which there is a fault.
    labels f32[k]: of a picture with boxes, those of the boxes."""

    values: np.ndarray | None
    labels: np.ndarray
    faults: tuple[Fault, ...] = ()


class Stored(ABC):
    """Records by their places from 0, read by several threads at a time. `classes` are names where there are any,
    `faults` what was wrong on the way to the records, `regression` tells that labels are no classes, `background`
    that label 0 is that of no object."""

    classes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    regression: bool = False
    background: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def look(self, places: np.ndarray) -> list[Item]:
        """The records at i64[n] places."""

    @abstractmethod
    def called(self, place: int) -> str:
        """What people know the record by: key and position, path, line or row."""

    def labels(self, places: np.ndarray) -> np.ndarray:
        """Labels f32[m] of the records at i64[n] places that can be had, as cheaply as can be."""
        found = [item.labels for item in self.look(places)]
        return np.concatenate(found) if found else np.zeros(0, np.float32)


@dataclass(frozen=True)
class Subject:
    """Records that can be looked at. `name` is what the user calls them, `kind` what they are; `open` opens them, with
    pictures in the order BGR where it is given and as they are read else, and raises NktcErrors. `fed` tells the shape
    that becomes of a record's, None where nothing does; it raises LayerErrors. Of two with the same `name` and an equal
    `look` the reports are the same."""

    name: str
    kind: str
    open: Callable[[str], Stored]
    fed: Callable[[Shape], Shape] | None = None
    look: Hashable = ()


class StoredPart(Stored):
    """The records at some places of others."""

    def __init__(self, whole: Stored, places: np.ndarray) -> None:
        self.classes, self.faults = whole.classes, whole.faults
        self.regression, self.background = whole.regression, whole.background
        self._whole, self._places = whole, places

    def __len__(self) -> int:
        return len(self._places)

    def look(self, places: np.ndarray) -> list[Item]:
        return self._whole.look(self._places[places])

    def called(self, place: int) -> str:
        return self._whole.called(int(self._places[place]))

    def labels(self, places: np.ndarray) -> np.ndarray:
        return self._whole.labels(self._places[places])


def scan(
    stored: Stored, work: Callable[[np.ndarray], Result], what: str, chunk: int = CHUNK
) -> Iterator[tuple[np.ndarray, Result]]:
    """All places of the records in order, some at a time, with what `work` makes of them; threads do it, and `what` is
    said beside a bar that tells how far they are."""
    waiting: deque[tuple[np.ndarray, Future[Result]]] = deque()
    threads = os.cpu_count() or 1
    with progress(what, len(stored)) as advance, ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(stored), chunk):
                places = np.arange(start, min(start + chunk, len(stored)))
                waiting.append((places, pool.submit(work, places)))
                if len(waiting) > threads * AHEAD:
                    yield _first(waiting, advance)
            while waiting:
                yield _first(waiting, advance)
        finally:
            pool.shutdown(cancel_futures=True)


def _first(
    waiting: deque[tuple[np.ndarray, Future[Result]]], advance: Callable[[int], None]
) -> tuple[np.ndarray, Result]:
    places, made = waiting.popleft()
    result = made.result()
    advance(len(places))
    return places, result


def picture(data: bytes, order: str) -> np.ndarray | tuple[str, str]:
    """u8[c h w] of an image file, or the kind of fault and what is wrong with it."""
    if not data:
        return CANNOT_BE_DECODED, "it is empty"
    if _ends_early(data):
        return CANNOT_BE_DECODED, "it is cut off: the end of its picture is missing"
    found = decode(data, order)
    return (CANNOT_BE_DECODED, "it is no 8-bit picture that can be decoded") if found is None else found


def _ends_early(data: bytes) -> bool:
    """Whether the mark at the end of a JPEG or PNG is not there: a decoder may make up what it does not get."""
    if data[:2] == b"\xff\xd8":
        # In what comes after the start of a scan no other mark can look like these.
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND" not in data


def one_label(label: float) -> np.ndarray:
    """f32[1]"""
    return np.array([label], np.float32)


def floats(values: np.ndarray) -> np.ndarray:
    """f32 of numbers of any kind; those that are too large become infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, np.float32)


def not_numbers(values: np.ndarray, record: int, called: str) -> tuple[Fault, ...]:
    """A fault where floats are not finite."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return ()
    count = int(np.count_nonzero(~np.isfinite(values)))
    return (Fault(NO_NUMBER, f"{count} of its {values.size} values are NaN or infinite", record, called),)


def named(label: float, classes: Sequence[str]) -> str:
    """The name of a class where it has one, its number else."""
    return classes[int(label)] if label.is_integer() and 0 <= label < len(classes) else f"{label:g}"
