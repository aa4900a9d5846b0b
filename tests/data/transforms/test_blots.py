"""Cutout and random erasing: which pixels are 0, counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nktc.data.transforms import blots
from nktc.ir import RandomErasing

COUNTERS = np.arange(3000)


def blotted(boxes: np.ndarray, picture: tuple[int, int]) -> np.ndarray:
    """bool[n h w] of what is 0 in every plane."""
    x = blots.blot(torch.ones(boxes.shape[1], 2, *picture), [boxes]).numpy()
    assert (x[:, 0] == x[:, 1]).all()
    assert np.isin(x, (0, 1)).all()
    zero: np.ndarray = x[:, 0] == 0
    return zero


@pytest.mark.parametrize("side", [1, 4, 5, 50])
def test_a_cutout_is_a_square_about_any_pixel_clipped_to_the_picture(side: int) -> None:
    found = blotted(blots.squares(side, (10, 12), 1, COUNTERS), (10, 12))
    top, left = side // 2, side // 2
    wanted = {
        (max(0, r - top), min(10, r - top + side), max(0, c - left), min(12, c - left + side))
        for r in range(10)
        for c in range(12)
    }
    seen = set()
    for zero in found:
        rows, columns = np.flatnonzero(zero.any(1)), np.flatnonzero(zero.any(0))
        box = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
        assert zero.sum() == (box[1] - box[0]) * (box[3] - box[2])
        seen.add(box)
    assert seen == wanted


def test_erasing_comes_as_often_and_as_large_as_said() -> None:
    settings = RandomErasing(0.25, (0.1, 0.3), (0.5, 2))
    found = blotted(blots.rectangles(settings, (40, 30), 1, COUNTERS), (40, 30))
    count = found.sum((1, 2))
    erased = count > 0
    assert erased.mean() == pytest.approx(0.25, abs=0.03)
    heights, widths = found.any(2).sum(1)[erased], found.any(1).sum(1)[erased]
    np.testing.assert_array_equal(heights * widths, count[erased])
    shares = count[erased] / 1200
    assert shares.min() > 0.08
    assert shares.max() < 0.33
    assert shares.mean() == pytest.approx(0.2, abs=0.01)
    aspects = heights / widths
    assert 0.4 < aspects.min() < 0.6
    assert 1.7 < aspects.max() < 2.3
    assert found.any(0).all()  # it may lie anywhere


def test_a_rectangle_is_at_most_the_picture_and_at_least_a_pixel() -> None:
    whole = blots.rectangles(RandomErasing(1, (1, 1), (9, 9)), (8, 8), 1, COUNTERS[:5])
    np.testing.assert_array_equal(whole[:2], [[0] * 5, [8] * 5])
    np.testing.assert_array_equal(whole[3] - whole[2], np.full(5, 3))
    least = blots.rectangles(RandomErasing(1, (1e-6, 1e-6), (1, 1)), (8, 8), 1, COUNTERS[:5])
    assert (blotted(least, (8, 8)).sum((1, 2)) == 1).all()


def test_several_blots_and_the_rest_untouched() -> None:
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    boxes = [np.array([[0, 1], [2, 3], [0, 4], [2, 9]]), np.array([[1, -3], [1, 1], [0, 2], [6, 4]])]
    expected = x.clone()
    expected[0, :, 0:2, 0:2] = 0
    expected[1, :, 1:3, 4:] = 0
    expected[1, :, 0:1, 2:4] = 0
    assert blots.blot(x, boxes) is x
    assert torch.equal(x, expected)
