"""The four idx files that MNIST and sets made in its likeness come as, in a folder or an archive.

All of these sets call their files the same, so that whoever finds them looks into the labels of the training split.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nktc.data.images import Images
from nktc.data.places import fingerprint, is_archive
from nktc.data.sets.copies import Splits
from nktc.data.sets.idx import parse_idx
from nktc.data.trees import first_names, members
from nktc.errors import NktcError
from nktc.files import read_bytes
from nktc.ir import Phase

PREFIX = {Phase.TRAIN: "train", Phase.TEST: "t10k"}
TRAIN_LABELS = "train-labels-idx1-ubyte"
FILES = tuple(
    name for prefix in PREFIX.values() for name in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
)


@dataclass(frozen=True)
class FourFiles:
    """`place` is the folder or the archive; `key` changes with the files. `read` gives their contents, packed or not,
    with the names they have, `labels` those of the training labels alone."""

    place: Path
    key: str
    read: Callable[[], Mapping[str, bytes]]
    labels: Callable[[], bytes]


def find_four(place: Path) -> FourFiles | None:
    """The four files in a folder or an archive; None where they are not all there."""
    if is_archive(place):
        if not {plain(name) for name in first_names(place)}.issuperset(FILES):
            return None
        return FourFiles(place, fingerprint([place]), lambda: _of_archive(place), lambda: _labels_of_archive(place))
    for folder in (place, place / "raw", place / "MNIST" / "raw", place / "FashionMNIST" / "raw"):
        try:
            inside = sorted(name for name in os.listdir(folder) if "ubyte" in name)
        except OSError:
            continue
        files = {plain(name): folder / name for name in inside if os.path.isfile(folder / name)}
        if files.keys() >= set(FILES):
            return _in_folder(folder, {name: files[name] for name in FILES})
    return None


def plain(name: str) -> str:
    """The name that LeCun's unpacked file has ("train-images-idx3-ubyte")."""
    return name.rpartition("/")[2].removesuffix(".gz").replace(".idx", "-idx")


def _in_folder(folder: Path, files: Mapping[str, Path]) -> FourFiles:
    return FourFiles(
        folder,
        fingerprint(list(files.values())),
        lambda: {file.name: read_bytes(file, "file") for file in files.values()},
        lambda: read_bytes(files[TRAIN_LABELS], "file"),
    )


def _of_archive(archive: Path) -> Mapping[str, bytes]:
    return {name: data for name, data in members(archive) if plain(name) in FILES}


def _labels_of_archive(archive: Path) -> bytes:
    return next((data for name, data in members(archive) if plain(name) == TRAIN_LABELS), b"")


def splits(four: FourFiles, check: Callable[[str, bytes], None] | None = None) -> Splits:
    """Pictures u8[n 1 h w] and labels of both splits. `check` is called with each file's name and contents first, and
    raises for one that is not the set's. Raises NktcError."""
    arrays: dict[str, np.ndarray] = {}
    for name, data in four.read().items():
        if check:
            check(name, data)
        arrays[plain(name)] = parse_idx(data, f"{four.place}/{name}")
    found = {}
    for split, prefix in PREFIX.items():
        pictures, labels = arrays[f"{prefix}-images-idx3-ubyte"], arrays[f"{prefix}-labels-idx1-ubyte"]
        if pictures.ndim != 3 or labels.shape != pictures.shape[:1]:
            raise NktcError(
                f"{four.place}: the {prefix} files do not fit: {pictures.shape} pictures, {labels.shape} labels"
            )
        found[split] = Images(pictures[:, None], labels.astype(np.int64))
    return found
