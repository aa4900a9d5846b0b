"""Columns of a table as a conversion takes them; the tables are those that TableData reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nktc.data.table_file import Table
from nktc.errors import LayerError, NktcError, near


def check_columns(table: Table, names: Sequence[str]) -> None:
    """Raises NktcError, with a near name, for the first that is not there."""
    for name in names:
        if name not in table.columns:
            help = near(name, table.columns) or f"its columns are {', '.join(table.columns)}"
            raise NktcError(f'{table.path} has no column "{name}"', help=help)


def numbers_of(table: Table, name: str, help: str) -> np.ndarray:
    """f64[rows], NaN where nothing is there. Raises NktcError, with `help`, for the first value that is no number, and
    for a column without a value."""
    try:
        values = table.numbers(name, spare=False)
    except LayerError as error:
        raise NktcError(error.message, help=help) from None
    if np.isnan(values).all():
        raise NktcError(f'{table.path}: column "{name}" has no values', help=help)
    return values


def words_of(table: Table, name: str) -> list[str]:
    """The words of a column without the blanks around them, empty where nothing is there. Raises NktcError for a
    column that holds no text."""
    _holds_words(table, name)
    known, places = table.words(name)
    trimmed = [*(word.strip() for word in known), ""]  # nothing is place -1
    return [trimmed[place] for place in places.tolist()]


def labels_of(table: Table, name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Labels, bool[rows] of those that are there, and the names of the classes. A column of words is one of classes,
    in their sorted order, i64[rows]; one of numbers has them as they are, i64[rows] where all are whole, else
    f32[rows]. Raises NktcError for a column of numbers with a word among them, which is a mistake and no class."""
    if _holds_words(table, name):
        known, places = table.words(name)
        return np.maximum(places, 0), places >= 0, known
    numbers = numbers_of(table, name, "mend it; where it names a class, let more than half of the column be words")
    there = ~np.isnan(numbers)
    found = np.where(there, numbers, 0)
    whole = bool(((found == np.trunc(found)) & (np.abs(found) < 2**31)).all())
    return found.astype(np.int64 if whole else np.float32), there, ()


def _holds_words(table: Table, name: str) -> bool:
    try:
        return table.holds_words(name)
    except LayerError as error:
        raise NktcError(error.message) from None
