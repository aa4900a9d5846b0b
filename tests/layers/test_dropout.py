"""Dropout and SpatialDropout."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.ir import Phase
from nktc.layers import Dropout, SpatialDropout


def test_training_drops_a_share_and_scales_the_rest(layer: Callable[..., Dropout]) -> None:
    it = layer("Dropout", "dropout_param { dropout_ratio: 0.2 }", (100, 100), phase=Phase.TRAIN)
    torch.manual_seed(1)
    x = torch.ones(100, 100, requires_grad=True)
    y = it.forward(x)
    y.sum().backward()
    assert sorted(set(y.flatten().tolist())) == [0, 1.25]
    assert (y == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    torch.testing.assert_close(x.grad, y.detach())


def test_testing_copies(layer: Callable[..., Dropout]) -> None:
    x = torch.randn(3, 4)
    assert layer("Dropout", "", (3, 4)).forward(x) is x


@pytest.mark.parametrize("ratio", ["1", "1.5", "-0.1"])
def test_a_ratio_that_leaves_nothing_is_refused(refusal: Callable[..., tuple[str, str]], ratio: str) -> None:
    message, at = refusal("Dropout", f"dropout_param {{ dropout_ratio: {ratio} }}", (3, 4))
    assert (message, at) == (f"dropout_ratio {ratio} is outside 0 to 1", f"dropout_ratio: {ratio}")


def test_whole_channels_are_dropped_of_each_item(layer: Callable[..., SpatialDropout]) -> None:
    torch.manual_seed(1)
    x = torch.rand(50, 40, 3, 2) + 1
    it = layer("SpatialDropout", "dropout_param { dropout_ratio: 0.25 }", (50, 40, 3, 2), phase=Phase.TRAIN)
    factors = it.forward(x) / x
    torch.testing.assert_close(factors, factors[..., :1, :1].expand_as(factors))
    assert ((factors == 0) | (abs(factors - 1 / 0.75) < 1e-6)).all()
    assert 0.2 < (factors[..., 0, 0] == 0).float().mean() < 0.3
    assert layer("SpatialDropout", "", (5, 4)).forward(x) is x
