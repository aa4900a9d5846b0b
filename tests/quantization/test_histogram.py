"""Histograms that grow batch by batch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from nktc.quantization.histogram import BINS, Histogram


def gathered(*batches: object) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(torch.as_tensor(batch, dtype=torch.float32))
    return histogram


@pytest.mark.parametrize("seed", range(3))
def test_batches_that_grow_give_the_histogram_of_the_whole(seed):
    draw = np.random.default_rng(seed)
    batches = [draw.standard_normal((5, 100)).astype(np.float32) * size for size in (1, 0.1, 7, 60, 3)]
    found = gathered(*batches)
    everything = np.abs(np.concatenate(batches))
    expected, edges = np.histogram(everything, BINS, (0, found.width))
    # A number at the edge of two bins may be counted in the other, f32 or f64.
    assert np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max() <= 3
    assert found.counts.sum() == everything.size
    np.testing.assert_allclose(found.edges, edges[1:])
    assert found.width / 2 < everything.max() <= found.width
    assert (found.low, found.high) == (min(b.min() for b in batches), max(b.max() for b in batches))


def test_zeros_are_counted_before_and_after_there_is_a_width():
    found = gathered(np.zeros(3), np.ones(2), np.zeros((2, 2)), np.zeros(0))
    assert (found.counts[0], found.counts[-1], found.counts.sum()) == (7, 2, 9)
    assert (found.low, found.high, found.width) == (0, 1, 1)


def test_0_is_in_every_range():
    assert (gathered([3.0, 5.0]).low, gathered([-3.0, -5.0]).high) == (0, 0)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_noted_and_not_counted(number):
    found = gathered([1.0, 2.0], [number, 1.0], [0.5])
    assert not found.finite
    assert found.counts.sum() == 3
    assert (found.low, found.high) == (0, 2)


@pytest.mark.parametrize("sizes", [(1e-42, 1e-40), (1e-40, 1e30), (3e38, 3.4e38), (2e38, 3.4e38)])
def test_the_ends_of_f32_are_counted_too(sizes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gathered(*([size] for size in sizes))
    assert found.counts.sum() == len(sizes)
    assert found.finite
