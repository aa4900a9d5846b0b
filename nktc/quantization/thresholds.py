"""Where to cut a blob's values off, so that the 256 numbers of 8 bits serve those that matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nktc.errors import NktcError, near
from nktc.quantization.histogram import BINS, Histogram

LEVELS = 128  # of a sign
SHARE = 0.9999  # of the values that a percentile keeps
KEPT = 0.9  # of the values at least by entropy: what is cut down to a single bin differs from itself in nothing


def entropy(histogram: Histogram) -> float:
    """The cut at which the distribution in 128 levels differs least from the whole, by Kullback and Leibler: GIE's.

    Values beyond the cut count as the cut itself. Of equal cuts the widest is taken, as numbers of a few sizes, such as
    pixels, have many. Source: Migacz, 8-bit inference with TensorRT, GTC 2017.
    """
    counts = histogram.counts.astype(np.float64)
    # Of the zeros that a ReLU makes no level depends on; they would drown the rest.
    counts[0] = counts[1]
    filled = np.flatnonzero(counts)
    if not len(filled):
        return histogram.width
    last = int(filled[-1]) + 1
    if last <= LEVELS:
        return last * histogram.width / BINS
    least = 1 + int(np.searchsorted(np.cumsum(counts), KEPT * counts.sum()))
    cuts = range(last, max(LEVELS, least) - 1, -1)
    best = min(cuts, key=lambda cut: _divergence(counts[:last], cut))
    return best * histogram.width / BINS


def minmax(histogram: Histogram) -> float:
    """The largest value there is."""
    return max(-histogram.low, histogram.high)


def percentile(histogram: Histogram) -> float:
    """What 99.99 % of the values do not exceed."""
    total = histogram.counts.sum()
    if not total:
        return 0.0
    place = int(np.searchsorted(np.cumsum(histogram.counts), SHARE * total))
    return float(min(histogram.edges[min(place, BINS - 1)], minmax(histogram)))


METHODS: dict[str, Callable[[Histogram], float]] = {"entropy": entropy, "minmax": minmax, "percentile": percentile}


def method(name: str) -> Callable[[Histogram], float]:
    """The rule of that name. Raises NktcError."""
    if name not in METHODS:
        help = near(name, METHODS) or f"the methods are {', '.join(METHODS)}"
        raise NktcError(f'unknown calibration "{name}"', help=help)
    return METHODS[name]


def _divergence(counts: np.ndarray, cut: int) -> float:
    """Sum of p log(p / q) of the first `cut` bins: p as counted, q spread evenly over the bins of each level that hold
    anything."""
    whole = counts[:cut].copy()
    filled = whole > 0
    level = np.arange(cut) * LEVELS // cut
    sums = np.bincount(level, whole, LEVELS)
    holding = np.bincount(level, filled, LEVELS)
    whole[-1] += counts[cut:].sum()
    spread = np.where(filled, sums[level] / np.maximum(holding[level], 1), 0)
    p, q = whole / whole.sum(), spread / max(spread.sum(), 1e-300)
    there = p > 0
    # What was cut off may land in a bin that held nothing.
    return float((p[there] * np.log(p[there] / np.maximum(q[there], 1e-12))).sum())
