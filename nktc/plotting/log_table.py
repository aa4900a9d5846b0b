"""A Caffe log as tables of its training and its test outputs, with the rows and columns of Caffe's parse_log."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from nktc.errors import NktcError
from nktc.files import read_bytes, write_text
from nktc.runs import Run

Row = dict[str, float]

STAMP = re.compile(r"[IWEF](\d{4})?(\d\d)(\d\d) +(\d+):(\d+):(\d+)\.(\d+) ")
ITERATION = re.compile(r"Iteration (\d+)")
RATE = re.compile(r"lr = (\S+)")
OUTPUT = re.compile(r"(Train|Test) net output #\d+: (\S+) = (\S+)")


def read_log(path: Path) -> tuple[list[Row], list[Row]]:
    """The rows of the training net's outputs and of the test nets', in the order of the log; `path` is a log of any
    Caffe's, or the folder of a run.

    The columns are NumIters, Seconds since "Solving" was logged, LearningRate and the outputs. As in Caffe the rate is
    the one logged last, so in the first row, which has none before it, it is that of the second. Raises NktcError where
    there is no row.
    """
    if path.is_dir():
        path = Run(path).log
    tables: dict[str, list[Row]] = {"Train": [], "Test": []}
    open_rows: dict[str, Row] = {}
    iteration, rate = -1.0, math.nan
    for seconds, line in _timed(read_bytes(path, "log").decode(errors="replace").splitlines()):
        if at := ITERATION.search(line):
            iteration = float(at[1])
        if iteration < 0:
            continue
        if at := RATE.search(line):
            rate = _number(at[1].rstrip(","))
        for kind, rows in tables.items():
            if (at := OUTPUT.search(line)) and at[1] == kind:
                row = open_rows.get(kind)
                if row is None or row["NumIters"] != iteration:
                    rows += [row] if row else []
                    row = {"NumIters": iteration, "Seconds": seconds, "LearningRate": rate}
                    open_rows[kind] = row
                row[at[2]] = _number(at[3])
            # A row that is as long as the first one is whole: what follows belongs to another net.
            if rows and kind in open_rows and len(open_rows[kind]) == len(rows[0]):
                rows.append(open_rows.pop(kind))
    for kind, rows in tables.items():
        rows += [open_rows[kind]] if kind in open_rows and not rows else []  # else it is cut short
        if len(rows) > 1:
            rows[0]["LearningRate"] = rows[1]["LearningRate"]
    if not any(tables.values()):
        raise NktcError(f"{path} has no line with a net's output", help="give what caffe train or nktc train printed")
    return tables["Train"], tables["Test"]


def write_tables(path: Path, folder: Path, delimiter: str = ",") -> list[Path]:
    """Write the tables of a log as LOG.train and LOG.test into a folder; a table without rows is not written. Returns
    what was written. Raises NktcError."""
    if len(delimiter) != 1:
        raise NktcError(f'the delimiter "{delimiter}" is not one character')
    name = Run(path).log.name if path.is_dir() else path.name
    written = []
    for kind, rows in zip(("train", "test"), read_log(path), strict=True):
        if rows:
            written.append(folder / f"{name}.{kind}")
            write_text(written[-1], _text(rows, delimiter))
    return written


def _text(rows: Sequence[Row], delimiter: str) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with io.StringIO() as text:
        writer = csv.DictWriter(text, columns, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def _timed(lines: Sequence[str]) -> Iterator[tuple[float, str]]:
    """The lines that have a time, from that which says "Solving" on, if there is one, with the seconds since then."""
    first = next((i for i, line in enumerate(lines) if "Solving" in line and STAMP.match(line)), 0)
    # glog wrote no year for long; any will do that has the days there are.
    year = 2000 if any(line[1:5] == "0229" for line in lines) else 2001
    start: datetime | None = None
    month = 0
    for line in lines[first:]:
        at = STAMP.match(line)
        if not at:
            continue
        year += int(at[2]) < month
        with suppress(ValueError):  # no day of any month
            day, hour, minute, second = map(int, at.group(3, 4, 5, 6))
            micro = int(at[7][:6].ljust(6, "0"))
            now = datetime(int(at[1] or year), int(at[2]), day, hour, minute, second, micro)
            month, start = now.month, start or now
            yield (now - start).total_seconds(), line


def _number(text: str) -> float:
    """A number; NaN for what Windows prints in its place."""
    try:
        return float(text)
    except ValueError:
        return math.nan
