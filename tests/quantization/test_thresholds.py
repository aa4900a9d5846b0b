"""Where ranges are cut off: against a literal reading of the method, and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nktc.errors import NktcError
from nktc.quantization.histogram import BINS, Histogram
from nktc.quantization.thresholds import METHODS, method

DISTRIBUTIONS = {
    "normal": lambda draw: draw.standard_normal(20000),
    "laplace": lambda draw: draw.laplace(size=20000),
    "relu": lambda draw: np.maximum(draw.standard_normal(20000), 0),
    "uniform": lambda draw: draw.uniform(-1, 1, 20000),
    "outlier": lambda draw: np.append(draw.standard_normal(20000), 40.0),
    "few": lambda draw: draw.choice([0.1, 0.25, 0.7, 1.0], 500),
}


def histogram(x: np.ndarray) -> Histogram:
    found = Histogram()
    found.add(torch.from_numpy(x.astype(np.float32)))
    return found


def by_the_slides(counts: list[float]) -> int:
    """How many bins to keep, as Migacz's slides have it, one number at a time: for each cut the reference takes what
    is beyond in its last bin, and the candidate has 128 levels, each spread over those of its bins that hold
    anything. Cuts that lose more than a tenth are left out."""
    counts = [counts[1], *counts[1:]]
    last = max(i for i, count in enumerate(counts) if count) + 1
    best, least = last, math.inf
    for cut in range(128, last + 1):
        p = counts[:cut]
        if sum(p) < 0.9 * sum(counts):
            continue
        q = [0.0] * cut
        for level in range(128):
            bins = [i for i in range(cut) if i * 128 // cut == level and counts[i]]
            for i in bins:
                q[i] = sum(counts[j] for j in bins) / len(bins)
        p = [*p[:-1], p[-1] + sum(counts[cut:last])]
        whole, spread = sum(p), sum(q)
        if not spread:
            continue
        apart = sum(a / whole * math.log((a / whole) / max(b / spread, 1e-12)) for a, b in zip(p, q, strict=True) if a)
        if apart <= least:
            best, least = cut, apart
    return best


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_entropy_cuts_where_a_literal_loop_does(name):
    # Of a histogram that is 8 times as coarse, padded with nothing, for the loop's sake.
    found = histogram(DISTRIBUTIONS[name](np.random.default_rng(1)))
    coarse = found.counts.reshape(-1, 8).sum(1)
    found.counts = np.concatenate([coarse, np.zeros(BINS - len(coarse), np.int64)])
    cut = by_the_slides([float(count) for count in coarse])
    assert METHODS["entropy"](found) == pytest.approx(cut * found.width / BINS)


def test_entropy_cuts_off_what_is_rare_and_keeps_what_is_even():
    draw = np.random.default_rng(0)
    assert METHODS["entropy"](histogram(DISTRIBUTIONS["outlier"](draw))) < 8
    assert METHODS["entropy"](histogram(DISTRIBUTIONS["uniform"](draw))) > 0.95


@pytest.mark.parametrize("low", [1, 4, 15])
def test_entropy_does_not_cut_down_to_the_first_of_values_that_begin_far_from_0(low):
    draw = np.random.default_rng(0).uniform(low, 16, 20000)
    assert METHODS["entropy"](histogram(draw)) > low + 0.85 * (16 - low)


def test_entropy_keeps_all_of_a_few_sizes():
    pixels = np.random.default_rng(0).integers(0, 17, 20000) / 16
    assert METHODS["entropy"](histogram(pixels)) == 1


def test_minmax_keeps_all():
    draw = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert METHODS["minmax"](histogram(draw)) == np.abs(draw).max()
    assert METHODS["minmax"](histogram(np.array([-3.0, 1.0]))) == 3


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_the_percentile_is_numpys_to_a_bin(name):
    draw = DISTRIBUTIONS[name](np.random.default_rng(2))
    found = histogram(draw)
    expected = np.percentile(np.abs(draw), 99.99, method="inverted_cdf")
    assert METHODS["percentile"](found) == pytest.approx(expected, abs=1.01 * found.width / BINS)
    assert METHODS["percentile"](found) <= METHODS["minmax"](found)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_blob_of_zeros_or_of_nothing_has_no_range(name):
    assert METHODS[name](Histogram()) == 0
    assert METHODS[name](histogram(np.zeros(10))) == 0


@pytest.mark.parametrize("name", sorted(METHODS))
def test_one_number_again_and_again_is_kept(name):
    assert METHODS[name](histogram(np.full(1000, -2.5))) == 2.5


def test_an_unknown_method_is_refused_with_a_near_name():
    assert method("minmax") is METHODS["minmax"]
    with pytest.raises(NktcError) as caught:
        method("entropi")
    assert str(caught.value) == 'error: unknown calibration "entropi"\nhelp: did you mean "entropy"?'
    with pytest.raises(NktcError) as caught:
        method("x")
    assert caught.value.help == "the methods are entropy, minmax, percentile"
