"""Reduction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import Reduction

REDUCED = {
    "SUM": lambda rows: [sum(row) for row in rows],
    "ASUM": lambda rows: [sum(map(abs, row)) for row in rows],
    "SUMSQ": lambda rows: [sum(v * v for v in row) for row in rows],
    "MEAN": lambda rows: [sum(row) / len(row) for row in rows],
}


@pytest.mark.parametrize(("axis", "shape"), [(0, ()), (1, (2,)), (2, (2, 3)), (-1, (2, 3)), (-3, ())])
@pytest.mark.parametrize("operation", REDUCED)
def test_the_tail_is_reduced(operation: str, axis: int, shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, 4)
    layer = Reduction(operation, axis, -1.5)
    rows = x.reshape(int(np.prod(shape)), -1).double().tolist()
    expected = -1.5 * np.reshape(REDUCED[operation](rows), shape)
    assert layer.shape((2, 3, 4)) == shape
    np.testing.assert_allclose(layer.forward(x), expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_magnitude_is_0_at_0() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    Reduction("ASUM", coefficient=2.0).forward(x).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-2, 0, 2]


def test_the_cost_counts_each_value() -> None:
    assert Reduction().flops((2, 3, 4), ()) == 24
    assert Reduction("SUMSQ", 1, 2.0).flops((2, 3, 4), (2,)) == 2 * 24 + 2


def test_an_axis_that_is_not_there_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("Reduction", "reduction_param { axis: 2 }", (2, 3)) == (
        "axis 2 is outside its 2-axis input",
        "axis: 2",
    )
    assert refusal("Reduction", "", ())[0] == "axis 0 is outside its 0-axis input"
