"""Conversions of tables: rows of numbers and what is to be predicted from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nktc.data.conversion.columns import Table, classes_of, number
from nktc.data.conversion.plan import Plan, Unusable
from nktc.data.places import fingerprint
from nktc.errors import NktcError


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are: `target` is predicted, `exclude` left out, the others are features; or `image`
    has paths of pictures and `label` their labels."""

    target: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    image: str = ""
    label: str = ""


def plan_of_table(table: Table, columns: Columns) -> Plan:
    """A record a row: features f32[f], and a label that is a class for a target of words, else as many numbers as there
    are targets. A row that lacks a number is left out. Raises NktcError."""
    for name in (*columns.target, *columns.exclude):
        table.column(name)
    features = [name for name in table.columns if name not in (*columns.target, *columns.exclude)]
    if not features:
        raise NktcError(f"{table.path} has no column left for features", help="leave out an --exclude or a --target")
    bad = {i: f"has {count} fields, the first line {len(table.columns)}" for i, count in table.short.items()}
    values = np.stack([_numbers(table, name, bad) for name in features], axis=1)
    labels, classes = _targets(table, columns.target, bad)

    def read(i: int) -> np.ndarray:
        if i in bad:
            raise Unusable(bad[i])
        row: np.ndarray = values[i]
        return row

    return Plan(
        [f"row{i + 1}" for i in range(len(values))],
        labels,
        read,
        fingerprint([table.path]),
        classes,
        lambda i: f"{table.path}:{table.lines[i]}:",
    )


def _targets(table: Table, names: Sequence[str], bad: dict[int, str]) -> tuple[np.ndarray, tuple[str, ...]]:
    if len(names) == 1:
        words = table.column(names[0])
        labels, classes = classes_of(words)
        for i, word in enumerate(words):
            if not word:
                bad.setdefault(i, f"{names[0]} is empty")
        return labels, classes
    return np.stack([_numbers(table, name, bad) for name in names], axis=1), ()


def _numbers(table: Table, name: str, bad: dict[int, str]) -> np.ndarray:
    """f32[n] of a column; rows without a number get into `bad`. Raises NktcError for a column of words."""
    words = table.column(name)
    found = [number(word) for word in words]
    if all(value is None for value in found):
        word = next((word for word in words if word), "")
        holds = f'words, as "{word}"' if word else "nothing"
        raise NktcError(
            f"{table.path}: column {name} holds {holds}",
            help=f"--exclude {name} leaves it out; a single --target may be words, which are classes then",
        )
    for i, (word, value) in enumerate(zip(words, found, strict=True)):
        if value is None:
            bad.setdefault(i, f'{name} is "{word}", which is no number' if word else f"{name} is empty")
    return np.array([0.0 if value is None else value for value in found], np.float32)
