"""Arrays as BlobProtos on the wire, written without a copy of their numbers; and arrays in another shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nktc.errors import NktcError
from nktc.files import atomic
from nktc.schema import BlobProto, BlobShape
from nktc.wire import MOST, Part, field, size

PRODUCER = "nktc"
"""Of the binary nets written here: their definition is in nktc's dialect of Caffe's schema, and no fork's."""


def blob(values: np.ndarray) -> BlobProto:
    """The message of an array, single precision."""
    return BlobProto.FromString(b"".join(packed(values)))


def packed(values: np.ndarray, diff: np.ndarray | None = None) -> list[Part]:
    """A BlobProto with these numbers, f32, and with `diff`, which has as many."""
    shape = BlobShape(dim=values.shape).SerializeToString()
    parts = _numbers(BlobProto.DATA_FIELD_NUMBER, values)
    if diff is not None:
        parts += _numbers(BlobProto.DIFF_FIELD_NUMBER, diff)
    return [*parts, *field(BlobProto.SHAPE_FIELD_NUMBER, [shape])]


def write(path: Path, parts: Sequence[Part]) -> None:
    """Write a message atomically. Raises NktcError where it is larger than any protobuf reader takes."""
    if size(parts) > MOST:
        raise NktcError(f"{path} would have more than 2 GB, which protobuf cannot read", help="snapshot_format: HDF5")
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.writelines(parts)


def fit(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in `shape` where only leading axes of 1 differ, as in blobs of old files; None where it is another."""
    return values.reshape(shape) if fits(values.shape, shape) else None


def fits(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes differ in leading axes of 1 alone."""
    return _stripped(shape) == _stripped(other)


def _numbers(number: int, values: np.ndarray) -> list[Part]:
    return field(number, [np.ascontiguousarray(values, "<f4").data]) if values.size else []


def _stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    first = next((i for i, dim in enumerate(shape) if dim != 1), len(shape))
    return tuple(shape[first:])
