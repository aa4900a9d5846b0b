"""Writing an HDF5 file that an HDF5Data layer reads: `data` f32[n ...] and `label` f32[n ...]."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
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
        data, labels = (self._rows, *shape), (self._rows, *label)
        with h5py.File(path, "w") as file:
            places = _room(file, "data", data), _room(file, "label", labels)
        _copy(path, places[0], self._values, math.prod(data), kind)
        _copy(path, places[1], self._labels, math.prod(labels), np.dtype(np.float32))


def _room(file: h5py.File, name: str, shape: Shape) -> int:
    """Make a dataset, f32 in one piece, with room in the file that nothing is written to; where in the file it lies."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    return int(h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, settings).get_offset())


def _copy(path: Path, place: int, source: Path, count: int, kind: np.dtype) -> None:
    """Write `count` numbers of a file into their room, some at a time. The HDF5 library itself would end the process
    where the disk is full."""
    with path.open("r+b") as file, source.open("rb") as numbers:
        file.seek(place)
        for start in range(0, count, BUFFER):
            some = np.fromfile(numbers, kind, min(BUFFER, count - start))
            file.write(some.astype("<f4").tobytes())
