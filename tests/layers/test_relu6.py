"""ReLU6 and CReLU against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nktc.ir import Layer
from nktc.layers import CReLU, ReLU6


def test_relu6_ends_at_six() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0, 6.0, 9.0], requires_grad=True)
    y = ReLU6().forward(x)
    assert y.tolist() == [0, 0, 3, 6, 6]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == [0, 0, 1, 0, 0]  # as the fork has it at the ends
    assert ReLU6(0.5).forward(x).tolist() == [-1, 0, 3, 6, 6]


def test_a_slope_below_0_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    found, at = refusal("ReLU6", "relu6_param { negative_slope: -1 }", (2, 3))
    assert (found, at) == ("negative_slope is -1", "negative_slope: -1")


def test_crelu_keeps_both_signs(layer: Callable[..., Layer]) -> None:
    x = torch.randn(2, 3, 4)
    expected = torch.cat([x.clamp(min=0), (-x).clamp(min=0)], 1)
    torch.testing.assert_close(CReLU().forward(x), expected)
    bent = layer("CReLU", "crelu_param { concat_axis: 2 negative_slope: 0.1 }", (2, 3, 4))
    expected = torch.cat([torch.where(y > 0, y, 0.1 * y) for y in (x, -x)], 2)
    torch.testing.assert_close(bent.forward(x), expected)


def test_an_axis_that_is_not_there_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    found, _ = refusal("CReLU", "crelu_param { concat_axis: 3 }", (2, 3))
    assert found == "concat_axis 3 is outside its 2-axis input"
