"""Conversions of tables: rows of numbers and what is to be predicted from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nktc.data.conversion.columns import check_columns, labels_of, numbers_of
from nktc.data.conversion.plan import Plan, Unusable
from nktc.data.places import fingerprint
from nktc.data.table_file import Table
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
    check_columns(table, (*columns.target, *columns.exclude))
    features = [name for name in table.columns if name not in (*columns.target, *columns.exclude)]
    if not features:
        raise NktcError(f"{table.path} has no column left for features", help="leave out an --exclude or a --target")
    values = np.stack([numbers_of(table, name, _spared(name)) for name in features], axis=1)
    labels, there, classes = _targets(table, columns.target)
    lacking = np.concatenate([np.isnan(values), ~there], axis=1)
    names = (*features, *columns.target)
    rows = values.astype(np.float32)

    def read(i: int) -> np.ndarray:
        if lacking[i].any():
            raise Unusable(f"{names[int(lacking[i].argmax())]} has no value")
        row: np.ndarray = rows[i]
        return row

    return Plan(
        [f"row{i + 1}" for i in range(table.rows)],
        labels,
        read,
        fingerprint([table.path]),
        classes,
        lambda i: f"{table.at(i)}:",
    )


def _spared(name: str) -> str:
    return f"mend it, or leave the column out: --exclude {name}; a single --target may be words, which are classes then"


def _targets(table: Table, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Labels, bool[n t] of those that are there, and the names of the classes."""
    if len(names) == 1:
        labels, there, classes = labels_of(table, names[0])
        return labels, there[:, None], classes
    help = "mend it; a single --target may be words, which are classes then"
    values = np.stack([numbers_of(table, name, help) for name in names], axis=1)
    return np.nan_to_num(values).astype(np.float32), ~np.isnan(values), ()
