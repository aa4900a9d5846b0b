"""Permute: the order of axes, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import Permute


@pytest.mark.parametrize(
    ("order", "whole"), [((0, 2, 3, 1), (0, 2, 3, 1)), ((1, 0), (1, 0, 2, 3)), ((), (0, 1, 2, 3)), ((3,), (3, 0, 1, 2))]
)
def test_axes_that_are_left_out_follow_in_their_order(order: tuple[int, ...], whole: tuple[int, ...]) -> None:
    x = np.arange(120.0).reshape(2, 3, 4, 5)
    layer = Permute(order)
    np.testing.assert_array_equal(layer.forward(torch.from_numpy(x)), x.transpose(whole))
    assert layer.shape(x.shape) == x.transpose(whole).shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [("order: 0 order: 4", "order 4 is outside its 4-axis input"), ("order: 1 order: 1", "order has axis 1 twice")],
)
def test_an_order_of_no_axes_is_refused(refusal: Callable[..., tuple[str, str]], settings: str, message: str) -> None:
    said, place = refusal("Permute", f"permute_param {{ {settings} }}", (2, 3, 4, 5))
    assert (said, place.split(":")[0]) == (message, "order")
