"""What a model is tried on: pictures and arrays, as batches of its inputs."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nktc import data
from nktc.errors import NktcError
from nktc.ir import Preprocessing, Value, list_shape

ARRAYS = (".npz", ".npy")
BROKEN = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for damaged files; zipfile has RuntimeErrors for those that are encrypted or packed otherwise."""

Feeds = dict[str, np.ndarray]


def feeds_from(
    paths: Sequence[Path],
    inputs: Sequence[Value],
    preprocessing: Mapping[str, Preprocessing],
    most: int,
    batch: int,
    name: str,
) -> list[Feeds]:
    """The first `most` records at paths, in batches of at most `batch`: of an .npz or .npy of prepared inputs, or of
    pictures for a model, called `name`, that says how they are prepared. Raises NktcError."""
    arrays = [path for path in paths if path.suffix.lower() in ARRAYS]
    if arrays and len(paths) > 1:
        raise NktcError(
            f"{arrays[0]} holds all inputs: nothing goes with it", help="give one file of arrays, or pictures"
        )
    if arrays:
        given = _arrays(arrays[0], inputs)
        rows = min(most, len(next(iter(given.values()))))
        return [
            {key: array[start : min(rows, start + batch)] for key, array in given.items()}
            for start in range(0, rows, batch)
        ]
    how = preprocessing.get(inputs[0].name) if len(inputs) == 1 else None
    if how is None:
        raise NktcError(f"{name} does not say how pictures become its inputs", help="give prepared inputs as an .npz")
    found = data.find_images(paths)[:most]
    parts = [found[start : start + batch] for start in range(0, len(found), batch)]
    return [{inputs[0].name: data.load_images(part, how).numpy()} for part in parts]


def _arrays(path: Path, inputs: Sequence[Value]) -> Feeds:
    """The inputs by name that a file of arrays holds; an .npy is the only input. Raises NktcError."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else {"": loaded}
    except OSError as error:
        raise NktcError(f"cannot read {path}: {error.strerror or error}") from None
    except BROKEN:
        # What NumPy says is of pickles, whatever is wrong.
        help = "give one that numpy saved, of numbers"
        raise NktcError(f"{path} is damaged, or no .npy or .npz file of arrays", help=help) from None
    if len(inputs) == 1 and len(arrays) == 1:
        arrays = {inputs[0].name: next(iter(arrays.values()))}
    for value in inputs:
        found = arrays.get(value.name)
        if found is None or not _fits(found, value):
            had = ", ".join(f"{key or 'one'} {array.dtype}{list_shape(array.shape)}" for key, array in arrays.items())
            raise NktcError(
                f"{path} has no input {told(value.opened())} but {had or 'nothing'}",
                help="records are along the first axis, and prepared as the net takes them",
            )
    if len({len(arrays[value.name]) for value in inputs}) > 1:
        raise NktcError(f"the inputs in {path} have different numbers of records")
    return {value.name: arrays[value.name].astype(value.dtype.numpy, copy=False) for value in inputs}


def _fits(array: np.ndarray, value: Value) -> bool:
    """Whether an array has records of an input, one or more."""
    if array.dtype.kind not in "biuf" or array.ndim != len(value.shape) or not len(array):
        return False
    return all(n in (m, 0) for m, n in zip(array.shape[1:], value.shape[1:], strict=True))


def told(value: Value) -> str:
    """data f32[any 3 8 8]: an input as messages show it."""
    dims = " ".join("any" if dim == 0 else str(dim) for dim in value.shape)
    return f"{value.name} {value.dtype.value}[{dims}]"
