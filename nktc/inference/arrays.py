"""Arrays to be inferred: from .npy and .npz files, or handed over in Python.

u8 [n h w 3] or [n h w] are pictures, colours in RGB, where the model takes pictures, and are prepared like image files.
Anything else is fed as it is: [n ...] as the model's input has it, or one item without the n.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from nktc.errors import NktcError, near
from nktc.inference.intake import Intake, Job, Rows, fits, open_times
from nktc.ir import DType, Value, times

NPY, NPZ = b"\x93NUMPY", b"PK"
BROKEN = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def is_arrays(data: bytes) -> bool:
    """Whether the first bytes are those of an .npy or .npz file."""
    return data.startswith((NPY, NPZ))


def of_file(path: Path | bytes, name: str, intake: Intake) -> Iterator[Job]:
    """The rows of an .npy or .npz file, or of its bytes. Raises NktcError."""
    try:
        with io.BytesIO(path) if isinstance(path, bytes) else path.open("rb") as file:
            start = file.read(len(NPY))
            file.seek(0)
            if not is_arrays(start):
                raise NktcError(f"{name} is no .npy or .npz file")
            if start == NPY:
                # From a file its rows come as they are asked for.
                held = np.load(file) if isinstance(path, bytes) else np.load(path, mmap_mode="r")
                arrays = {"": held}
            else:
                with np.load(file) as found:
                    arrays = {key: found[key] for key in _chosen(list(found.keys()), name, intake)}
    except BROKEN as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise NktcError(f"{name} cannot be read as arrays: {reason}") from None
    if len(arrays) == 1 and (len(intake.inputs) == 1 or "" in arrays):
        yield from of_array(next(iter(arrays.values())), name, intake)
    else:
        yield from of_arrays(arrays, name, intake)


def of_array(array: np.ndarray, name: str, intake: Intake) -> Iterator[Job]:
    """The rows of one array, for the one input of the model. Raises NktcError."""
    _numbers(array, name)
    value = intake.only(name)
    prepared = value.dtype is DType.U8 and fits(array.shape[-3:], value.shape[1:])
    if array.dtype == np.uint8 and intake.pictures and not prepared:
        yield from _pictures(array, name, intake)
    elif fits(array.shape[1:], value.shape[1:]) and array.ndim == len(value.shape):
        for i in range(len(array)):
            yield Job(f"{name}#{i}", partial(_row, {value: array[i : i + 1]}))
    elif fits(array.shape, value.shape[1:]):
        yield Job(name, partial(_row, {value: array[None]}))
    else:
        takes = open_times((0, *value.shape[1:]))
        help = "pictures that are to be prepared are u8, height x width x 3, in RGB" if intake.pictures else ""
        raise NktcError(f"{name} is {_said(array)}, the model takes {value.dtype.value} {takes}", help=help)


def of_arrays(arrays: Mapping[str, np.ndarray], name: str, intake: Intake) -> Iterator[Job]:
    """The rows of an array for each input of the model; all of them together where the model's inputs have no batch in
    common. Raises NktcError."""
    given = {}
    for value in intake.inputs:
        if value.name not in arrays:
            raise NktcError(f"{name} has no array for the input {value.name}, it has {', '.join(arrays)}")
        given[value] = arrays[value.name]
        _numbers(given[value], f"{name}: {value.name}")
        if not fits(given[value].shape[1:], value.shape[1:]) or given[value].ndim != len(value.shape):
            takes = f"{value.dtype.value} {open_times(value.shape)}"
            raise NktcError(f"{name}: {value.name} is {_said(given[value])}, the model takes {takes}")
    if len({v.shape[:1] for v in intake.inputs}) == 1 and all(v.shape for v in intake.inputs):
        counts = {len(array) for array in given.values()}
        if len(counts) > 1:
            have = ", ".join(f"{value.name} {len(array)}" for value, array in given.items())
            raise NktcError(f"{name} has different numbers of rows: {have}")
        for i in range(counts.pop()):
            yield Job(f"{name}#{i}", partial(_row, {value: array[i : i + 1] for value, array in given.items()}))
    elif wrong := [value for value, array in given.items() if not fits(array.shape, value.shape)]:
        value = wrong[0]
        raise NktcError(f"{name}: {value.name} is {_said(given[value])}, the model takes {open_times(value.shape)}")
    else:
        yield Job(name, partial(_row, given), whole=True)


def _chosen(keys: list[str], name: str, intake: Intake) -> list[str]:
    """The arrays of an .npz that are fed: those of the inputs' names, or its only one. Raises NktcError."""
    wanted = [value.name for value in intake.inputs]
    if len(wanted) == 1 and len(keys) == 1:
        return keys
    for one in wanted:
        if one not in keys:
            help = near(one, keys) or f"it has {', '.join(keys) or 'none'}"
            raise NktcError(f"{name} has no array for the input {one}; {help}")
    return wanted


def _pictures(array: np.ndarray, name: str, intake: Intake) -> Iterator[Job]:
    """u8 [h w], [h w 3], [n h w] or [n h w 3]."""
    one = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    if not (one or array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))):
        raise NktcError(
            f"{name} is {_said(array)}: pictures of bytes are height x width x 3, in RGB, and what is prepared already"
            " is floats"
        )
    if 0 in array.shape[-3:]:
        raise NktcError(f"{name} is {_said(array)}, which is no picture")
    for i, picture in enumerate([array] if one else array):
        called = name if one else f"{name}#{i}"
        yield Job(called, partial(intake.pixels, picture, "RGB", called))


def _row(arrays: Mapping[Value, np.ndarray]) -> Rows:
    return {value.name: np.array(array, value.dtype.numpy) for value, array in arrays.items()}


def _numbers(array: np.ndarray, name: str) -> None:
    if array.dtype.kind not in "fiub":
        raise NktcError(f"{name} holds {array.dtype}, not numbers that a model takes")


def _said(array: np.ndarray) -> str:
    return f"{array.dtype} {times(array.shape)}"


def of_bytes_or_array(thing: bytes | np.ndarray, name: str, intake: Intake) -> Iterator[Job]:
    """What is in memory: an array, or the bytes of an image file or of arrays. Raises NktcError."""
    if isinstance(thing, np.ndarray):
        yield from of_array(thing, name, intake)
    elif is_arrays(thing):
        yield from of_file(thing, name, intake)
    else:
        yield Job(name, partial(intake.file, thing, name))


def image(path: Path, name: str, intake: Intake) -> Rows:
    """The rows of an image file. Raises NktcError."""
    try:
        return intake.file(path.read_bytes(), name)
    except OSError as error:
        raise NktcError(f"{name} cannot be read ({error.strerror})") from None
