"""Softmax."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.layers import Softmax


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_it_is_exp_over_the_sum_of_exp(axis: int) -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = x.exp() / x.exp().sum(axis, keepdim=True)
    torch.testing.assert_close(Softmax(axis).forward(x), expected)


def test_large_scores_do_not_overflow() -> None:
    assert Softmax().forward(torch.tensor([[1e4, 0.0]])).tolist() == [[1, 0]]


def test_an_axis_outside_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("Softmax", "softmax_param { axis: -3 }", (2, 3)) == (
        "axis -3 is outside its 2-axis input",
        "axis: -3",
    )
