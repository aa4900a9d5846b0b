"""Results to where they are wanted: a stream of text, or a file, with a bar that shows how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nktc import data
from nktc.errors import NktcError
from nktc.files import atomic
from nktc.inference.features import save
from nktc.inference.report import FORMS
from nktc.inference.results import Result

TEXTS = {".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".txt": "table"}
FILES = {".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5", ".lmdb": "lmdb"}
ARRAYS = tuple(dict.fromkeys(FILES.values()))
"""The forms that are arrays."""


@dataclass
class Tally:
    """How many results there were, and how many of them had an error."""

    results: int = 0
    failed: int = 0


def form_of(path: Path | None, asked: str = "") -> str:
    """The form of an output: that asked for, or that which the file's name says, or a table. Raises NktcError where
    they do not go together, and for a name that says none."""
    if path is None:
        return asked or "table"
    suffix = path.suffix.lower()
    said = (TEXTS | FILES).get(suffix, "")
    if asked and said and asked != said:
        raise NktcError(f"{path} is called as {said} is, and {asked} is asked for", help="ask for one of them")
    if not (asked or said):
        known = ", ".join(TEXTS | FILES)
        raise NktcError(f"the name of {path} does not say what it is to hold", help=f"let it end in one of {known}")
    return asked or said


def write(
    results: Iterator[Result],
    form: str,
    path: Path | None = None,
    *,
    outputs: Sequence[str] = (),
    total: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Tally:
    """Write results, `total` where it is known how many, as `form_of` says: to `path`, whole or not at all, or as they
    come to standard output. Arrays have the `outputs`; `tell` is told of errors that they have no place for. Raises
    NktcError."""
    tally = Tally()
    out = sys.stdout  # before a bar takes it for itself
    # Results that appear on a terminal are progress enough.
    shown = data.progress("infer", total) if path or not out.isatty() else nullcontext(lambda count: None)
    with shown as advance:

        def counted() -> Iterator[Result]:
            for result in results:
                tally.results += 1
                tally.failed += bool(result.error)
                if result.error and form in ARRAYS:
                    tell(result.error if result.path in result.error else f"{result.path}: {result.error}")
                yield result
                advance(1)

        if path is None:
            _write(FORMS[form](counted()), out)
        elif form in ARRAYS:
            save(path, counted(), outputs)
        else:
            with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:
                _write(FORMS[form](counted()), file)
    return tally


def _write(pieces: Iterator[str], out: TextIO) -> None:
    for piece in pieces:
        out.write(piece)
    out.flush()
