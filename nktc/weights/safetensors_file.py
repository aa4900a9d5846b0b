"""Reads .safetensors files: a length, a header of JSON, and the numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from nktc.errors import NktcError
from nktc.weights.entry import Entry

MOST_HEADER = 1 << 24  # bytes
MOST_AXES = 32
TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of an f32
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "u1",
}
TOGETHER = 1 << 22  # numbers copied at a time


def is_safetensors(data: memoryview) -> bool:
    """Whether a file's first bytes are those of this format."""
    return len(data) > 9 and int.from_bytes(data[:8], "little") <= len(data) - 8 and data[8] == ord("{")


def entries(data: memoryview, behind: Callable[[], None]) -> dict[str, Entry]:
    """The weights of a file by their names; `behind` is called after every few MiB that are read. Raises NktcError."""
    size = int.from_bytes(data[:8], "little")
    if size > MOST_HEADER:
        raise NktcError(f"its header of {size} bytes is longer than {MOST_HEADER}")
    try:
        header = json.loads(bytes(data[8 : 8 + size]))
    except (ValueError, RecursionError):
        raise NktcError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise NktcError("its header names no weights")
    numbers = data[8 + size :]
    return {name: _entry(name, told, numbers, behind) for name, told in header.items() if name != "__metadata__"}


def _entry(name: str, told: Any, data: memoryview, behind: Callable[[], None]) -> Entry:
    wrong = NktcError(f'its header does not tell where "{name}" is')
    if not isinstance(told, dict):
        raise wrong
    shape, offsets, kind = _whole(told.get("shape")), _whole(told.get("data_offsets")), told.get("dtype")
    if shape is None or len(shape) > MOST_AXES or offsets is None or len(offsets) != 2:
        raise wrong
    if not isinstance(kind, str) or kind not in TYPES:
        raise NktcError(f'"{name}" is of the type {kind}, which cannot be read')
    start, end = offsets
    dtype = np.dtype(TYPES[kind])
    if not start <= end <= len(data) or end - start != math.prod(shape) * dtype.itemsize:
        raise NktcError(f'"{name}" of shape {shape} and type {kind} has the bytes {start} to {end} of {len(data)}')
    return Entry(tuple(shape), kind.lower(), partial(_read, data[start:end], dtype, kind, tuple(shape), behind))


def _whole(numbers: Any) -> list[int] | None:
    """A list of numbers from 0 on, None for anything else."""
    well = isinstance(numbers, list) and all(type(one) is int and one >= 0 for one in numbers)
    return numbers if well else None


def _read(
    data: memoryview, dtype: np.dtype, kind: str, shape: tuple[int, ...], behind: Callable[[], None]
) -> np.ndarray:
    found, held = np.empty(math.prod(shape), np.float32), np.frombuffer(data, dtype)
    for start in range(0, len(held), TOGETHER):
        piece = held[start : start + TOGETHER]
        if kind == "BF16":
            piece = (piece.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):
            found[start : start + len(piece)] = piece
        behind()
    return found.reshape(shape)
