"""How many records there are of each label, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap

import numpy as np

from nktc.data.stored.stored import Stored, named, scan

TOGETHER = 1024  # records whose labels one task reads
CLASSES = 40  # bars that are drawn
SEVERAL = 1000  # labels that may be classes; more are numbers
WIDTH = 40  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉"


def read_labels_of(stored: Stored, name: str) -> np.ndarray:
    """The labels f32[m] of all records that can be had; four bytes each."""
    found = [labels for _, labels in scan(stored, stored.labels, f"labels of {name}", TOGETHER)]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def are_classes(labels: np.ndarray, regression: bool) -> bool:
    """Whether labels may be numbers of classes."""
    whole = bool((labels == np.trunc(labels)).all())
    return not regression and whole and len(np.unique(labels)) <= SEVERAL


def histogram(labels: np.ndarray, classes: Sequence[str] = (), regression: bool = False) -> list[str]:
    """A bar for each class in the order of their numbers, of many those with the most records and those with the
    fewest; of numbers their range and quartiles."""
    labels = labels[np.isfinite(labels)]
    if not len(labels):
        return []
    if not are_classes(labels, regression):
        return _quartiles(labels)
    there, counts = np.unique(labels, return_counts=True)
    # A class that has a name and no record is told too.
    lacking = np.setdiff1d(np.arange(len(classes)), there)
    there, counts = np.concatenate([there, lacking]), np.concatenate([counts, np.zeros(len(lacking), np.int64)])
    order = np.argsort(there, kind="stable")
    rows = [(named(float(there[i]), classes), int(counts[i])) for i in order]
    if len(rows) <= CLASSES:
        return _bars(rows, len(labels))
    rows.sort(key=lambda row: -row[1])
    most, few = rows[: CLASSES * 3 // 4], rows[-(CLASSES // 4) :]
    lines = _bars([*most, *few], len(labels))
    return [*lines[: len(most)], f"... {len(rows) - len(most) - len(few)} more ...", *lines[len(most) :]]


def _bars(rows: Sequence[tuple[str, int]], total: int) -> list[str]:
    longest = max(count for _, count in rows)
    wide, digits = max(len(name) for name, _ in rows), len(str(longest))

    def line(name: str, count: int) -> str:
        whole, part = divmod(round(count / longest * WIDTH * 8), 8)
        bar = "█" * whole + EIGHTHS[part].strip()
        return f"{name:<{wide}}  {count:>{digits}}  {count / total:6.2%}  {bar}".rstrip()

    return list(starmap(line, rows))


def _quartiles(labels: np.ndarray) -> list[str]:
    words = ("least", "first quarter", "median", "third quarter", "largest")
    values = np.quantile(labels.astype(np.float64), (0, 0.25, 0.5, 0.75, 1))
    lines = [f"{word:<13}  {value:g}" for word, value in zip(words, values.tolist(), strict=True)]
    return [*lines, f"{'mean':<13}  {labels.mean(dtype=np.float64):g}"]
