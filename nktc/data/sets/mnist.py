"""MNIST: four idx files, packed by gzip or not, in a folder or an archive."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.copies import Copy, Splits
from nktc.data.sets.four_files import TRAIN_LABELS, FourFiles, find_four, plain, splits
from nktc.data.sets.idx import parse_idx, unpacked
from nktc.errors import NktcError

SET = KNOWN["mnist"]
# md5 of the unpacked files: how they were packed since makes no difference.
SUMS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def find(place: Path) -> Copy | None:
    """The copy in a folder or an archive; None where there is none, or another set under the same names."""
    four = find_four(place)
    if four is None or _is_another(four):
        return None
    return Copy(str(four.place), four.key, lambda: _read(four))


def is_mnist(name: str, data: bytes) -> bool:
    """Whether it is one of MNIST's files, packed or not. Raises NktcError for one that is damaged."""
    return hashlib.md5(unpacked(data, name)).hexdigest() == SUMS.get(plain(name))


def _is_another(four: FourFiles) -> bool:
    """Whether they are sound files and not MNIST's; files that are damaged are told of when they are read."""
    try:
        labels = four.labels()
        parse_idx(labels, TRAIN_LABELS)
        return not is_mnist(TRAIN_LABELS, labels)
    except (NktcError, OSError):
        return False


def _read(four: FourFiles) -> Splits:
    def check(name: str, data: bytes) -> None:
        found = hashlib.md5(unpacked(data, f"{four.place}/{name}")).hexdigest()
        if found != SUMS[plain(name)]:
            raise NktcError(f"{four.place}/{name} is not MNIST's: its md5 is {found}, not {SUMS[plain(name)]}")

    return splits(four, check)
