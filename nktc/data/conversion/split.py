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
    whose share loses most by rounding down, as many as it takes for the total to be right (which of those that lose the
    same, is drawn: were it the first, small numbers would go to one part). Which records those are follows from `seed`
    and the number of records alone. Raises NktcError for shares that leave nothing, for train or for a part.
    """
    count = len(classes)
    if val < 0 or test < 0 or val + test >= 1:
        raise NktcError(f"val {val:g} and test {test:g} leave nothing to train on", help="together they are below 1")
    _, numbers = np.unique(classes, return_inverse=True)
    sizes = np.bincount(numbers)
    mixed = np.argsort(draw(seed, "deal", 0, count), kind="stable")
    # Class after class, mixed inside of each; `within` is the place in its class.
    records = mixed[np.argsort(numbers[mixed], kind="stable")]
    within = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    dealt: dict[str, np.ndarray] = {}
    gone = np.zeros_like(sizes)
    for name, share in zip(PARTS, (test, val), strict=True):
        if not share:
            continue
        ties = draw(seed, f"deal {name}", 0, len(sizes))
        end = gone + _shares(sizes, share, round(share * count), sizes - gone, ties)
        dealt[name] = np.sort(records[(within >= np.repeat(gone, sizes)) & (within < np.repeat(end, sizes))])
        gone = end
    dealt["train"] = np.sort(records[within >= np.repeat(gone, sizes)])
    for name, part in dealt.items():
        if not len(part):
            raise NktcError(f"its {name} part is empty: {count} records, val {val:g}, test {test:g}")
    return {name: dealt[name] for name in ("train", "val", "test") if name in dealt}


def _shares(sizes: np.ndarray, share: float, total: int, left: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """How many records of each class a part of `total` records gets; never more than are `left`. Of classes that lose
    the same by rounding the one with the smaller of `ties` comes first."""
    exact = share * sizes
    taken: np.ndarray = np.minimum(np.floor(exact + 1e-9).astype(int), left)
    # Remainders are compared to nine digits, so that 0.1 * 3 does not decide.
    ranked = np.lexsort((ties, -np.round(exact - taken, 9)))
    while (missing := total - int(taken.sum())) > 0:
        taken[ranked[taken[ranked] < left[ranked]][:missing]] += 1
    return taken
