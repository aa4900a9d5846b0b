"""What a net is tried on: records of its own data, pictures, or noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nktc import data, engines, export
from nktc.ir import Graph, Phase, Preprocessing

BATCH = 16


@dataclass(frozen=True)
class Samples:
    """Batches of inputs by name; `labels` has one row of class numbers a batch, or is empty. `about` tells where they
    are from, `real` whether they are data of the net's kind and no noise."""

    feeds: tuple[dict[str, np.ndarray], ...]
    labels: tuple[np.ndarray, ...] = ()
    about: str = ""
    real: bool = True

    @property
    def records(self) -> int:
        return sum(map(_rows, self.feeds))

    def first(self, records: int) -> Samples:
        """The batches with the first so many records, the last one whole."""
        count, taken = 0, 0
        while count < len(self.feeds) and taken < records:
            taken += _rows(self.feeds[count])
            count += 1
        return dataclasses.replace(self, feeds=self.feeds[:count], labels=self.labels[:count])

    def in_batches(self, size: int) -> Samples:
        """The same records in batches of that size, what is left of the last put aside; the first again and again where
        there are fewer."""
        if all(_rows(feeds) == size for feeds in self.feeds):
            return self
        if self.records < size:
            return dataclasses.replace(self, feeds=(self.single(size),), labels=())
        whole = {name: np.concatenate([feeds[name] for feeds in self.feeds]) for name in self.feeds[0]}
        parts = range(0, self.records - size + 1, size)
        feeds = tuple({name: x[i : i + size] for name, x in whole.items()} for i in parts)
        labels = np.concatenate(self.labels) if self.labels else np.zeros(0)
        rows = tuple(labels[i : i + size] for i in parts if len(labels))
        return dataclasses.replace(self, feeds=feeds, labels=rows)

    def changed(self, by: Change) -> Samples:
        """The same records for a net that takes them otherwise."""
        return dataclasses.replace(self, feeds=tuple(map(by, self.feeds)))

    def single(self, batch: int) -> dict[str, np.ndarray]:
        """Inputs with so many records, the first batch again and again where it has fewer."""
        if _rows(self.feeds[0]) == batch:
            return self.feeds[0]
        return {name: np.resize(x, (batch, *x.shape[1:])) for name, x in self.feeds[0].items()}


Change = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""Inputs as one net takes them to those of a net that takes them prepared otherwise."""


def change(before: Mapping[str, Preprocessing], after: Mapping[str, Preprocessing]) -> Change:
    """What turns inputs prepared as `before` says into those that `after` does; sizes and orders are the same."""
    both = {name: (before[name], after[name]) for name in before if before[name] is not after[name]}

    def changed(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(feeds) | {name: _prepared(_pixels(feeds[name], pair[0]), pair[1]) for name, pair in both.items()}

    return changed


def _pixels(x: np.ndarray, before: Preprocessing) -> np.ndarray:
    """The pixels of a prepared picture, in f64."""
    return x.astype(np.float64) / before.scale * _or(before.std, 1) + _middle(before.mean, x)


def _prepared(pixels: np.ndarray, after: Preprocessing) -> np.ndarray:
    return ((pixels - _middle(after.mean, pixels)) * after.scale / _or(after.std, 1)).astype(np.float32)


def _middle(mean: np.ndarray | None, x: np.ndarray) -> np.ndarray | float:
    """A mean where the crop of a picture has it."""
    if mean is None or mean.shape[-2:] == (1, 1):
        return _or(mean, 0)
    top, left = ((whole - part) // 2 for whole, part in zip(mean.shape[-2:], x.shape[-2:], strict=True))
    return mean[..., top : top + x.shape[-2], left : left + x.shape[-1]]


def _or(values: np.ndarray | None, otherwise: float) -> np.ndarray | float:
    return otherwise if values is None else values


def noise(graph: Graph, seed: int = 0) -> Samples:
    """Two batches of noise, as pictures of it would be prepared, and of words that there are."""
    open_batch = export.follows_batch(graph)
    inputs = [value.opened() for value in graph.inputs] if open_batch else graph.inputs
    size = max(2, graph.inputs[0].shape[0]) if open_batch else 0
    feeds = tuple(engines.noise(graph, size, draw, inputs) for draw in (seed, seed + 1))
    return Samples(feeds, about="random inputs", real=False)


def of_files(graph: Graph, paths: Sequence[Path], most: int) -> Samples:
    """The first records of pictures, or of an .npz of prepared inputs. Raises NktcError."""
    feeds = engines.feeds_from(paths, graph.inputs, graph.preprocessing, most, BATCH, graph.name)
    found = Samples(tuple(feeds))
    return dataclasses.replace(found, about=f"{found.records} records of {', '.join(map(str, paths))}")


def of_net(model: Path, graph: Graph, phase: Phase, most: int, places: data.Places) -> Samples | None:
    """Records that the data layers of a net, or of a run's net, read in a phase, with their labels; None where it has
    no data layers that feed what the deployed `graph` takes. Raises NktcError where their data cannot be read."""
    found = engines.own_records(model, [value.name for value in graph.inputs], phase, most, places)
    return Samples(found.feeds, found.labels, found.about) if found else None


def _rows(feeds: Mapping[str, np.ndarray]) -> int:
    """How many records a batch has."""
    return len(next(iter(feeds.values())))
