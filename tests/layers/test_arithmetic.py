"""AbsVal, Clip, Exp, Log, Power, Threshold."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nktc.ir import Graph, Layer
from nktc.layers import AbsVal, Clip, Exp, Log, Power, Threshold


def slopes(layer: Layer, x: Tensor) -> list[float]:
    """The gradient at each value of `x`."""
    given = x.clone().requires_grad_()
    layer.forward(given).sum().backward()
    assert given.grad is not None
    found: list[float] = given.grad.tolist()
    return found


def test_absval_has_no_slope_at_zero_and_does_not_work_in_place() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0])
    assert AbsVal().forward(x).tolist() == [2, 0, 3]
    assert slopes(AbsVal(), x) == [-1, 0, 1]
    assert not AbsVal.in_place


def test_clip_passes_the_gradient_at_both_edges() -> None:
    x = torch.tensor([-1.0, -0.5, 0.0, 0.75, 1.0])
    assert Clip(-0.5, 0.75).forward(x).tolist() == [-0.5, -0.5, 0, 0.75, 0.75]
    assert slopes(Clip(-0.5, 0.75), x) == [0, 1, 1, 1, 0]


def test_threshold_is_strict_and_lets_no_gradient_through() -> None:
    y = Threshold(1.0).forward(torch.tensor([0.0, 1.0, 1.5], requires_grad=True))
    assert y.tolist() == [0, 0, 1]
    assert y.dtype == torch.float32
    assert not y.requires_grad


@pytest.mark.parametrize(("base", "given"), [(math.e, -1), (2, 2), (10, 10), (0.5, 0.5), (1, 1)])
def test_exp_raises_its_base(layer: Callable[..., Exp], base: float, given: float) -> None:
    exp = layer("Exp", f"exp_param {{ base: {given} scale: 0.5 shift: -2 }}", (3,))
    x = np.linspace(-4, 4, 17)
    expected = base ** (0.5 * x - 2)
    np.testing.assert_allclose(exp.forward(torch.from_numpy(x)), expected, rtol=1e-7)
    np.testing.assert_allclose(slopes(exp, torch.from_numpy(x)), expected * 0.5 * math.log(base), rtol=1e-7)


@pytest.mark.parametrize(("base", "given"), [(math.e, -1), (2, 2), (10, 10), (0.5, 0.5)])
def test_log_is_to_its_base(layer: Callable[..., Log], base: float, given: float) -> None:
    log = layer("Log", f"log_param {{ base: {given} scale: 0.5 shift: 3 }}", (3,))
    x = np.linspace(-4, 4, 17)
    np.testing.assert_allclose(log.forward(torch.from_numpy(x)), np.log(0.5 * x + 3) / np.log(base), rtol=1e-7)
    np.testing.assert_allclose(slopes(log, torch.from_numpy(x)), 0.5 / (0.5 * x + 3) / np.log(base), rtol=1e-7)


def test_what_has_no_logarithm_is_as_in_caffe() -> None:
    x = torch.tensor([0.0, -1.0])
    y = Log().forward(x)
    assert y[0] == -math.inf
    assert y[1].isnan()
    assert slopes(Log(), x) == [math.inf, -1]


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, -1.0, 0.5, -1.5])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, 0.0), (0.5, 3.0)])
def test_power_raises_shift_and_scaled_value(power: float, scale: float, shift: float) -> None:
    x = np.linspace(0.25, 4, 16)
    given = torch.from_numpy(x)
    np.testing.assert_allclose(Power(power, scale, shift).forward(given), (shift + scale * x) ** power, rtol=1e-12)
    expected = power * scale * (shift + scale * x) ** (power - 1)
    np.testing.assert_allclose(slopes(Power(power, scale, shift), given), expected, rtol=1e-12)


def test_whole_powers_take_negative_values() -> None:
    x = torch.tensor([-2.0, 3.0])
    assert Power(2).forward(x).tolist() == [4, 9]
    assert Power(3, -1).forward(x).tolist() == [8, -27]
    assert slopes(Power(2, shift=1), x) == [-2, 8]
    assert Power(0.5).forward(x)[0].isnan()


@pytest.mark.parametrize(
    ("layer", "value"),
    [
        (Power(0), 1),
        (Power(0, 2, 3), 1),
        (Power(2, 0, 3), 9),
        (Power(0.5, 0, 0), 0),
        (Power(-1, 0, 0), math.inf),
        (Power(0, 0, 0), 1),
    ],
    ids=str,
)
def test_a_power_or_scale_of_zero_makes_a_constant_whose_gradient_is_zero(layer: Power, value: float) -> None:
    x = torch.tensor([-1.0, 0.0, 2.0, math.inf, math.nan])
    assert layer.forward(x).tolist() == [value] * 5
    assert slopes(layer, x) == [0] * 5


@pytest.mark.parametrize(("power", "slope"), [(1.0, 2.0), (2.0, 0.0), (3.0, 0.0), (0.5, math.inf), (-1.0, -math.inf)])
def test_the_slope_of_a_power_at_zero_is_the_true_one(power: float, slope: float) -> None:
    assert slopes(Power(power, 2.0), torch.zeros(1)) == [slope]


@pytest.mark.parametrize(
    ("settings", "gradient"),
    [
        ('type: "Clip" clip_param { min: 1 max: 2 }', lambda y, seed: seed),
        ('type: "Exp" exp_param { base: 2 scale: 3 shift: 1 }', lambda y, seed: seed * y * 3 * np.log(2)),
        ('type: "Log" log_param { base: 2 scale: 3 shift: 1 }', lambda y, seed: (3 / np.log(2) / (3 * y + 1)) ** 2),
        ('type: "Power" power_param { scale: 3 }', lambda y, seed: 9 + 0 * y),
        ('type: "Power" power_param { power: 2 scale: 3 shift: 1 }', lambda y, seed: (18 * y + 6) ** 2),
        ('type: "Power" power_param { power: -1.5 scale: 3 }', lambda y, seed: 2.25 + 0 * y),
        ('type: "Power" power_param { power: 1.5 scale: 3 shift: 1 }', lambda y, seed: (4.5 * y / (3 * y + 1)) ** 2),
        ('type: "Power" power_param { power: 0 }', lambda y, seed: 0 * y),
    ],
)
def test_in_place_the_slope_is_taken_at_the_output_and_may_be_written_over_the_gradient(
    read: Callable[..., Graph], settings: str, gradient: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    graph = read(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 5 }} }} }}
        layer {{ name: "it" bottom: "x" top: "x" {settings} }}
    """)
    x, seed = torch.tensor([0.25, 0.5, 1.0, 1.5, 3.0], requires_grad=True), torch.arange(1.0, 6.0)
    y = graph.nodes[-1].layer.forward(x)
    y.backward(seed)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, gradient(y.detach().numpy(), seed.numpy()), rtol=1e-5)


def test_settings_are_read(layer: Callable[..., Layer]) -> None:
    assert layer("Power", "power_param { power: 3 scale: 2 shift: 1 }", (2,)) == Power(3, 2, 1)
    assert layer("Clip", "clip_param { min: 0 max: 6 }", (2,)) == Clip(0, 6)
    assert layer("Threshold", "threshold_param { threshold: 2 }", (2,)) == Threshold(2)


@pytest.mark.parametrize("kind", [Clip, Exp, Log, Power, Threshold])
def test_the_others_may_work_in_place(kind: type[Layer]) -> None:
    assert kind.in_place


def test_refusals(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("Clip", "clip_param { min: 2 max: 1 }", (3,)) == (
        "nothing is between min 2 and max 1",
        "min: 2",
    )
    assert refusal("Clip", "clip_param { min: nan max: 1 }", (3,)) == (
        "nothing is between min nan and max 1",
        "min: nan",
    )
    assert refusal("Clip", "", (3,)) == ("has no clip_param", 'type: "Clip"')
    assert refusal("Exp", "exp_param { base: 0 }", (3,)) == ("base is 0", "base: 0")
    assert refusal("Exp", "exp_param { base: inf }", (3,)) == ("base is inf", "base: inf")
    assert refusal("Log", "log_param { base: -2 }", (3,)) == ("base is -2", "base: -2")
    assert refusal("Log", "log_param { base: 1 }", (3,)) == ("there is no logarithm to the base 1", "base: 1")


@pytest.mark.parametrize(("given", "missing"), [("min: 0", "max"), ("max: 6", "min")])
def test_a_clip_takes_both_limits(refusal: Callable[..., tuple[str, str]], given: str, missing: str) -> None:
    assert refusal("Clip", f"clip_param {{ {given} }}", (3,)) == (f"clip_param lacks {missing}", "clip_param {")
