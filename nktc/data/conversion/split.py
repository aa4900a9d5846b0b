"""Records dealt out to train, val and test by fraction, each class in its share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nktc.data.order import draw
from nktc.errors import NktcError

PARTS = ("test", "val")


def deal(classes: np.ndarray, val: float, test: float, seed: int) -> Mapping[str, np.ndarray]:
    """The records of train, val and test, rising; a part that is not asked for is left out.

    classes[n] has the class of each record. Of n records round(test n) go to test, then round(val n) to val, the rest
    to train. Of a class with k records a part gets test k of them, or val k, rounded down or up: up for the classes
    whose share loses most by rounding down, as many as it takes for the total to be right (of two that lose the same,
    the first class). Which records those are follows from `seed` and the number of records alone. Raises NktcError
    for shares that leave nothing, for train or for a part.
    """
    count = len(classes)
    if val < 0 or test < 0 or val + test >= 1:
        raise NktcError(f"val {val:g} and test {test:g} leave nothing to train on", help="together they are below 1")
    mixed = np.argsort(draw(seed, "deal", 0, count), kind="stable")
    left = [mixed[classes[mixed] == one] for one in np.unique(classes)]
    sizes = np.array([len(records) for records in left])
    dealt: dict[str, np.ndarray] = {}
    for name, share in zip(PARTS, (test, val), strict=True):
        if not share:
            continue
        taken = _shares(sizes, share, round(share * count), np.array([len(records) for records in left]))
        dealt[name] = np.sort(np.concatenate([records[:k] for records, k in zip(left, taken, strict=True)]))
        left = [records[k:] for records, k in zip(left, taken, strict=True)]
    dealt["train"] = np.sort(np.concatenate(left))
    for name, records in dealt.items():
        if not len(records):
            raise NktcError(f"its {name} part is empty: {count} records, val {val:g}, test {test:g}")
    return {name: dealt[name] for name in ("train", "val", "test") if name in dealt}


def _shares(sizes: np.ndarray, share: float, total: int, left: np.ndarray) -> list[int]:
    """How many records of each class a part of `total` records gets; never more than are `left`."""
    exact = share * sizes
    taken = np.minimum(np.floor(exact + 1e-9).astype(int), left)
    # Remainders are compared to nine digits, so that 0.1 * 3 does not decide.
    ranked = np.lexsort((np.arange(len(sizes)), -np.round(exact - taken, 9)))
    while (missing := total - int(taken.sum())) > 0:
        open_ = [i for i in ranked.tolist() if taken[i] < left[i]]
        taken[open_[:missing]] += 1
    return [int(k) for k in taken]
