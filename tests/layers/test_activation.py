"""ReLU, Sigmoid, TanH."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nktc.layers import ReLU, Sigmoid, TanH


@pytest.mark.parametrize("slope", [0.0, 0.1, -0.5])
def test_relu_multiplies_what_is_negative_and_what_is_zero_counts_as_negative(slope: float) -> None:
    x = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    y = ReLU(slope).forward(x)
    y.sum().backward()
    assert y.tolist() == pytest.approx([-2 * slope, 0, 3])
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([slope, slope, 1])


def test_sigmoid_and_tanh_are_the_closed_forms() -> None:
    x = torch.linspace(-30, 30, 61, dtype=torch.float64)
    np.testing.assert_allclose(Sigmoid().forward(x), 1 / (1 + np.exp(-x.numpy())), rtol=1e-12)
    np.testing.assert_allclose(TanH().forward(x), np.tanh(x.numpy()), rtol=1e-12)


def test_all_three_may_work_in_place() -> None:
    assert ReLU.in_place
    assert Sigmoid.in_place
    assert TanH.in_place
