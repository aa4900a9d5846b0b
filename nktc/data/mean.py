"""Mean images: of a database, and in .binaryproto files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nktc.data.databases.backends import open_database
from nktc.data.databases.datum import BadDatum, parse
from nktc.data.progress import progress
from nktc.errors import LayerError, NktcError
from nktc.files import Mapped, find_file, write_bytes
from nktc.ir import Transform, size, stored_blob, times
from nktc.schema import BlobProto

TOGETHER = 1000  # records read at a time


def read_mean(path: Path, axes: int = 3) -> np.ndarray:
    """The array of a .binaryproto, f32[c h w] or of other `axes`; a leading axis of 1 is dropped. Raises NktcError."""
    file = Mapped(path, "mean file")
    try:
        blob = stored_blob(file.view)
    except NktcError as error:
        raise NktcError(f"mean file {path} holds no BlobProto: {error.message}") from None
    shape = blob.shape
    while len(shape) > axes and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != axes:
        what = "image" if axes == 3 else "clip"
        raise NktcError(f"mean file {path} holds {size(shape)} values of shape {times(blob.shape)}, not one {what}")
    return blob.array().reshape(shape)


def file_mean(transform: Transform, folder: Path, axes: int = 3) -> np.ndarray | None:
    """The picture in a transform's mean_file, f32[c h w] or of other `axes`; None where it names none. Raises
    LayerError."""
    if not transform.mean_file:
        return None
    try:
        return read_mean(find_file(transform.mean_file, folder), axes)
    except NktcError as error:
        raise LayerError(error.message, field="mean_file", help=error.help) from None


def write_mean(path: Path, mean: np.ndarray) -> None:
    """f32[c h w] into a .binaryproto, with the four old dimensions that every Caffe reads."""
    blob = BlobProto(num=1, channels=mean.shape[0], height=mean.shape[1], width=mean.shape[2])
    blob.data.extend(mean.astype(np.float32).ravel().tolist())
    write_bytes(path, blob.SerializeToString())


def database_mean(path: Path) -> np.ndarray:
    """Mean image of an LMDB or LevelDB, f32[c h w], summed in double precision. Raises NktcError for records
    that cannot be read and for images of different sizes."""
    database = open_database(path)
    total: np.ndarray | None = None
    with progress(f"averaging {path.name}", database.records) as advance:
        for start in range(0, max(1, database.records), TOGETHER):
            count = min(TOGETHER, database.records - start)
            for i, (key, value) in enumerate(database.read(start, count)):
                try:
                    values = parse(value).values
                except BadDatum as error:
                    raise bad_record(path, start + i, key, str(error)) from None
                if total is None:
                    total = np.zeros(values.shape, np.float64)
                elif values.shape != total.shape:
                    what = f"it is {times(values.shape)}, the first one is {times(total.shape)}"
                    raise bad_record(path, start + i, key, what)
                total += values
            advance(count)
    assert total is not None, "a database without records cannot be read from"
    return (total / database.records).astype(np.float32)


def bad_record(path: Path, position: int, key: bytes, what: str) -> NktcError:
    """What is wrong with the record at a position, counted from 0."""
    return NktcError(f'{path}: record {position}, key "{key.decode(errors="backslashreplace")}": {what}')
