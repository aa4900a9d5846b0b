"""Scale and Bias."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.ir import Filler
from nktc.layers import Bias, Scale

X = (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("layer", "along", "aligned"),
    [
        (Scale(), (3,), (3, 1, 1)),
        (Scale(num_axes=2), (3, 4), (3, 4, 1)),
        (Scale(axis=0, num_axes=-1), X, X),
        (Scale(axis=-1), (5,), (5,)),
        (Scale(num_axes=0), (), ()),
        (Scale(axis=0), (2,), (2, 1, 1, 1)),
    ],
    ids=str,
)
def test_the_learned_factor_runs_along_its_axes(layer: Scale, along: tuple[int, ...], aligned: tuple[int, ...]) -> None:
    x, weight = torch.randn(X), torch.randn(along)
    assert layer.weights(X)["weight"].shape == along
    torch.testing.assert_close(layer.forward(x, weight=weight), x * weight.reshape(aligned))


def test_the_bias_has_the_shape_of_the_factor() -> None:
    x, weight, bias = torch.randn(X), torch.randn(3), torch.randn(3)
    layer = Scale(bias=True)
    assert {name: w.shape for name, w in layer.weights(X).items()} == {"weight": (3,), "bias": (3,)}
    expected = x * weight.view(3, 1, 1) + bias.view(3, 1, 1)
    torch.testing.assert_close(layer.forward(x, weight=weight, bias=bias), expected)


@pytest.mark.parametrize(("axis", "shape", "aligned"), [(0, (2, 3), (2, 3, 1, 1)), (2, (4, 5), (4, 5)), (3, (), ())])
def test_the_second_input_is_the_factor(axis: int, shape: tuple[int, ...], aligned: tuple[int, ...]) -> None:
    x, factor = torch.randn(X), torch.randn(shape)
    layer = Scale(axis, bias=True)
    assert {name: w.shape for name, w in layer.weights(X, shape).items()} == {"bias": shape}
    bias = torch.randn(shape)
    expected = x * factor.reshape(aligned) + bias.reshape(aligned)
    torch.testing.assert_close(layer.forward(x, factor, bias=bias), expected)


def test_the_factor_starts_at_one_unless_a_filler_is_given(layer: Callable[..., Scale]) -> None:
    assert layer("Scale", "", X).weight_filler == Filler(value=1.0)
    assert layer("Scale", "scale_param { filler { value: 3 } }", X).weight_filler == Filler(value=3.0)
    assert layer("Scale", "scale_param { bias_term: true }", X).bias_filler == Filler()


def test_refusals(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("Scale", "", X, (4,)) == (
        "its factor 4 does not match its input 2x3x4x5 from axis 1 on",
        'bottom: "x1"',
    )
    assert refusal("Scale", "scale_param { axis: 3 num_axes: 2 }", X) == (
        "its factor runs along 2 axes from 3 on, its input has 4",
        "num_axes: 2",
    )
    assert refusal("Scale", "scale_param { num_axes: -2 }", X) == ("num_axes is -2", "num_axes: -2")
    assert refusal("Scale", "", X, (3,), (3,))[0] == "takes 1 to 2 bottoms (x, factor), not 3"


@pytest.mark.parametrize(
    ("layer", "along", "aligned"),
    [
        (Bias(), (3,), (3, 1, 1)),
        (Bias(num_axes=2), (3, 4), (3, 4, 1)),
        (Bias(axis=0, num_axes=-1), X, X),
        (Bias(axis=-1), (5,), (5,)),
        (Bias(axis=-3, num_axes=-1), (3, 4, 5), (3, 4, 5)),
        (Bias(num_axes=0), (), ()),
        (Bias(axis=0), (2,), (2, 1, 1, 1)),
    ],
    ids=str,
)
def test_the_learned_bias_runs_along_its_axes(layer: Bias, along: tuple[int, ...], aligned: tuple[int, ...]) -> None:
    x, bias = torch.randn(X), torch.randn(along)
    assert {name: w.shape for name, w in layer.weights(X).items()} == {"bias": along}
    torch.testing.assert_close(layer.forward(x, bias=bias), x + bias.reshape(aligned))


@pytest.mark.parametrize(("axis", "shape", "aligned"), [(0, (2, 3), (2, 3, 1, 1)), (2, (4, 5), (4, 5)), (9, (), ())])
def test_the_second_input_is_the_bias(axis: int, shape: tuple[int, ...], aligned: tuple[int, ...]) -> None:
    x, given = torch.randn(X), torch.randn(shape)
    layer = Bias(axis)
    assert layer.shape(X, shape) == X
    assert layer.weights(X, shape) == {}
    torch.testing.assert_close(layer.forward(x, given), x + given.reshape(aligned))


def test_the_bias_starts_at_zero_unless_a_filler_is_given(layer: Callable[..., Bias]) -> None:
    assert layer("Bias", "", X) == Bias()
    assert layer("Bias", "bias_param { axis: -2 num_axes: -1 filler { value: 3 } }", X) == Bias(-2, -1, Filler(value=3))


def test_refusals_of_a_bias(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("Bias", "", X, (4,)) == (
        "its bias 4 does not match its input 2x3x4x5 from axis 1 on",
        'bottom: "x1"',
    )
    assert refusal("Bias", "bias_param { axis: 3 }", X, (5, 6)) == (
        "its bias runs along 2 axes from 3 on, its input has 4",
        'bottom: "x1"',
    )
    assert refusal("Bias", "bias_param { axis: 3 num_axes: 2 }", X) == (
        "its bias runs along 2 axes from 3 on, its input has 4",
        "num_axes: 2",
    )
    assert refusal("Bias", "bias_param { axis: 4 }", X) == ("axis 4 is outside its 4-axis input", "axis: 4")
    assert refusal("Bias", "bias_param { axis: -5 }", X) == ("axis -5 is outside its 4-axis input", "axis: -5")
    assert refusal("Bias", "bias_param { num_axes: -2 }", X) == ("num_axes is -2", "num_axes: -2")
