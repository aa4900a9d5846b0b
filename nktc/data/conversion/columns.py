"""Comma-separated files as columns of words."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nktc.errors import NktcError, near
from nktc.files import read_bytes


@dataclass(frozen=True)
class Table:
    """The columns of a file by their names, blanks around words taken off. `lines` are those that rows end on, counted
    from 1; `short` has the rows with another number of fields than the first line, and that number."""

    path: Path
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    short: Mapping[int, int]

    def column(self, name: str) -> Sequence[str]:
        """Raises NktcError with a near name."""
        if name not in self.columns:
            help = near(name, self.columns) or f"its columns are {', '.join(self.columns)}"
            raise NktcError(f'{self.path} has no column "{name}"', help=help)
        return self.columns[name]


def read_table(path: Path) -> Table:
    """A CSV file, UTF-8, its first line the names of the columns. Raises NktcError."""
    try:
        text = read_bytes(path, "table").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NktcError(f"{path} is no UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}") from None
    reader = csv.reader(text.splitlines(keepends=True))
    names = [name.strip() for name in next(reader, [])]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise NktcError(f'{path} has two columns "{twice}"')
    rows: list[list[str]] = []
    lines: list[int] = []
    short: dict[int, int] = {}
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                short[len(rows)] = len(row)
            rows.append([*map(str.strip, row), *[""] * len(names)][: len(names)])
            lines.append(reader.line_num)
    except csv.Error as error:
        raise NktcError(f"{path}:{reader.line_num}: {error}") from None
    if not rows:
        raise NktcError(f"{path} has no rows")
    return Table(path, dict(zip(names, zip(*rows, strict=True), strict=True)), lines, short)


def number(word: str) -> float | None:
    """The finite number that a word is; None where it is none."""
    try:
        found = float(word)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def classes_of(words: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of words, and the names of the classes. Whole numbers are labels as they are, i64[n]; other numbers are,
    f32[n]; words are classes in their sorted order, i64[n]. Empty words are 0."""
    numbers = [number(word or "0") for word in words]
    found = [0.0 if one is None else one for one in numbers]
    if all(one is not None for one in numbers):
        whole = all(one.is_integer() and abs(one) < 2**31 for one in found)
        return np.array(found, np.int64 if whole else np.float32), ()
    names = tuple(sorted({word for word in words if word}))
    places = {name: place for place, name in enumerate(names)}
    return np.array([places.get(word, 0) for word in words], np.int64), names
