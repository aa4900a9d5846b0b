"""CSV and Parquet files as columns of numbers or words, every mistake with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from nktc.errors import LayerError

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
NOTHING = pa.array(["", "?", "na", "n/a", "#n/a", "nan", "none", "null"])
"""What stands in a CSV, in small letters, for a number that is not there."""

SHOWN = 40  # characters of a wrong value
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Table:
    """The columns of a file by their names, those of a CSV as texts."""

    path: Path
    columns: Mapping[str, pa.ChunkedArray]
    rows: int
    csv: bool

    def holds_words(self, name: str, share: float = 0.5) -> bool:
        """Whether a column is one of words: of a CSV, where at most that share of what is there are numbers; for 1,
        where not all are. Raises LayerError for a column that holds neither."""
        column = self.columns[name]
        if not self.csv:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                return True
            if not (pa.types.is_null(column.type) or _is_number(column.type)):
                problem = f'{self.path}: column "{name}" holds {column.type}, neither numbers nor words'
                raise LayerError(problem, field="source", help=f'leave it out: exclude: "{name}"')
            return False
        trimmed = pc.utf8_trim_whitespace(column)
        there = pc.invert(_nothing(trimmed))
        numbers = pc.sum(pc.and_(there, pc.match_substring_regex(trimmed, NUMBER))).as_py() or 0
        values = pc.sum(there).as_py() or 0
        return values > numbers if share == 1 else values > 0 and numbers <= share * values

    def numbers(self, name: str, spare: bool = True) -> np.ndarray:
        """f64[rows], NaN where nothing is there. Raises LayerError for the first value that is no number; its help
        tells whether the column can be spared."""
        column, help = self.columns[name], "mend it"
        if spare:
            help += f', or leave the column out: exclude: "{name}"'
        if self.csv:
            trimmed = pc.utf8_trim_whitespace(column)
            there = pc.invert(_nothing(trimmed))
            wrong = pc.and_(there, pc.invert(pc.match_substring_regex(trimmed, NUMBER)))
            if (row := pc.index(wrong, True).as_py()) >= 0:
                problem = f'{self.at(row)}: column "{name}" has "{_short(column[row].as_py())}", which is no number'
                raise LayerError(problem, field="source", help=help)
            column = pc.if_else(there, trimmed, None)
        elif not _is_number(column.type) and not pa.types.is_null(column.type):
            problem = f'{self.path}: column "{name}" holds {column.type}, not numbers'
            raise LayerError(problem, field="source", help=help)
        values: np.ndarray = pc.cast(column, pa.float64(), safe=False).to_numpy().astype(np.float64)
        if (found := np.flatnonzero(np.abs(values) > LARGEST)).size:
            row = int(found[0])
            problem = f'{self.at(row)}: column "{name}" has {values[row]:g}, more than a 32-bit number holds'
            raise LayerError(problem, field="source", help=help)
        return values

    def words(self, name: str) -> tuple[tuple[str, ...], np.ndarray]:
        """The words of a column, sorted, and i64[rows] of each row's place among them, -1 where nothing is there."""
        column = pc.cast(self.columns[name], pa.string())
        if self.csv:
            column = pc.if_else(pc.equal(column, ""), None, column)
        coded = column.combine_chunks().dictionary_encode()
        known = coded.dictionary.to_pylist()
        order = sorted(range(len(known)), key=known.__getitem__)
        places = np.empty(len(known) + 1, np.int64)
        places[order], places[-1] = np.arange(len(known)), -1
        return tuple(known[i] for i in order), places[pc.fill_null(coded.indices, len(known)).to_numpy()]

    def at(self, row: int) -> str:
        """Where a row is, counted from 0: the line of a CSV whose first is 1, the row of a Parquet file from 1."""
        if self.csv and row < len(self._begins):
            return f"{self.path}:{self._begins[row]}"
        return f"{self.path}: row {row + 1}"

    @cached_property
    def _begins(self) -> Sequence[int]:
        """The lines that the rows of a CSV begin on."""
        begins: list[int] = []
        # A value may be longer than Python's reader takes; from there on rows are told, as Arrow counts.
        with suppress(csv.Error):
            begins.extend(line for line, _ in islice(_lines(self.path), 1, None))
        return begins


def read_table(path: Path) -> Table:
    """The whole table in a file. Raises LayerError for one that is none, or has no rows."""
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        table = _parquet(path) if parquet else _csv(path)
    except FileNotFoundError:
        raise LayerError(f"source {path} does not exist", field="source") from None
    except (OSError, ValueError) as error:
        reason = "it is a folder" if path.is_dir() else getattr(error, "strerror", None) or _first_line(error)
        raise LayerError(f"source {path} cannot be read: {reason}", field="source") from None
    if not table.num_rows:
        raise LayerError(f"source {path} has no rows", field="source")
    columns = {name: _plain(table.column(i)) for i, name in enumerate(table.column_names)}
    if len(columns) < len(table.column_names):
        twice = next(name for name in columns if table.column_names.count(name) > 1)
        raise LayerError(f'source {path} has more than one column "{twice}"', field="source")
    return Table(path, columns, table.num_rows, not parquet)


def _parquet(path: Path) -> pa.Table:
    try:
        table = pyarrow.parquet.read_table(path, use_threads=False, partitioning=None)
        table.validate(full=True)  # else words that are no UTF-8 come up later
        return table
    except (pa.ArrowException, OSError) as error:
        problem = f"source {path} is a damaged Parquet file: {_first_line(error)}"
        raise LayerError(problem, field="source") from None


def _csv(path: Path) -> pa.Table:
    try:
        header = next((row for _, row in _lines(path)), None)
        if header is None:
            raise LayerError(f"source {path} is empty", field="source")
        # Types are found out later: what is wrong with a value is told with its line.
        return pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(use_threads=False),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False),
        )
    except (pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise LayerError(_csv_mistake(path, error), field="source") from None


def _csv_mistake(path: Path, error: Exception) -> str:
    """What is wrong with a CSV that was refused."""
    line, header = 0, None
    try:
        for line, row in _lines(path):
            header = header or row
            if len(row) != len(header):
                return f"{path}:{line}: has {len(row)} values, the first line names {len(header)} columns"
    except UnicodeDecodeError:
        return f"source {path} is no UTF-8 text, nor is it Parquet"
    except csv.Error as other:
        return f"{path}:{line + 1}: {other}"
    return f"source {path} is no table: {_first_line(error)}"


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV that are not empty, the names of the columns first, each with the line where it begins."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader, before = csv.reader(file), 0
        for row in reader:
            if row:
                yield before + 1, row
            before = reader.line_num


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without the dictionary that Parquet keeps for words that repeat."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_number(kind: pa.DataType) -> bool:
    return any(
        check(kind) for check in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    )


def _nothing(trimmed: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(pc.utf8_lower(trimmed), value_set=NOTHING)


def _short(value: str) -> str:
    """A value as a message shows it, which has one line."""
    one = " ".join(value.split())
    return one if len(one) <= SHOWN else f"{one[:SHOWN]}..."


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
