"""Jobs to batches, batches through a session, and each job its share of what came out."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, islice

import numpy as np

from nktc.engines import Session
from nktc.errors import NktcError
from nktc.inference.intake import Job, Rows
from nktc.inference.results import DETECTIONS
from nktc.ir import times

HANDS = 8  # threads that decode, where there are as many cores


@dataclass(frozen=True, eq=False)
class Item:
    """A job that was done: its rows, or why there are none."""

    name: str
    rows: Rows = field(default_factory=dict)
    whole: bool = False
    error: str = ""

    @property
    def count(self) -> int:
        return len(next(iter(self.rows.values()))) if self.rows else 0


def chunks(jobs: Iterable[Job], size: int) -> Iterator[list[Item]]:
    """The jobs, `size` at a time, done side by side, in their order."""
    rest = iter(jobs)
    with ThreadPoolExecutor(min(HANDS, os.cpu_count() or 1)) as pool:
        while some := list(islice(rest, size)):
            yield list(pool.map(_done, some))


def _done(job: Job) -> Item:
    try:
        return Item(job.name, job.load(), job.whole)
    except NktcError as error:
        return Item(job.name, whole=job.whole, error=error.message)


def run(session: Session, items: Sequence[Item], batch: int, most: int) -> Iterator[tuple[Item, dict[str, np.ndarray]]]:
    """Each item with its outputs, [k ...] as its rows; none for an item that has an error.

    A model that takes only one `batch` gets that, filled up with zeros, any other at most `most` rows. Raises NktcError
    where an output does not tell what belongs to which row.
    """
    for (_, whole, works), together in groupby(items, key=lambda item: (_shapes(item), item.whole, not item.error)):
        some = list(together)
        if not works:
            yield from ((item, {}) for item in some)
        elif whole:
            yield from ((item, session.run(item.rows)) for item in some)
        else:
            rows = {name: np.concatenate([item.rows[name] for item in some]) for name in some[0].rows}
            found = _in_batches(session, rows, batch, most)
            ends = np.cumsum([item.count for item in some]).tolist()
            for item, end in zip(some, ends, strict=True):
                yield item, {name: _stacked(name, shares[end - item.count : end]) for name, shares in found.items()}


def _shapes(item: Item) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in item.rows.values())


def _stacked(name: str, shares: Sequence[np.ndarray]) -> np.ndarray:
    """The shares of one item as one array. Raises NktcError where they have several sizes."""
    if len({share.shape for share in shares}) > 1:
        help = "leave --oversample out"
        raise NktcError(f"the output {name} is of another size for each of {len(shares)} crops", help=help)
    return np.stack(shares)


def _in_batches(session: Session, rows: Mapping[str, np.ndarray], batch: int, most: int) -> dict[str, list[np.ndarray]]:
    """The outputs, a share for each row."""
    count = len(next(iter(rows.values())))
    size = batch or most
    detections = {value.name for value in session.outputs if value.shape == DETECTIONS}
    parts = []
    for start in range(0, count, size):
        some = {name: array[start : start + size] for name, array in rows.items()}
        there = min(size, count - start)
        fed = {name: _filled(array, batch) for name, array in some.items()} if batch else some
        parts.append(_shares(session.run(fed), detections, batch or there, there, "" if batch else "give --batch 1"))
    return {name: [share for part in parts for share in part[name]] for name in parts[0]}


def _filled(array: np.ndarray, count: int) -> np.ndarray:
    """The rows, and so many of zeros behind them that there are `count`."""
    return np.concatenate([array, np.zeros((count - len(array), *array.shape[1:]), array.dtype)])


def _shares(
    outputs: Mapping[str, np.ndarray], detections: Collection[str], fed: int, there: int, help: str
) -> dict[str, list[np.ndarray]]:
    """The outputs with a share for each of the first `there` of the rows that were fed; of `detections` those of that
    image. Raises NktcError."""
    found = {}
    for name, array in outputs.items():
        if name in detections:
            found[name] = [array[0, 0][array[0, 0, :, 0] == image] for image in range(there)]
        elif array.ndim and len(array) == fed:
            found[name] = list(array[:there])
        elif fed == 1:
            found[name] = [array]
        else:
            shape = times(array.shape)
            raise NktcError(
                f"the output {name} is {shape} for a batch of {fed}, which tells no row from another", help=help
            )
    return found
