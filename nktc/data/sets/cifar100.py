"""CIFAR-100: the official binary files train.bin and test.bin, packed or not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nktc.data.images import Images
from nktc.data.places import fingerprint, is_archive
from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.copies import Copy, Splits
from nktc.data.trees import first_names, members
from nktc.errors import NktcError
from nktc.files import read_bytes
from nktc.ir import Phase

SET = KNOWN["cifar100"]
FILES = {Phase.TRAIN: "train.bin", Phase.TEST: "test.bin"}
UNPACKED = "cifar-100-binary"
RECORD = 2 + 3 * 32 * 32  # bytes: the coarse label, the fine one, then the red, green and blue plane


def find(place: Path) -> Copy | None:
    """The copy in a folder or an archive; None where there is none."""
    if is_archive(place):
        names = {name.rpartition("/")[2] for name in first_names(place)}
        if names.issuperset(FILES.values()):
            return Copy(str(place), fingerprint([place]), lambda: _read(place, _packed(place)))
        return None
    for folder in (place, place / UNPACKED):
        files = [folder / name for name in FILES.values()]
        if all(os.path.isfile(file) for file in files) and (folder.name == UNPACKED or _fit(files)):
            return _unpacked_copy(folder, files)
    return None


def _fit(files: list[Path]) -> bool:
    """Whether they have CIFAR-100's sizes: other things are called train.bin and test.bin too."""
    sizes = [SET.sizes[split] * RECORD for split in FILES]
    return [os.path.getsize(file) for file in files] == sizes


def _unpacked_copy(folder: Path, files: list[Path]) -> Copy:
    return Copy(
        str(folder), fingerprint(files), lambda: _read(folder, {file.name: read_bytes(file, "file") for file in files})
    )


def _packed(archive: Path) -> Mapping[str, bytes]:
    wanted = FILES.values()
    return {name.rpartition("/")[2]: data for name, data in members(archive) if name.rpartition("/")[2] in wanted}


def _read(source: Path, files: Mapping[str, bytes]) -> Splits:
    """Records of the official files, in their order; the classes are the fine labels."""
    splits = {}
    for split, name in FILES.items():
        data, wanted = files.get(name, b""), SET.sizes[split] * RECORD
        if len(data) != wanted:
            size = f"has {len(data)} bytes" if name in files else "is missing"
            raise NktcError(f"{source}: {name} {size}, CIFAR-100's has {wanted}")
        records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
        labels = records[:, 1].astype(np.int64)
        if labels.max() >= len(SET.labels):
            raise NktcError(f"{source}: {name} has a label {labels.max()}, CIFAR-100's are 0 to {len(SET.labels) - 1}")
        splits[split] = Images(records[:, 2:].reshape(-1, *SET.image), labels)
    return splits
