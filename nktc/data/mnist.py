"""MNIST: four idx files, packed by gzip or not, in a folder or an archive."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nktc.data.catalogue import KNOWN
from nktc.data.copies import Copy, Splits
from nktc.data.images import Images
from nktc.data.places import fingerprint, is_archive
from nktc.data.trees import first_names, members
from nktc.errors import NktcError
from nktc.ir import Phase

SET = KNOWN["mnist"]
# md5 of the unpacked files: how they were packed since makes no difference.
SUMS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
PREFIX = {Phase.TRAIN: "train", Phase.TEST: "t10k"}


def find(place: Path) -> Copy | None:
    """The copy in a folder or an archive; None where there is none."""
    if is_archive(place):
        names = {plain(name) for name in first_names(place)}
        if names.issuperset(SUMS):
            return Copy(str(place), fingerprint([place]), lambda: _read(place, dict(members(place))))
        return None
    for folder in (place, place / "raw", place / "MNIST" / "raw"):
        files = {plain(file.name): file for file in sorted(folder.glob("*ubyte*")) if file.is_file()}
        if files.keys() >= SUMS.keys():
            return _in_folder(folder, [files[name] for name in SUMS])
    return None


def plain(name: str) -> str:
    """The name that LeCun's unpacked file has ("train-images-idx3-ubyte")."""
    return name.rpartition("/")[2].removesuffix(".gz").replace(".idx", "-idx")


def _in_folder(folder: Path, files: Sequence[Path]) -> Copy:
    return Copy(str(folder), fingerprint(files), lambda: _read(folder, _unpacked(files)))


def _unpacked(paths: Sequence[Path]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths}


def _read(source: Path, files: dict[str, bytes]) -> Splits:
    arrays = {plain(name): _array(source, name, data) for name, data in files.items() if plain(name) in SUMS}
    return {
        split: Images(
            arrays[f"{prefix}-images-idx3-ubyte"][:, None],
            arrays[f"{prefix}-labels-idx1-ubyte"].astype(np.int64),
        )
        for split, prefix in PREFIX.items()
    }


def _array(source: Path, name: str, data: bytes) -> np.ndarray:
    """u8[..] of an idx file: two zero bytes, the kind of element, the number of axes, their sizes, the
    elements."""
    try:
        data = gzip.decompress(data) if name.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise NktcError(f"{source}/{name} is damaged ({error})") from None
    found = hashlib.md5(data).hexdigest()
    if found != SUMS[plain(name)]:
        raise NktcError(f"{source}/{name} is not MNIST's: its md5 is {found}, not {SUMS[plain(name)]}")
    axes = data[3]
    sizes = np.frombuffer(data, ">u4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(sizes.astype(int))
