"""Fashion-MNIST: four idx files that are called as MNIST's, in a folder or an archive.

The official files are known by their checksums, as they were packed. Files that were unpacked, or packed anew, are
taken where they lie in a place that is called for the set, when they are sound and not MNIST's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.copies import Copy, Splits
from nktc.data.sets.four_files import TRAIN_LABELS, FourFiles, find_four, splits
from nktc.data.sets.idx import parse_idx
from nktc.data.sets.mnist import is_mnist
from nktc.errors import NktcError
from nktc.ir import Phase, times

SET = KNOWN["fashion-mnist"]
SUMS = {download.sum.removeprefix("md5:") for download in SET.downloads}
CALLED = "fashion"


def find(place: Path) -> Copy | None:
    """The copy in a folder or an archive; None where there is none, or nothing tells it from a set of the same form."""
    return _find(place, False)


def find_named(place: Path) -> Copy | None:
    """The same in a place that the user says holds it."""
    return _find(place, True)


def _find(place: Path, called: bool) -> Copy | None:
    four = find_four(place)
    if four is None or not _is_it(four, called or _is_called(four.place)):
        return None
    return Copy(str(four.place), four.key, lambda: _read(four))


def _is_called(place: Path) -> bool:
    """Whether the folder, the archive or a folder around it is called for the set ("FashionMNIST/raw")."""
    return any(CALLED in part.lower() for part in place.resolve().parts[-3:])


def _is_it(four: FourFiles, called: bool) -> bool:
    try:
        labels = four.labels()
        return _official(labels) or (called and not is_mnist(TRAIN_LABELS, labels))
    except (NktcError, OSError):
        return called  # Damage is told of when it is read.


def _official(data: bytes) -> bool:
    return hashlib.md5(data).hexdigest() in SUMS


def _read(four: FourFiles) -> Splits:
    def check(name: str, data: bytes) -> None:
        file = f"{four.place}/{name}"
        if _official(data):
            return
        if is_mnist(name, data):
            raise NktcError(f"{file} is MNIST's, not Fashion-MNIST's")
        found = parse_idx(data, file)
        records = SET.sizes[Phase.TRAIN if "train" in name else Phase.TEST]
        wanted = (records, *SET.image[1:]) if "images" in name else (records,)
        if found.shape != wanted:
            raise NktcError(f"{file} is {times(found.shape)}, Fashion-MNIST's is {times(wanted)}")
        if len(wanted) == 1 and found.max() >= len(SET.labels):
            raise NktcError(f"{file} has a label {found.max()}, Fashion-MNIST's are 0 to {len(SET.labels) - 1}")

    return splits(four, check)
