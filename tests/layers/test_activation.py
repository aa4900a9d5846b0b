"""BNLL, ELU, GELU, HardSwish, PReLU, ReLU, SiLU, Sigmoid, Softplus, Swish, TanH."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.ir import Filler, Graph, Layer
from nktc.layers import BNLL, ELU, GELU, HardSwish, PReLU, ReLU, Sigmoid, SiLU, Softplus, Swish, TanH


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


CURVES: list[tuple[Layer, Callable[[np.ndarray], np.ndarray]]] = [
    (BNLL(), lambda x: np.logaddexp(0, x)),
    (ELU(), lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    (ELU(0.4), lambda x: np.where(x > 0, x, 0.4 * np.expm1(np.minimum(x, 0)))),
    (GELU(), lambda x: x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2),
    (GELU(tanh=True), lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2),
    (HardSwish(), lambda x: np.select([x <= -3, x >= 3], [0 * x, x], x * (x + 3) / 6)),
    (SiLU(), lambda x: x * sigmoid(x)),
    (Sigmoid(), sigmoid),
    (Softplus(), lambda x: np.logaddexp(0, x)),
    (Softplus(0.3), lambda x: np.logaddexp(0, 0.3 * x) / 0.3),
    (Swish(), lambda x: x / (1 + np.exp(-x))),
    (Swish(-2.0), lambda x: x * sigmoid(-2 * x)),
    (TanH(), np.tanh),
]


@pytest.mark.parametrize(("layer", "curve"), CURVES, ids=lambda value: str(value) if isinstance(value, Layer) else "")
def test_each_smooth_type_is_its_closed_form(layer: Layer, curve: Callable[[np.ndarray], np.ndarray]) -> None:
    x = np.linspace(-30, 30, 121)
    np.testing.assert_allclose(layer.forward(torch.from_numpy(x)), curve(x), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("layer", [layer for layer, _ in CURVES], ids=str)
def test_nothing_overflows_far_from_zero(layer: Layer) -> None:
    x = torch.tensor([-1000.0, 1000.0], requires_grad=True)
    y = layer.forward(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("slope", [0.0, 0.1, -0.5])
def test_relu_multiplies_what_is_negative_and_what_is_zero_counts_as_negative(slope: float) -> None:
    x = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    y = ReLU(slope).forward(x)
    y.sum().backward()
    assert y.tolist() == pytest.approx([-2 * slope, 0, 3])
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([slope, slope, 1])


def test_elu_at_zero_has_the_slope_of_the_negative_side() -> None:
    x = torch.zeros(1, requires_grad=True)
    ELU(0.4).forward(x).backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(0.4)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 2, 4), (2, 3, 1, 2, 2)])
def test_prelu_has_a_slope_for_each_channel(shape: tuple[int, ...]) -> None:
    x, slope = torch.randn(shape, requires_grad=True), torch.tensor([0.5, -0.25, 2.0], requires_grad=True)
    assert PReLU().weights(shape)["slope"].shape == (3,)
    y = PReLU().forward(x, slope)
    y.sum().backward()
    given, made = x.detach().numpy(), y.detach().numpy()
    for channel, factor in enumerate(slope.tolist()):
        expected = np.where(given[:, channel] > 0, given[:, channel], factor * given[:, channel])
        np.testing.assert_allclose(made[:, channel], expected, rtol=1e-6)
    assert slope.grad is not None
    sums = np.minimum(given, 0).reshape(2, 3, -1).sum((0, 2))
    np.testing.assert_allclose(slope.grad, sums, rtol=1e-5)


def test_prelu_at_zero_has_the_slope_of_the_negative_side() -> None:
    x, slope = torch.zeros(1, 2, requires_grad=True), torch.tensor([0.5, -3.0], requires_grad=True)
    PReLU().forward(x, slope).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.5, -3.0]]
    assert slope.grad is not None
    assert slope.grad.tolist() == [0, 0]


def test_a_shared_prelu_has_one_number(layer: Callable[..., PReLU]) -> None:
    shared = layer("PReLU", "prelu_param { channel_shared: true }", (2, 3))
    assert shared.weights((2, 3))["slope"].shape == ()
    x = torch.tensor([[-1.0, 2.0, -3.0]])
    assert shared.forward(x, torch.tensor(0.5)).tolist() == [[-0.5, 2.0, -1.5]]


def test_the_slopes_start_at_a_quarter_unless_a_filler_is_given(layer: Callable[..., PReLU]) -> None:
    assert layer("PReLU", "", (2, 3)).filler == Filler(value=0.25)
    assert layer("PReLU", "prelu_param { filler { value: 0.6 } }", (2, 3)).filler.value == pytest.approx(0.6)
    assert layer("PReLU", 'prelu_param { filler { type: "gaussian" } }', (2, 3)).filler == Filler("gaussian")


def test_settings_are_read(layer: Callable[..., Layer]) -> None:
    assert layer("ELU", "elu_param { alpha: 0.5 }", (2,)) == ELU(0.5)
    assert layer("GELU", "gelu_param { approximate: TANH }", (2,)) == GELU(tanh=True)
    assert layer("Softplus", "softplus_param { beta: 2 }", (2,)) == Softplus(2)
    assert layer("Swish", "swish_param { beta: 2 }", (2,)) == Swish(2)


@pytest.mark.parametrize("kind", [ReLU, Sigmoid, TanH])
@pytest.mark.parametrize("engine", ["CAFFE", "CUDNN"])
def test_an_engine_is_accepted_and_changes_nothing(layer: Callable[..., Layer], kind: type[Layer], engine: str) -> None:
    param = f"{kind.__name__.lower()}_param {{ engine: {engine} }}"
    assert layer(kind.__name__, param, (2,)) == kind()


@pytest.mark.parametrize(
    ("settings", "slope"),
    [
        ('type: "BNLL"', lambda y: np.exp(y) / (1 + np.exp(y))),
        ('type: "ELU"', lambda y: np.where(y > 0, 1, y + 1)),
        ('type: "ELU" elu_param { alpha: -0.5 }', lambda y: np.where(y > 0, 1, y - 0.5)),
        ('type: "ReLU"', lambda y: y > 0),
        ('type: "ReLU" relu_param { negative_slope: 0.25 }', lambda y: np.where(y > 0, 1, 0.25)),
        ('type: "ReLU" relu_param { negative_slope: -0.5 }', lambda y: np.where(y > 0, 1, -0.5)),
        ('type: "Sigmoid"', lambda y: y * (1 - y)),
        ('type: "TanH"', lambda y: 1 - y**2),
    ],
)
def test_in_place_the_slope_is_what_the_output_tells(
    read: Callable[..., Graph], settings: str, slope: Callable[[np.ndarray], np.ndarray]
) -> None:
    """In Caffe the input is overwritten by then; a negative value that a slope below 0 made positive looks positive."""
    graph = read(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 6 }} }} }}
        layer {{ name: "it" bottom: "x" top: "x" {settings} }}
    """)
    x, seed = torch.tensor([-4.0, -2.0, -0.5, 0.0, 0.5, 3.0], requires_grad=True), torch.arange(1.0, 7.0)
    y = graph.nodes[-1].layer.forward(x)
    y.backward(seed)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, seed.numpy() * slope(y.detach().numpy()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kind", dict.fromkeys([type(layer) for layer, _ in CURVES] + [ReLU, PReLU]), ids=lambda k: k.__name__
)
def test_all_may_work_in_place(kind: type[Layer]) -> None:
    assert kind.in_place


def test_refusals(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("PReLU", "", (3,)) == ("takes 2 axes or more (batch, channels, ...), not 1", 'bottom: "x0"')
    assert refusal("Softplus", "softplus_param { beta: 0 }", (3,)) == ("beta is 0", "beta: 0")
    assert refusal("Softplus", "softplus_param { beta: inf }", (3,)) == ("beta is inf", "beta: inf")
    assert refusal("Softplus", "softplus_param { beta: nan }", (3,)) == ("beta is nan", "beta: nan")
