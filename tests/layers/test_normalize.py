"""LRN against its formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import LRN


def normalized(x: np.ndarray, layer: LRN) -> np.ndarray:
    """x[n c h w] divided, one value at a time."""
    half, y = layer.size // 2, np.zeros_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        if layer.within:
            seen = x[n, c, max(0, h - half) : h + half + 1, max(0, w - half) : w + half + 1]
        else:
            seen = x[n, max(0, c - half) : c + half + 1, h, w]
        mean = (seen**2).sum() / layer.size ** (2 if layer.within else 1)
        y[n, c, h, w] = x[n, c, h, w] / (layer.k + layer.alpha * mean) ** layer.beta
    return y


@pytest.mark.parametrize(
    "layer", [LRN(), LRN(1, 2.0), LRN(3, 0.5, 0.4, 2.0), LRN(9), LRN(3, 0.5, within=True), LRN(7, within=True)]
)
def test_each_value_is_divided_by_the_strength_of_its_neighbours(layer: LRN) -> None:
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    np.testing.assert_allclose(layer.forward(x), normalized(x.numpy(), layer), rtol=1e-12)


def test_the_squares_of_half_floats_do_not_overflow() -> None:
    x = torch.full((1, 1, 1, 1), 1000.0, dtype=torch.float16)
    assert LRN(1, 1e-4).forward(x).item() == pytest.approx(1000 / 101**0.75, rel=2e-3)


def test_k_is_ignored_within_a_channel(layer: Callable[..., LRN]) -> None:
    assert layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL k: 2 }", (1, 2, 3, 3)).k == 1
    assert layer("LRN", "lrn_param { k: 2 }", (1, 2, 3, 3)).k == 2


def test_refusals(refusal: Callable[..., tuple[str, str]]) -> None:
    message, at = refusal("LRN", "lrn_param { local_size: 4 }", (1, 2, 3, 3))
    assert (message, at) == ("local_size 4 is even", "local_size: 4")
    assert refusal("LRN", "", (1, 2))[0] == "takes 4 axes (batch, channels, height, width), not 2"
