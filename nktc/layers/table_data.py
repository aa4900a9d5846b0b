"""TableData: rows of a CSV or Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from nktc.errors import LayerError
from nktc.ir import Layer, Phase
from nktc.layers.input import Part, batch_size, part
from nktc.schema import SplitParameter, TableDataParameter, TransformationParameter


class TableData(Layer, param=("table_data_param", "transform_param", "split_param"), tops=(1, 2), source=True):
    """Reads rows of a CSV or Parquet file: columns to predict from, and columns to predict.

    The first line of a CSV has the names of its columns, which stand between commas. Numbers are fed as they are. A
    column whose values are mostly no numbers is one of words, and becomes a feature for each of its words, sorted, of
    all rows: 1 where the row has that word, else 0. `standardize` leaves these as they are. What it takes off and
    divides by, and what `missing: MEAN` puts in, is of all rows of the TRAIN part, whichever part is read; without a
    split_param it is of all rows of the file.

    The first top has a feature a column; the second has the class of each row, or for REGRESSION a number a target.
    """

    source_path: str
    batch: int
    targets: tuple[str, ...] = ()
    features: tuple[str, ...] = ()  # empty: every column that is no target and not excluded
    excluded: tuple[str, ...] = ()
    classes: bool = False  # the target is a class
    shuffle: bool = False
    standardize: bool = False
    standardize_target: bool = False
    missing: str = "STOP"
    phase: Phase = Phase.TEST
    part: Part | None = None

    @classmethod
    def read(
        cls, p: TableDataParameter, transform: TransformationParameter, split: SplitParameter, phase: Phase
    ) -> Self:
        if transform.ByteSize() > 0:
            help = "leave it out; table_data_param { standardize: true } brings columns to a common scale"
            raise LayerError("has no pictures to transform", field="transform_param", help=help)
        if not p.source:
            raise LayerError("has no source", field="table_data_param", help='add table_data_param { source: "FILE" }')
        classes = p.task == TableDataParameter.CLASSIFICATION
        _check_names(p.target, p.feature, p.exclude)
        if classes and len(p.target) > 1:
            raise LayerError(f"CLASSIFICATION has one target, not {len(p.target)}", field="target", help="keep one")
        if classes and p.standardize_target:
            help = "leave it out: a class is no number"
            raise LayerError("standardize_target is for REGRESSION", field="standardize_target", help=help)
        return cls(
            p.source,
            batch_size(p),
            tuple(p.target),
            tuple(p.feature),
            tuple(p.exclude),
            classes,
            p.shuffle,
            p.standardize,
            p.standardize_target,
            TableDataParameter.Missing.Name(p.missing),
            phase,
            part(split, phase),
        )

    def with_tops(self, tops: int) -> Self:
        if tops == 2 and not self.targets:
            help = 'add table_data_param { target: "COLUMN" }, or leave out the second top'
            raise LayerError("has two tops, but no target", field="table_data_param", help=help)
        return self


def _check_names(targets: Sequence[str], features: Sequence[str], excluded: Sequence[str]) -> None:
    """Refuse a column that is named twice."""
    seen: dict[str, str] = {}
    for field, names in (("target", targets), ("feature", features), ("exclude", excluded)):
        for name in names:
            if name in seen:
                other = f"as {seen[name]} and as {field}" if seen[name] != field else f"twice as {field}"
                raise LayerError(f'column "{name}" is named {other}', field=field, help="keep one of them")
            seen[name] = field
