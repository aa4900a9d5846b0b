"""Datum: one record of a data set, a picture or a vector and its label."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from nktc.data.images import ANY, decode
from nktc.schema import Datum


class BadDatum(ValueError):
    """What is wrong with a record; whoever read it knows its key."""


@dataclass(frozen=True, eq=False)
class Record:
    """values u8[c h w], or f32[c h w] where the Datum holds floats."""

    values: np.ndarray
    label: int


def parse(data: bytes, order: str = ANY) -> Record:
    """The record in the bytes of a Datum. An encoded picture is decoded to planes in `order`: BGR, RGB, GRAY,
    or ANY for what the file has; values that are not encoded are taken as they are. Raises BadDatum."""
    datum = Datum()
    try:
        datum.ParseFromString(data)
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
