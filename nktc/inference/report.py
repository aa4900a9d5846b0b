"""Results as text, as they come: a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nktc.errors import NktcError
from nktc.inference.results import Detection, Prediction, Result
from nktc.ir import times

SHOWN = 8  # numbers of an output that a table has


def table(results: Iterator[Result]) -> Iterator[str]:
    """A paragraph each: its path, then its classes or boxes, its outputs or its error."""
    for result in results:
        lines = [result.path]
        if result.error:
            lines.append(f"  error: {result.error}")
        lines += [f"  {_share(found, result)}  {found.label}{_corners(found)}" for found in result.predictions]
        if result.detector and not result.predictions:
            lines.append("  nothing found")
        lines += [f"  {name} {times(array.shape)}  {_few(array)}" for name, array in result.outputs.items()]
        yield "\n".join(lines) + "\n"


def as_json(results: Iterator[Result]) -> Iterator[str]:
    """One list of them all."""
    start = "["
    for result in results:
        yield f"{start}\n{textwrap.indent(json.dumps(plain(result), indent=2), '  ')}"
        start = ","
    yield "[]\n" if start == "[" else "\n]\n"


def as_json_lines(results: Iterator[Result]) -> Iterator[str]:
    """A line each."""
    for result in results:
        yield json.dumps(plain(result)) + "\n"


def as_csv(results: Iterator[Result]) -> Iterator[str]:
    """A line for each class or box of each, or for the outputs of each, and one for each error."""
    header: list[str] = []
    early: list[Result] = []  # errors before it is known what the columns are
    for result in results:
        if not header and result.error:
            early.append(result)
            continue
        if not header:
            header = [*_columns(result)]
            yield _line(["path", *header, "error"])
            yield "".join(_line([one.path, *[""] * len(header), one.error]) for one in early)
        yield "".join(_csv_lines(result, header))
    if not header:
        yield _line(["path", "error"]) + "".join(_line([one.path, one.error]) for one in early)


FORMS: Mapping[str, Callable[[Iterator[Result]], Iterator[str]]] = {
    "table": table,
    "json": as_json,
    "jsonl": as_json_lines,
    "csv": as_csv,
}
"""Every form of text by its name."""


def plain(result: Result) -> dict[str, Any]:
    """A result for JSON, which has no word for what is no number: null."""
    found: dict[str, Any] = {"path": result.path}
    if not result.outputs:
        found["predictions"] = [
            {"index": p.index, "label": p.label, "probability": _finite(p.probability)}
            | ({"box": [_finite(side) for side in p.box]} if isinstance(p, Detection) else {})
            for p in result.predictions
        ]
    else:
        found["outputs"] = {name: _numbers(array) for name, array in result.outputs.items()}
    return found | {"error": result.error}


def _numbers(array: np.ndarray) -> Any:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    held = array.astype(object)
    held[~np.isfinite(array)] = None
    return held.tolist()


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _share(found: Prediction, result: Result) -> str:
    """A share in per cent, or the number itself where the model gives no shares."""
    shares = all(0 <= p.probability <= 1.0001 for p in result.predictions)
    return f"{found.probability:8.2%}" if shares else f"{found.probability:9.4f}"


def _corners(found: Prediction) -> str:
    return "".join(f"  {side:.4f}" for side in found.box) if isinstance(found, Detection) else ""


def _few(array: np.ndarray) -> str:
    flat = array.reshape(-1)
    shown = " ".join(f"{number:.6g}" for number in flat[:SHOWN].tolist())
    return f"{shown} …" if len(flat) > SHOWN else shown


def _columns(result: Result) -> Iterator[str]:
    """The columns between the path and the error."""
    if not result.outputs:
        yield from ("rank", "index", "label", "probability")
        yield from ("xmin", "ymin", "xmax", "ymax") if result.detector else ()
    for name, array in result.outputs.items():
        yield from ([name] if array.ndim == 0 else [f"{name}[{i}]" for i in range(array.size)])


def _csv_lines(result: Result, header: list[str]) -> Iterator[str]:
    if result.error:
        yield _line([result.path, *[""] * len(header), result.error])
    elif result.outputs:
        numbers = [number for array in result.outputs.values() for number in array.reshape(-1).tolist()]
        if len(numbers) != len(header):
            raise NktcError(
                f"{result.path} has {len(numbers)} numbers, those before it {len(header)}, so they have no columns in"
                " common",
                help="--jsonl takes outputs of any size",
            )
        yield _line([result.path, *numbers, ""])
    for rank, found in enumerate(result.predictions, 1):
        box = found.box if isinstance(found, Detection) else ()
        yield _line([result.path, rank, found.index, found.label, found.probability, *box, ""])


def _line(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
