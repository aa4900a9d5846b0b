"""The columns of a table as the numbers that a net is fed: words one by one, what is missing, a common scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nktc.data.parts import part_records
from nktc.data.table_file import Table
from nktc.errors import LayerError, near
from nktc.layers import TableData

MOST_WORDS = 1000  # features that one column may become; more are names, not kinds


@dataclass(frozen=True, eq=False)
class Rows:
    """Of the rows of one part: data f32[n f]; label f32[n], or f32[n t] of REGRESSION; the classes' names."""

    data: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Numbers:
    """f64[rows f], NaN where nothing is there; `name` is the column that each comes from, `scaled` tells which were
    numbers."""

    values: np.ndarray
    names: Sequence[str]
    scaled: np.ndarray


def chosen(layer: TableData, path: Path | str, columns: Sequence[str]) -> list[str]:
    """The columns that are features. Raises LayerError for one that is not there, and where none is left."""
    for field, names in (("target", layer.targets), ("feature", layer.features), ("exclude", layer.excluded)):
        for name in names:
            if name not in columns:
                help = near(name, columns) or f"it has {', '.join(columns)}"
                raise LayerError(f'{path} has no column "{name}"', field=field, help=help)
    left_out = {*layer.targets, *layer.excluded}
    features = list(layer.features) or [name for name in columns if name not in left_out]
    if not features:
        raise LayerError(f"no column of {path} is left to predict from", field="source")
    return features


def rows_of(layer: TableData, table: Table) -> Rows:
    """What the layer feeds of a table. Raises LayerError."""
    inputs = _features(table, chosen(layer, table.path, list(table.columns)))
    targets, classes = _targets(layer, table)
    kept = np.arange(table.rows)
    if layer.missing == "DROP":
        kept = np.flatnonzero(~np.isnan(np.hstack([inputs.values, targets.values])).any(axis=1))
        if not len(kept):
            raise LayerError(f"every row of {table.path} lacks a value", field="missing")
    else:
        _check_there(layer, table, [targets] if layer.missing == "MEAN" else [inputs, targets])
    part = layer.part
    training = part_records(part and replace(part, name="TRAIN", records=0), len(kept))
    learned = kept if training is None else kept[training]
    read = part_records(part, len(kept))
    rows = kept if read is None else kept[read]
    fed = _filled(table, inputs, learned) if layer.missing == "MEAN" else inputs
    label = targets
    if layer.standardize:
        fed = _standard(fed, learned)
    if layer.standardize_target:
        label = _standard(targets, learned)
    numbers = label.values[rows].astype(np.float32)
    return Rows(fed.values[rows].astype(np.float32), numbers[:, 0] if layer.classes else numbers, classes)


def _features(table: Table, names: Sequence[str]) -> Numbers:
    blocks, owners, scaled = [], [], []
    for name in names:
        words = table.holds_words(name)
        block = _one_hot(table, name) if words else table.numbers(name)[:, None]
        blocks.append(block)
        owners += [name] * block.shape[1]
        scaled += [not words] * block.shape[1]
    return Numbers(np.hstack(blocks), owners, np.array(scaled))


def _one_hot(table: Table, name: str) -> np.ndarray:
    """f64[rows words], NaN in all of a row where no word is there."""
    known, places = table.words(name)
    if len(known) > MOST_WORDS:
        problem = f'{table.path}: column "{name}" has {len(known):,} different words, and each would be a feature'
        raise LayerError(problem, field="source", help=f'leave it out: exclude: "{name}"')
    if not known:
        raise LayerError(f'{table.path}: column "{name}" has no values', field="source", help=f'exclude: "{name}"')
    block = np.zeros((table.rows, len(known)))
    there = np.flatnonzero(places >= 0)
    block[there, places[there]] = 1
    block[places < 0] = np.nan
    return block


def _targets(layer: TableData, table: Table) -> tuple[Numbers, tuple[str, ...]]:
    """The targets, a class as its number, and the names of the classes."""
    if not layer.classes:
        blocks = [table.numbers(name, spare=False) for name in layer.targets]
        values = np.stack(blocks, axis=1) if blocks else np.zeros((table.rows, 0))
        return Numbers(values, layer.targets, np.ones(len(blocks), bool)), ()
    values, names = np.zeros((table.rows, 0)), tuple[str, ...]()
    for name in layer.targets:
        names, places = class_numbers(table, name)
        values = np.where(places < 0, np.nan, places)[:, None]
    return Numbers(values, layer.targets, np.ones(values.shape[1], bool)), names


def class_numbers(table: Table, name: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of a column's classes, by their size where all are numbers and else by their letters, and i64[rows] of
    each row's class, -1 where none is there."""
    if table.holds_words(name, share=1):
        return table.words(name)
    numbers = table.numbers(name)
    there = ~np.isnan(numbers)
    known, found = np.unique(numbers[there], return_inverse=True)
    places = np.full(table.rows, -1)
    places[there] = found
    return tuple(str(int(k)) if k == int(k) else repr(float(k)) for k in known), places


def _check_there(layer: TableData, table: Table, fed: Iterable[Numbers]) -> None:
    """Refuse the first value that is not there."""
    holes = [(int(row), one.names[column]) for one in fed for row, column in np.argwhere(np.isnan(one.values))[:1]]
    if holes:
        row, name = min(holes)
        target = name in layer.targets
        help = "leave such rows out: missing: DROP" + ("" if target else ", or put the mean there: missing: MEAN")
        raise LayerError(f'{table.at(row)}: column "{name}" has no value', field="source", help=help)


def _filled(table: Table, fed: Numbers, learned: np.ndarray) -> Numbers:
    """The mean of its column among the rows `learned` for what is not there."""
    there = ~np.isnan(fed.values)
    counts = there[learned].sum(axis=0)
    for name, count in zip(fed.names, counts.tolist(), strict=True):
        if not count:
            problem = f'{table.path}: column "{name}" has no values to take the mean of'
            raise LayerError(problem, field="source", help=f'leave it out: exclude: "{name}"')
    means = np.where(there, fed.values, 0)[learned].sum(axis=0) / counts
    return replace(fed, values=np.where(there, fed.values, means))


def _standard(fed: Numbers, learned: np.ndarray) -> Numbers:
    """Numbers minus their mean, by their deviation, those of the rows `learned`; a column of one value becomes 0."""
    mean, deviation = fed.values[learned].mean(axis=0), fed.values[learned].std(axis=0)
    alike = fed.values[learned].max(axis=0) == fed.values[learned].min(axis=0)  # rounding may leave a deviation
    mean, deviation = np.where(fed.scaled, mean, 0), np.where(fed.scaled & ~alike, deviation, 1)
    return replace(fed, values=(fed.values - mean) / deviation)
