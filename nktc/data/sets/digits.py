"""The handwritten digits that scikit-learn ships: always there, small enough to train on in seconds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from nktc.data.images import Images
from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.copies import Copy, Splits
from nktc.errors import NktcError
from nktc.ir import Phase

SET = KNOWN["digits"]
TABLE = Path("datasets", "data", "digits.csv.gz")
SHUFFLED = 1797


def copy() -> Copy:
    """The set itself."""
    return Copy("scikit-learn", "1", _read)


def _read() -> Splits:
    """One fifth of each class is kept for TEST; pixels of 0 to 16 are stretched to 0 to 255."""
    table = np.loadtxt(_table(), delimiter=",", dtype=np.int64)
    pixels = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, *SET.image)
    labels = table[:, 64]
    order = np.random.RandomState(SHUFFLED).permutation(len(labels))
    # Sorted by class and, inside one, in mixed order, every fifth is a fair sample of each class.
    by_class = order[np.argsort(labels[order], kind="stable")]
    chosen = np.zeros(len(labels), bool)
    chosen[by_class[::5]] = True
    splits = {Phase.TRAIN: order[~chosen[order]], Phase.TEST: order[chosen[order]]}
    return {split: Images(pixels[indices], labels[indices]) for split, indices in splits.items()}


def _table() -> Path:
    """The file itself: importing scikit-learn takes longer than all the rest of the work on this set."""
    package = importlib.util.find_spec("sklearn")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (Path(folder) / TABLE).is_file():
            return Path(folder) / TABLE
    raise NktcError("the digits of scikit-learn are not here", help="pip install scikit-learn")
