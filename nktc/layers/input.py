"""Where values come from: Input, Data, Dataset (fed from outside) and DummyData (made here)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import MANY, Filler, Layer, Phase, Shape, Transform
from nktc.layers import settings
from nktc.layers.filler import check_filler, fill
from nktc.schema import (
    SKIP,
    BlobShape,
    DataParameter,
    DatasetParameter,
    DummyDataParameter,
    InputParameter,
    SplitParameter,
    TransformationParameter,
)


def blob_shape(p: BlobShape, field: str = "shape") -> Shape:
    """Dimensions of a BlobShape, all at least 1."""
    if any(dim < 1 for dim in p.dim):
        raise LayerError(f"a dimension is {min(p.dim)}", field=f"{field}.dim", help="dimensions start at 1")
    return tuple(p.dim)


class Input(Layer, param=("input_param", "transform_param"), tops=(1, MANY), source=True):
    """Takes its tops from whoever runs the net. A transform_param tells what a picture goes through to become one."""

    shapes: tuple[Shape, ...] = ()
    transform: Transform | None = None

    @classmethod
    def read(cls, p: InputParameter, transform: TransformationParameter, phase: Phase) -> Self:
        given = transform.ByteSize() > 0
        return cls(tuple(map(blob_shape, p.shape)), settings.transform(transform, resizes=True) if given else None)

    def shape(self) -> list[Shape]:
        if not self.shapes:
            raise LayerError("has no shape", help="add input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } }")
        return list(self.shapes)

    def with_tops(self, tops: int) -> Self:
        return replace(self, shapes=one_each(self.shapes, tops)) if self.shapes else self


def one_each(shapes: Sequence[Shape], tops: int) -> tuple[Shape, ...]:
    """One shape a top; a single shape serves all. Raises LayerError when the numbers differ."""
    if len(shapes) not in (1, tops):
        raise LayerError(f"has {tops} tops but {len(shapes)} shapes", field="shape", help="give one shape a top")
    return tuple(shapes) * (tops if len(shapes) == 1 else 1)


@dataclass(frozen=True)
class Part:
    """The part of its records that a data layer reads: `name` is TRAIN, VALIDATION or TEST. `validation` and `test` are
    the shares of those two, TRAIN has the rest; `seed` draws which record is in which. Of those, the first `records` as
    they were drawn, 0 for all."""

    name: str
    validation: float = 0.0
    test: float = 0.0
    seed: int = 0
    records: int = 0


def part(p: SplitParameter, phase: Phase) -> Part | None:
    """The part that message `p` asks for, None where it says nothing. Raises LayerError."""
    if not p.ByteSize():
        return None
    for name in ("validation", "test"):
        if not 0 <= (share := getattr(p, name)) < 1:
            help = "it is a share of the records: from 0 to below 1"
            raise LayerError(f"{name} is {share:g}", field=f"split_param.{name}", help=help)
    if round(p.validation + p.test, 6) >= 1:  # the shares have six digits
        problem = f"validation {p.validation:g} and test {p.test:g} leave no records to train with"
        raise LayerError(problem, field="split_param.test" if p.test else "split_param.validation")
    by_phase = SplitParameter.TRAIN if phase is Phase.TRAIN else SplitParameter.VALIDATION
    name = SplitParameter.Part.Name(p.part if p.HasField("part") else by_phase)
    if name != "TRAIN" and not getattr(p, name.lower()):
        problem = f"reads its {name} part, whose share is 0"
        field = "split_param.part" if p.HasField("part") else "split_param"
        raise LayerError(problem, field=field, help=f"give its share, {name.lower()}: 0.1, or another part")
    return Part(name, p.validation, p.test, p.seed, p.records)


class Data(Layer, param=("data_param", "transform_param", "split_param"), tops=(1, 2), source=True):
    """Reads records of Datum from an LMDB or LevelDB, in the order of their keys, around and around, or with `shuffle`
    in a new order each epoch.

    With a split_param it reads a part of them alone.
    """

    source_path: str
    batch: int
    backend: str = "LEVELDB"
    transform: Transform = Transform()
    phase: Phase = Phase.TEST
    force_encoded_color: bool = False
    prefetch: int = 4
    part: Part | None = None
    shuffle: bool = False
    skips: bool = False  # a record that cannot be used is replaced by the next that can

    @classmethod
    def read(cls, p: DataParameter, transform: TransformationParameter, split: SplitParameter, phase: Phase) -> Self:
        if not p.source:
            raise LayerError("has no source", field="data_param", help='add data_param { source: "PATH" }')
        return cls(
            p.source,
            batch_size(p),
            DataParameter.DB.Name(p.backend),
            settings.transform(transform, resizes=True, rescales=True),
            phase,
            p.force_encoded_color,
            p.prefetch,
            part(split, phase),
            p.shuffle,
            p.on_bad_record == SKIP,
        )


class Dataset(Layer, param=("dataset_param", "transform_param", "split_param"), tops=(1, 2), source=True):
    """Reads a data set that nktc knows by name, from its cache, a local folder or archive, or its official address.

    Without a `split` it reads that of its phase. With a split_param it reads a part of the split, without a `split` one
    of TRAIN in both phases, so that records can be held out for validation.
    """

    name: str
    batch: int
    split: Phase
    shuffle: bool = False
    stand_in: str = ""
    subtract_mean: str = "NONE"
    transform: Transform = Transform()
    phase: Phase = Phase.TEST
    part: Part | None = None

    @classmethod
    def read(cls, p: DatasetParameter, transform: TransformationParameter, split: SplitParameter, phase: Phase) -> Self:
        if not p.name:
            raise LayerError("names no data set", field="dataset_param", help='add dataset_param { name: "digits" }')
        chosen = part(split, phase)
        return cls(
            p.name,
            batch_size(p),
            Phase(p.split) if p.HasField("split") else Phase.TRAIN if chosen else phase,
            p.shuffle,
            p.stand_in,
            DatasetParameter.Mean.Name(p.subtract_mean),
            settings.transform(transform),
            phase,
            chosen,
        )


class Batched(Protocol):
    """The settings of a data layer."""

    @property
    def batch_size(self) -> int: ...


def batch_size(p: Batched) -> int:
    """The batch_size of a data layer, at least 1."""
    if p.batch_size < 1:
        raise LayerError("has no batch_size", field="batch_size", help="add batch_size: 100 (any number from 1)")
    return p.batch_size


class DummyData(Layer, param="dummy_data_param", tops=(1, MANY)):
    """Makes its tops itself: constants stay, random ones are drawn anew at every forward."""

    shapes: tuple[Shape, ...]
    fillers: tuple[Filler, ...] = (Filler(),)

    @classmethod
    def read(cls, p: DummyDataParameter, phase: Phase) -> Self:
        old = (p.num, p.channels, p.height, p.width)
        if p.shape and any(old):
            raise LayerError("shape and num, channels, height, width are both given", field="shape", help="keep shape")
        shapes: list[Shape] = [blob_shape(shape) for shape in p.shape]
        if any(old):
            for name, dims in zip(("num", "channels", "height", "width"), old, strict=True):
                if min(dims, default=0) < 1:
                    raise LayerError(f"{name} is 0" if dims else f"has no {name}", field=name if dims else "")
            count = max(map(len, old))
            if any(len(dims) not in (1, count) for dims in old):
                raise LayerError("num, channels, height and width differ in how often they are given", field="num")
            stretched: list[Sequence[int]] = [list(dims) * count if len(dims) == 1 else dims for dims in old]
            shapes = list(zip(*stretched, strict=True))
        if not shapes:
            raise LayerError("has no shape", help="add dummy_data_param { shape { dim: 1 dim: 3 } }")
        fillers = tuple(settings.filler(f, "data_filler") for f in p.data_filler) or (Filler(),)
        return cls(tuple(shapes), fillers)

    def shape(self) -> list[Shape]:
        return list(self.shapes)

    def with_tops(self, tops: int) -> Self:
        if len(self.fillers) not in (1, tops):
            raise LayerError(f"has {tops} tops but {len(self.fillers)} fillers", field="data_filler")
        made = replace(self, shapes=one_each(self.shapes, tops))
        for shape, filler in zip(made.shapes, self.fillers * tops, strict=False):
            check_filler(filler, shape)
        return made

    def forward(self) -> Tensor | tuple[Tensor, ...]:
        """-> one tensor a top"""
        fillers = self.fillers * len(self.shapes) if len(self.fillers) == 1 else self.fillers
        made = [fill(torch.empty(shape), filler) for shape, filler in zip(self.shapes, fillers, strict=True)]
        return tuple(made) if len(made) > 1 else made[0]
