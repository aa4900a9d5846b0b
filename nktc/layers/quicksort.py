"""The order in which the quicksort of PVANet's Proposal leaves equal scores, which its choice of regions hangs on.

Boxes that are too small all score 0, so that equal scores are the rule.
"""

from __future__ import annotations

import numpy as np

PARTS = 1000  # a hundred times what values in no order need; after that any sort will do


def quicksorted(values: np.ndarray, most: int) -> np.ndarray:
    """The first `most` places of the values in falling order; equal ones are in the order that PVANet leaves them in.

    Its pivot is the first value of a piece. What is below it changes places, from the front, with what is above it,
    from the back, until the two meet; what equals it stays. Then the pivot and the last value above it change places.
    """
    places, parts = np.arange(len(values)), 0
    pieces = [(0, len(values))]
    while pieces:
        first, end = pieces.pop()
        piece = places[first:end]
        keys = values[piece]
        if parts == PARTS or len(np.unique(keys)) == len(keys):
            places[first:end] = piece[np.argsort(-keys, kind="stable")]
            continue
        parts += 1
        below, above = np.flatnonzero(keys < keys[0]), np.flatnonzero(keys > keys[0])[::-1]
        if len(above):
            both = min(len(below), len(above))
            moved = int((below[:both] < above[:both]).sum())
            low, high = below[:moved], above[:moved]
            piece[low], piece[high] = piece[high], piece[low]  # a view: places change
            last = max([*low[-1:].tolist(), *above[moved : moved + 1].tolist()])
            piece[0], piece[last] = piece[last], piece[0]
            pieces += [(first, first + last)] if last > 1 else []
        else:  # the pivot stays, and so do those that equal it up to the first below
            last = int(below[0]) - 1 if len(below) else len(piece)
        pieces += [(first + last + 1, end)] if first + last + 1 < min(most, end - 1) else []
    return places[:most]
