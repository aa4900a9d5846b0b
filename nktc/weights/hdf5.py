"""HDF5 files, Caffe's and damaged ones: groups, links and sizes are looked at before anything is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from nktc.errors import NktcError
from nktc.weights.entry import Budget, Entry, Holder

MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_BLOBS = 1 << 10  # of a layer
MOST_DEPTH = 32  # groups in one another: a layer's name with slashes is a path of groups
HARM = (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError)  # what h5py raises


@contextmanager
def opened(path: Path, kind: str) -> Iterator[h5py.File]:
    """The file, for reading; `kind` is its ending, for the error. Raises NktcError."""
    with harm(path, kind):
        file = h5py.File(path, "r")
    with file:
        yield file


@contextmanager
def harm(path: str | Path, kind: str) -> Iterator[None]:
    """Says in words what h5py raises for a damaged file."""
    try:
        yield
    except HARM as error:
        said = str(error).partition("\n")[0] or "it needs more memory than there is"
        raise NktcError(f"{path} is not a whole {kind}: {said}") from None


def layers(file: h5py.File, path: Path) -> dict[str, Holder]:
    """The layers of a .caffemodel.h5, by name. Raises NktcError, and what h5py raises."""
    data = member(file, "data") if "data" in file else None
    if not isinstance(data, h5py.Group):
        help = "it is the state of a solver: nktc train --snapshot goes on from it" if "history" in file else ""
        raise NktcError(f"{path} has no group /data, so it is no .caffemodel.h5", help=help)
    return dict(_layers(data, "", Reading(path, ".caffemodel.h5", Budget(os.path.getsize(path)), set()), 0))


def member(group: h5py.Group, key: str | bytes) -> h5py.Group | h5py.Dataset:
    """What a group has of that name, itself and no link to somewhere else. Raises ValueError."""
    link = group.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{os.fsdecode(key)} is a link to somewhere else")
    return group[key]


class Reading(NamedTuple):
    """A file that is read: its name and its ending for errors, how much memory it may take, and the groups seen."""

    path: Path
    kind: str
    budget: Budget
    seen: set[h5py.Group]


def entry(dataset: h5py.Dataset, reading: Reading) -> Entry:
    """A dataset of numbers, its size and its place looked at. Raises NktcError and ValueError."""
    name = str(dataset.name)
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"the numbers of {name} lie in another file")
    if dataset.dtype.kind not in "fiu" or dataset.shape is None:
        raise ValueError(f"{name} holds {dataset.dtype}, not numbers")
    reading.budget.take(dataset.shape, name)
    if dataset.chunks:
        # A chunk is unpacked whole.
        Budget(reading.budget.size).take(dataset.chunks, f"a chunk of {name}", dataset.dtype.itemsize)
    dtype = f"{dataset.dtype.kind}{8 * dataset.dtype.itemsize}"
    return Entry(tuple(dataset.shape), dtype, partial(_read, dataset, reading))


def _read(dataset: h5py.Dataset, reading: Reading) -> np.ndarray:
    found = np.empty(dataset.shape, np.float32)
    with harm(reading.path, reading.kind):
        if found.ndim and found.size:
            dataset.read_direct(found)
        elif found.size:
            found[()] = dataset[()]
    return found


def _layers(group: h5py.Group, prefix: str, reading: Reading, depth: int) -> Iterator[tuple[str, Holder]]:
    """A layer's group has datasets 0, 1, …; a layer name with slashes is a path of groups."""
    if depth > MOST_DEPTH:
        raise ValueError(f"more than {MOST_DEPTH} groups lie in one another")
    if group in reading.seen:
        raise ValueError(f"the group {group.name} is there twice")
    reading.seen.add(group)
    members = {os.fsdecode(key): member(group, key) for key in group}  # a key that is not UTF-8 comes as bytes
    numbered = {int(key): entry(one, reading) for key, one in members.items() if isinstance(one, h5py.Dataset)}
    if numbered:
        count = max(numbered) + 1
        if min(numbered) < 0 or count > MOST_BLOBS:
            raise ValueError(f"{prefix} has a blob {count - 1}")
        yield prefix, Holder("", [numbered.get(i) for i in range(count)])
    for key, inner in members.items():
        if isinstance(inner, h5py.Group):
            yield from _layers(inner, f"{prefix}/{key}" if prefix else key, reading, depth + 1)
