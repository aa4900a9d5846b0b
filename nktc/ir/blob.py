"""Blobs as files hold them: BlobProtos, as messages and as they lie in a file's bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np

from nktc import wire
from nktc.errors import NktcError
from nktc.schema import BlobProto

MOST_AXES = 32  # Caffe's kMaxBlobAxes
TOGETHER = 1 << 22  # numbers copied at a time
PACKED = (5, 6, 8, 9)  # data, diff, double_data, double_diff
LEGACY: dict[int, Literal["num", "channels", "height", "width"]] = {1: "num", 2: "channels", 3: "height", 4: "width"}
C3D = 5  # axes of a blob of C3D-1.0, which has a length before height and width, and the numbers behind them
RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}  # NVIDIA Caffe's Type
NAMES = {"<f8": "f64", "<f4": "f32", "<f2": "f16"}


class StoredBlob(NamedTuple):
    """A blob where it lies: its shape, the type of its numbers ("f32", "f64", "f16"), and their bytes."""

    shape: tuple[int, ...]
    dtype: str
    parts: tuple[np.ndarray, ...]

    def array(self, behind: Callable[[], None] = lambda: None) -> np.ndarray:
        """The numbers, copied to an array of f32; `behind` is called after every few MiB of them."""
        found = np.empty(math.prod(self.shape), np.float32)
        at = 0
        # A double beyond the range of a float is infinite, as it is in Caffe.
        with np.errstate(over="ignore", invalid="ignore"):
            for part in self.parts:
                for start in range(0, len(part), TOGETHER):
                    piece = part[start : start + TOGETHER]
                    found[at : at + len(piece)] = piece
                    at += len(piece)
                    behind()
        return found.reshape(self.shape)


@dataclass
class _Read:
    """What the fields of a BlobProto told."""

    legacy: dict[int, int] = field(default_factory=dict)
    dims: list[int] | None = None
    singles: list[np.ndarray] = field(default_factory=list)
    doubles: list[np.ndarray] = field(default_factory=list)
    raw_type: int | None = None
    raw: memoryview | None = None


def stored_blob(data: memoryview) -> StoredBlob:
    """A BlobProto's blob by its bytes: data, double_data or NVIDIA Caffe's raw_data, in today's shape or the four old
    dimensions, or the five of C3D-1.0; fields of other forks are passed over. Raises NktcError."""
    read = _Read()
    for found in wire.fields(data, packed=PACKED):
        match found.number, found.view:
            case 5, memoryview():
                read.singles.append(wire.numbers(found, "<f4"))
            case 8, memoryview():
                read.doubles.append(wire.numbers(found, "<f8"))
            case 6, memoryview() if C3D in read.legacy:
                read.singles.append(wire.numbers(found, "<f4"))
            case 7, memoryview() as shape if C3D not in read.legacy:
                read.dims = [*(read.dims or []), *_dims(shape)]
            case 12, memoryview() as raw:
                read.raw = raw
            case 10, None:
                (read.raw_type,) = wire.varints(found)
            case number, None if number <= C3D and found.kind == wire.VARINT:
                read.legacy[number] = wire.signed(*wire.varints(found))
    return _blob(read)


def _blob(read: _Read) -> StoredBlob:
    dtype, parts = "<f4", tuple(read.singles)
    if any(map(len, read.doubles)):
        dtype, parts = "<f8", tuple(read.doubles)
    elif read.raw is not None and not any(map(len, parts)):
        if read.raw_type not in RAW_TYPES:
            raise NktcError(f"its raw_data is of the type {read.raw_type}, not of DOUBLE, FLOAT or FLOAT16")
        dtype = RAW_TYPES[read.raw_type]
        parts = (wire.numbers(wire.Field(12, wire.BYTES, read.raw), dtype),)
    return StoredBlob(_shape(read.legacy, read.dims, sum(map(len, parts))), NAMES[dtype], parts)


def array(blob: BlobProto) -> np.ndarray:
    """The blob's data as f32 in its shape; old blobs have num, channels, height, width instead of a shape. Raises
    NktcError."""
    with np.errstate(over="ignore"):
        found = np.asarray(blob.double_data if blob.double_data else blob.data, dtype=np.float32)
    legacy = {number: getattr(blob, name) for number, name in LEGACY.items() if blob.HasField(name)}
    return found.reshape(_shape(legacy, list(blob.shape.dim) if blob.HasField("shape") else None, len(found)))


def _dims(shape: memoryview) -> list[int]:
    """The dimensions of a BlobShape."""
    told = (dim for found in wire.fields(shape) if found.number == 1 for dim in wire.varints(found))
    dims = [*islice(told, MOST_AXES + 1)]
    if len(dims) > MOST_AXES:
        raise NktcError(f"a blob has more than {MOST_AXES} axes")
    return [wire.signed(dim) for dim in dims]


def _shape(legacy: dict[int, int], dims: list[int] | None, count: int) -> tuple[int, ...]:
    """The shape of a blob of so many numbers. As in Caffe the four old dimensions go first, even beside a shape."""
    axes = range(1, 1 + (C3D if C3D in legacy else len(LEGACY)))
    shape = tuple(legacy.get(axis, 0) for axis in axes) if legacy else (count,) if dims is None else tuple(dims)
    if len(shape) > MOST_AXES or any(dim < 0 for dim in shape) or math.prod(shape) != count:
        raise NktcError(f"a blob of shape {list(shape[:MOST_AXES])} holds {count} numbers")
    return shape
