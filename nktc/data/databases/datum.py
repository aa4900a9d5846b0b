"""Datum: one record of a data set, a picture or a vector and its label."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from nktc.data.images import ANY, decode
from nktc.ir import Shape
from nktc.schema import Datum


class BadDatum(ValueError):
    """What is wrong with a record; whoever read it knows its key."""


@dataclass(frozen=True, eq=False)
class Record:
    """values u8[c h w], or f32[c h w] where the Datum holds floats."""

    values: np.ndarray
    label: int


def parse(data: bytes | memoryview, order: str = ANY) -> Record:
    """The record in the bytes of a Datum. An encoded picture is decoded to planes in `order`: BGR, RGB, GRAY,
    or ANY for what the file has; values that are not encoded are taken as they are. Raises BadDatum."""
    datum = Datum()
    try:
        datum.ParseFromString(bytes(data))
    except DecodeError:
        raise BadDatum(f"its {len(data)} bytes are no Datum") from None
    if datum.encoded:
        picture = decode(datum.data, order)
        if picture is None:
            raise BadDatum("its picture cannot be decoded")
        return Record(picture, datum.label)
    shape = (datum.channels, datum.height, datum.width)
    raw = datum.data
    if min(shape) < 1:
        raise BadDatum(f"its size is {shape[0]}x{shape[1]}x{shape[2]}")
    values = np.frombuffer(raw, np.uint8) if raw else np.array(datum.float_data, np.float32)
    if values.size != math.prod(shape):
        raise BadDatum(
            f"it holds {values.size} values, its size {shape[0]}x{shape[1]}x{shape[2]} needs {math.prod(shape)}"
        )
    return Record(values.reshape(shape), datum.label)


def is_encoded(data: bytes | memoryview) -> bool:
    """Whether a Datum holds a whole image file; False for what is no Datum."""
    try:
        return bool(Datum.FromString(bytes(data)).encoded)
    except DecodeError:
        return False


@dataclass(frozen=True, eq=False)
class Alike:
    """Records of one size that lie in a file: where their pixels begin i64[n], labels f32[n], [c h w] of each. Most lie
    `step` bytes behind the one before; `breaks` are those that do not, rising."""

    begin: np.ndarray
    labels: np.ndarray
    shape: Shape
    step: int
    breaks: np.ndarray

    def part(self, first: int, end: int) -> Alike:
        """Those from `first` to before `end`."""
        low, high = np.searchsorted(self.breaks, (first + 1, end))
        breaks = self.breaks[low:high] - first
        return Alike(self.begin[first:end], self.labels[first:end], self.shape, self.step, breaks)

    def pixels(self, file: np.ndarray) -> np.ndarray:
        """A copy of them, u8[n c h w]. Those that lie at equal distances, as records do that were written one after
        another, are copied together."""
        begin, size = self.begin, math.prod(self.shape)
        found = np.empty((len(begin), size), np.uint8)
        if len(self.breaks) > len(begin) // 8 + 1 or self.step < size:
            for row, at in zip(found, begin.tolist(), strict=True):
                row[:] = file[at : at + size]
        else:
            start = 0
            for end in (*self.breaks.tolist(), len(begin)):
                view = np.ndarray((end - start, size), np.uint8, file, int(begin[start]), (self.step, 1))
                found[start:end] = view
                start = end
        return found.reshape(-1, *self.shape)


def find_alike(file: np.ndarray, begin: np.ndarray, length: np.ndarray) -> Alike | None:
    """Records that all hold pixels of one size and are written as Caffe writes them, field after field; None where they
    are not, or anything is unusual: `parse` knows more.

    They begin in file u8[..] at i64[n] and are i64[n] long. Nothing is done for each record alone, so this takes little
    more than copying them.
    """
    layout = _layout(file[begin[0] : begin[0] + length[0]].tobytes())
    if layout is None:
        return None
    head, shape, count = layout
    ends = begin + head + count
    if (length <= head + count).any() or int((begin + length).max()) > len(file):
        return None
    heads = file[begin[:, None] + np.arange(head)]
    if (heads != heads[0]).any():
        return None
    labels = np.zeros(len(begin), np.float32)
    for tail in np.unique(length).tolist():
        alike = np.flatnonzero(length == tail)
        found = _labels(file[ends[alike, None] + np.arange(tail - head - count)])
        if found is None:
            return None
        labels[alike] = found
    steps = np.diff(begin)
    step = int(np.median(steps)) if len(steps) else count
    return Alike(begin + head, labels, shape, step, np.flatnonzero(steps != step) + 1)


def _layout(record: bytes) -> tuple[int, Shape, int] | None:
    """Bytes before the pixels of a Datum, its shape, the bytes of its pixels; None for one written otherwise."""
    at, dims = 0, []
    for tag in (0x08, 0x10, 0x18, 0x22):  # channels, height, width, and how many bytes of data follow
        if at >= len(record) or record[at] != tag:
            return None
        value, at = _varint(record, at + 1)
        dims.append(value)
    *shape, count = dims
    return (at, tuple(shape), count) if count and math.prod(shape) == count else None


def _varint(record: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it; -1 for one that is longer than a size."""
    value = 0
    for i, byte in enumerate(record[at : at + 5]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    return -1, at


def _labels(tails: np.ndarray) -> np.ndarray | None:
    """Labels i64[n] in what follows the pixels, u8[n bytes]: the label and, perhaps, that nothing is encoded."""
    if tails.shape[1] > 3 and (tails[:, -2:] == (0x38, 0)).all():
        tails = tails[:, :-2]
    more = tails[:, 1:] >= 0x80
    if tails.shape[1] < 2 or (tails[:, 0] != 0x28).any() or not more[:, :-1].all() or more[:, -1].any():
        return None
    if tails.shape[1] > 6:  # ten bytes: a negative number
        return None
    shifts = 7 * np.arange(tails.shape[1] - 1)
    labels: np.ndarray = ((tails[:, 1:].astype(np.int64) & 0x7F) << shifts).sum(axis=1)
    return labels if (labels < 2**31).all() else None


def pack(values: np.ndarray, label: int) -> bytes:
    """The bytes of a Datum of u8[c h w] or, as float_data, of any other numbers; those that Caffe itself writes."""
    channels, height, width = values.shape
    datum = Datum(channels=channels, height=height, width=width, label=label, encoded=False)
    if values.dtype == np.uint8:
        datum.data = values.tobytes()
    else:
        datum.float_data.extend(values.astype(np.float32).ravel().tolist())
    return bytes(datum.SerializeToString())


def pack_encoded(picture: bytes, label: int) -> bytes:
    """The bytes of a Datum that holds a whole image file."""
    return bytes(Datum(data=picture, label=label, encoded=True).SerializeToString())
