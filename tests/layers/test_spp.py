"""SPP against Caffe's pooling, level by level."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import SPP


def part(x: np.ndarray, bins: int, i: int, j: int, method: str) -> float:
    """What a grid of bins by bins over the picture x[h w] has at row i, column j."""
    spans, area = [], 1
    for n, at in zip(x.shape, (i, j), strict=True):
        side = math.ceil(n / bins)
        pad = (side * bins - n + 1) // 2
        start = at * side - pad
        end = min(start + side, n + pad)
        area *= end - start
        spans.append(slice(max(0, start), min(end, n)))
    seen = x[tuple(spans)]
    return float(seen.max() if method == "MAX" else seen.sum() / area)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [(8, 8), (7, 6), (13, 10), (6, 12), (15, 7)], ids=str)
def test_each_level_is_a_grid_over_the_whole_picture(method: str, size: tuple[int, int]) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, *size))
    expected = [
        [
            part(image, bins, i, j, method)
            for bins in (1, 2, 4)
            for image in item
            for i in range(bins)
            for j in range(bins)
        ]
        for item in x
    ]
    layer = SPP(3, method)
    assert layer.shape(x.shape) == (2, 3 * 21)
    np.testing.assert_allclose(layer.forward(torch.from_numpy(x)), expected, atol=1e-12)


def test_one_level_keeps_the_shape_of_pooling() -> None:
    x = torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(SPP(1).forward(x), x.amax((2, 3), keepdim=True))
    assert SPP(1).shape((2, 3, 5, 7)) == (2, 3, 1, 1)


def test_stochastic_levels_draw_from_each_part() -> None:
    x = torch.rand(2, 3, 4, 4)
    y = SPP(2, "STOCHASTIC", draws=True).forward(x)
    assert torch.isin(y[:, :3], x).all()
    corner = y[:, 3:].view(2, 3, 2, 2)[..., 0, 0]
    assert (x[..., :2, :2].flatten(2) == corner[..., None]).any(-1).all()


@pytest.mark.parametrize(
    ("settings", "size", "message", "blamed"),
    [
        ("pool: AVE", (8, 8), "has no pyramid_height", "type"),
        ("pyramid_height: 4", (8, 7), "a grid of 8x8 parts does not fit its input 8x7", "pyramid_height: 4"),
        ("pyramid_height: 4294967295", (9, 9), "a grid of 8x8 parts does not fit its input 9x9", "pyramid_height: 4"),
        (
            "pyramid_height: 2 pool: STOCHASTIC",
            (8, 7),
            "STOCHASTIC takes no padding, but a grid of 2x2 parts does not divide 8x7",
            "pool: STOCHASTIC",
        ),
    ],
)
def test_what_caffe_cannot_divide_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, size: tuple[int, int], message: str, blamed: str
) -> None:
    found, at = refusal("SPP", f"spp_param {{ {settings} }}", (2, 3, *size))
    assert found == message
    assert at.startswith(blamed)


def test_only_pictures_are_taken(refusal: Callable[..., tuple[str, str]]) -> None:
    message, at = refusal("SPP", "spp_param { pyramid_height: 1 }", (2, 3, 5))
    assert message == "takes 4 axes (batch, channels, height, width), not 3"
    assert at == 'bottom: "x0"'
