"""Writing an HDF5 file that an HDF5Data layer reads: `data` f32[n ...] and `label` f32[n ...]."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from nktc.ir import Shape

BUFFER = 1 << 22  # numbers in memory at a time


class Rows:
    """Rows of one shape on their way into an HDF5 file: appended to plain files first, which an interruption leaves
    whole up to the rows that were counted, and which take a quarter of the room where values are bytes. Raises
    OSError."""

    def __init__(self, folder: Path, rows: int) -> None:
        """`folder` holds `rows` rows already, and perhaps some more that were not counted."""
        folder.mkdir(parents=True, exist_ok=True)
        self._values, self._labels = folder / "values", folder / "labels"
        self._rows = rows

    def append(self, values: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
        """Rows of one shape and kind, u8 or f32, and their labels, f32[] or f32[t]."""
        for file, arrays in ((self._values, values), (self._labels, labels)):
            data = b"".join(array.tobytes() for array in arrays)
            size = len(data) // len(arrays)
            with file.open("r+b" if file.exists() else "wb") as opened:
                opened.truncate(self._rows * size)
                opened.seek(0, os.SEEK_END)
                opened.write(data)
        self._rows += len(values)

    def finish(self, path: Path, shape: Shape, kind: np.dtype, label: Shape) -> None:
        """Write the file; a row is `shape` of `kind`, its label `label`."""
        f32 = np.dtype("<f4")
        data = Numbers(self._values, (self._rows, *shape), kind, f32)
        write_hdf5(path, {"data": data, "label": Numbers(self._labels, (self._rows, *label), f32, f32)})


@dataclass(frozen=True)
class Numbers:
    """An array that lies in a plain file, row after row: its shape, what it holds and what it is to become."""

    file: Path
    shape: Shape
    kind: np.dtype
    written: np.dtype


def write_hdf5(path: Path, arrays: Mapping[str, Numbers]) -> None:
    """An HDF5 file with a dataset for each array, in one piece. Raises OSError."""
    with h5py.File(path, "w") as file:
        places = [_room(file, name, numbers) for name, numbers in arrays.items()]
    for place, numbers in zip(places, arrays.values(), strict=True):
        _copy(path, place, numbers)


def _room(file: h5py.File, name: str, numbers: Numbers) -> int:
    """Make a dataset in one piece, with room in the file that nothing is written to; where in the file it lies."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    groups = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    groups.set_create_intermediate_group(True)  # a name with a slash in it lies in a group
    kind = h5py.h5t.py_create(numbers.written, logical=True)
    space = h5py.h5s.create_simple(numbers.shape)
    place = h5py.h5d.create(file.id, name.encode(), kind, space, settings, groups).get_offset()
    return int(place or 0)  # nothing lies nowhere


def _copy(path: Path, place: int, numbers: Numbers) -> None:
    """Write the numbers of a file into their room, some at a time. The HDF5 library itself would end the process where
    the disk is full."""
    count = math.prod(numbers.shape)
    with path.open("r+b") as file, numbers.file.open("rb") as source:
        file.seek(place)
        for start in range(0, count, BUFFER):
            some = np.fromfile(source, numbers.kind, min(BUFFER, count - start))
            file.write(some.astype(numbers.written).tobytes())
