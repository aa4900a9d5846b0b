"""GlobalPooling against numpy, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import GlobalPooling


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("axis", "num_axes", "reduced"),
    [(2, -1, (2, 3)), (-1, -1, (3,)), (0, 2, (0, 1)), (1, 1, (1,)), (-3, 2, (1, 2)), (0, -1, (0, 1, 2, 3))],
)
def test_the_axes_between_become_one_number(axis: int, num_axes: int, reduced: tuple[int, ...], keep: bool) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    for method, expected in (("AVE", x.mean(reduced, keepdims=keep)), ("MAX", x.max(reduced, keepdims=keep))):
        layer = GlobalPooling(method, axis, num_axes, keep)
        np.testing.assert_allclose(layer.forward(torch.from_numpy(x)), expected, atol=1e-12)
        assert layer.shape(x.shape) == expected.shape


def test_the_first_of_equal_values_gets_the_whole_gradient() -> None:
    x = torch.zeros(1, 2, 2, 2, requires_grad=True)
    GlobalPooling("MAX").forward(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 0, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("axis: 4", "axis 4 is outside its 4-axis input", "axis: 4"),
        ("num_axes: 0", "num_axes is 0", "num_axes: 0"),
        ("num_axes: -2", "num_axes is -2", "num_axes: -2"),
        ("num_axes: 3", "axis 2 and num_axes 3 go beyond its 4-axis input", "num_axes: 3"),
    ],
)
def test_axes_that_are_not_there_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    assert refusal("GlobalPooling", f"global_pooling_param {{ {settings} }}", (2, 3, 4, 5)) == (message, blamed)
