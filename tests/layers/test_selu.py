"""SeLu against its definition, SeLuDropout against the mean and the variance that it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from nktc.ir import Graph, Layer, Phase


@pytest.mark.parametrize("kind", ["SeLu", "SELU", "SeLU"])
def test_the_three_names_are_one_bend(layer: Callable[..., Layer], kind: str) -> None:
    x = torch.linspace(-3, 3, 8)
    expected = [1.050700987 * (v if v > 0 else 1.67326324 * math.expm1(v)) for v in x.tolist()]
    torch.testing.assert_close(layer(kind, "", (8,)).forward(x), torch.tensor(expected))
    other = layer(kind, "selu_param { lambda: 2 alpha: 0.5 }", (8,))
    expected = [2 * (v if v > 0 else 0.5 * math.expm1(v)) for v in x.tolist()]
    torch.testing.assert_close(other.forward(x), torch.tensor(expected))


def test_in_place_the_slope_is_taken_at_the_output(read: Callable[..., Graph]) -> None:
    """DeepDetect's Caffe bends the input by what is there when it learns, which is the output by then."""
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 } } }
        layer { name: "it" type: "SeLu" bottom: "x" top: "x" selu_param { lambda: 2 alpha: 0.5 } }
    """)
    x = torch.tensor([-1.0, 0.0, 3.0], requires_grad=True)
    y = graph.nodes[-1].layer.forward(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y, torch.tensor([math.expm1(-1), 0, 6]))
    torch.testing.assert_close(x.grad, torch.tensor([math.exp(math.expm1(-1)), 1, 2]))


def test_dropped_values_keep_mean_and_variance(layer: Callable[..., Layer]) -> None:
    torch.manual_seed(1)
    x = torch.randn(100, 1000, dtype=torch.float64, requires_grad=True)
    it = layer("SeLuDropout", "selu_dropout_param { dropout_ratio: 0.2 }", (100, 1000), phase=Phase.TRAIN)
    y = it.forward(x)
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02
    dropped = y == y.min(1, keepdim=True).values.min()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert 0.19 < (gradient == 0).double().mean() < 0.21
    factor = (0.8 * (1 + 1.75809934**2 * 0.2)) ** -0.5
    torch.testing.assert_close(gradient[gradient != 0], torch.full_like(gradient[gradient != 0], factor))
    assert not (dropped & (gradient != 0)).any() or dropped.sum() <= 1
    copied = layer("SeLuDropout", "", (100, 1000))
    assert copied.forward(x) is x


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("SeLu", "selu_param { alpha: -1 }", "alpha is -1"),
        ("SeLuDropout", "selu_dropout_param { dropout_ratio: 1 }", "dropout_ratio 1 is outside 0 to 1"),
    ],
)
def test_settings_outside_their_range_are_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, settings: str, message: str
) -> None:
    found, _ = refusal(kind, settings, (2, 3))
    assert found == message
