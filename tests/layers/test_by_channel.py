"""Axpy and BroadcastMul against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.layers import Axpy, BroadcastMul


@pytest.mark.parametrize("ones", [(), (1, 1)])
def test_axpy_scales_each_channel_of_x_and_adds_y(ones: tuple[int, ...]) -> None:
    a, x, y = torch.randn(2, 3, *ones), torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    expected = torch.stack([torch.stack([a[n, c] * x[n, c] + y[n, c] for c in range(3)]) for n in range(2)])
    torch.testing.assert_close(Axpy().forward(a, x, y), expected)


def test_the_larger_bottom_is_multiplied_in_either_order() -> None:
    x, a = torch.randn(2, 3, 4), torch.randn(2, 3, 1)
    torch.testing.assert_close(BroadcastMul().forward(x, a), x * a)
    torch.testing.assert_close(BroadcastMul().forward(a, x), x * a)
    assert BroadcastMul().shape((2, 3, 1, 1), (2, 3, 4, 5)) == (2, 3, 4, 5)
    assert BroadcastMul().shape((2, 3), (2, 3)) == (2, 3)


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("Axpy", ((2, 4), (2, 3, 5), (2, 3, 5)), "its factors 2x4 are not one for each channel of each item of 2x3x5"),
        ("Axpy", ((2, 3), (2, 3, 5), (2, 3, 4)), "its x 2x3x5 and its y 2x3x4 differ"),
        (
            "BroadcastMul",
            ((2, 3, 5), (2, 3, 5)),
            "its factors 2x3x5 are not one for each channel of each item of 2x3x5",
        ),
    ],
)
def test_other_factors_are_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, shapes: tuple[tuple[int, ...], ...], message: str
) -> None:
    found, _ = refusal(kind, "", *shapes)
    assert found == message
