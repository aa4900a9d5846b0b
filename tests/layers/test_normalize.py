"""GroupNorm, LRN, LayerNorm and MVN against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.ir import Filler, Layer
from nktc.layers import LRN, MVN, GroupNorm, LayerNorm


def normalized(x: np.ndarray, layer: LRN) -> np.ndarray:
    """x[n c h w] divided, one value at a time."""
    half, y = layer.size // 2, np.zeros_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        if layer.within:
            seen = x[n, c, max(0, h - half) : h + half + 1, max(0, w - half) : w + half + 1]
        else:
            seen = x[n, max(0, c - half) : c + half + 1, h, w]
        mean = (seen**2).sum() / layer.size ** (2 if layer.within else 1)
        y[n, c, h, w] = x[n, c, h, w] / (layer.k + layer.alpha * mean) ** layer.beta
    return y


@pytest.mark.parametrize(
    "layer", [LRN(), LRN(1, 2.0), LRN(3, 0.5, 0.4, 2.0), LRN(9), LRN(3, 0.5, within=True), LRN(7, within=True)]
)
def test_each_value_is_divided_by_the_strength_of_its_neighbours(layer: LRN) -> None:
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    np.testing.assert_allclose(layer.forward(x), normalized(x.numpy(), layer), rtol=1e-12)


def test_the_squares_of_half_floats_do_not_overflow() -> None:
    x = torch.full((1, 1, 1, 1), 1000.0, dtype=torch.float16)
    assert LRN(1, 1e-4).forward(x).item() == pytest.approx(1000 / 101**0.75, rel=2e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("settings", [(5, 0.1, 0.75, 1.0), (3, 2.0, 0.5, 2.0), (9, 1.0, 0.6, 1.0), (1, 1.0, 0.75, 0.5)])
def test_its_values_and_gradients_are_those_of_torchs_own(
    settings: tuple[Any, ...], layout: torch.memory_format
) -> None:
    x = torch.randn(2, 6, 4, 5).contiguous(memory_format=layout).requires_grad_()
    direction = torch.randn(2, 6, 4, 5)
    found = LRN(*settings).forward(x)
    expected = F.local_response_norm(x, *settings)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=layout)
    gradient, expected = (torch.autograd.grad(y, x, direction)[0] for y in (found, expected))
    torch.testing.assert_close(gradient, expected)
    assert gradient.is_contiguous(memory_format=layout)


def test_across_channels_it_works_out_again_what_its_backward_needs() -> None:
    x = torch.randn(2, 6, 4, 5, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        LRN().forward(x)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]


def test_halves_are_squared_and_summed_in_32_bits() -> None:
    x = torch.full((1, 5, 1, 1), 300.0, dtype=torch.float16, requires_grad=True)
    y = LRN(5, 1.0).forward(x)
    y.sum().backward()
    expected = torch.full((1, 5, 1, 1), 300.0, requires_grad=True)
    F.local_response_norm(expected, 5, 1.0).sum().backward()
    assert x.grad is not None
    assert expected.grad is not None
    torch.testing.assert_close(x.grad.float(), expected.grad, rtol=2e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, of Function
def test_lrn_compiles_with_its_backward() -> None:
    x = torch.randn(2, 6, 4, 5, requires_grad=True)
    torch.compiler.reset()
    y = torch.compile(LRN().forward, backend="aot_eager", fullgraph=True)(x)
    expected = LRN().forward(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x), torch.autograd.grad(expected.sum(), x))


def test_k_is_ignored_within_a_channel(layer: Callable[..., LRN]) -> None:
    assert layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL k: 2 }", (1, 2, 3, 3)).k == 1
    assert layer("LRN", "lrn_param { k: 2 }", (1, 2, 3, 3)).k == 2


def test_lrn_refuses_what_it_cannot_do(refusal: Callable[..., tuple[str, str]]) -> None:
    message, at = refusal("LRN", "lrn_param { local_size: 4294967295 }", (1, 2, 3, 3))
    assert (message, at) == ("local_size 4294967295 is larger than 2147483647", "local_size: 4294967295")
    message, at = refusal("LRN", "lrn_param { local_size: 4 }", (1, 2, 3, 3))
    assert (message, at) == ("local_size 4 is even", "local_size: 4")
    assert refusal("LRN", "", (1, 2))[0] == "takes 4 axes (batch, channels, height, width), not 2"


def standard(rows: np.ndarray, eps: float) -> np.ndarray:
    """Each row brought to mean 0 and variance 1, in the plainest way."""
    return np.stack([(row - row.mean()) / math.sqrt(row.var() + eps) for row in rows])


@pytest.mark.parametrize(("shape", "group"), [((2, 6, 3, 4), 3), ((2, 6), 2), ((3, 4, 5), 1), ((2, 4, 2, 3, 2), 4)])
def test_each_group_of_channels_is_normalised_on_its_own(shape: tuple[int, ...], group: int) -> None:
    x = np.random.default_rng(1).normal(2, 3, shape)
    weight, bias = np.linspace(1, 2, shape[1]), np.linspace(-1, 1, shape[1])
    aligned = (-1, *(1,) * (len(shape) - 2))
    expected = standard(x.reshape(shape[0] * group, -1), 0.1).reshape(shape)
    expected = expected * weight.reshape(aligned) + bias.reshape(aligned)
    given = (torch.from_numpy(array) for array in (x, weight, bias))
    np.testing.assert_allclose(GroupNorm(group, 0.1).forward(*given), expected, rtol=1e-9)


def test_a_group_of_one_value_is_its_own_mean() -> None:
    x = torch.randn(1, 3, 1, 1)
    assert not GroupNorm(3, scale=False, bias=False).forward(x).any()


@pytest.mark.parametrize(("axis", "rows"), [(-1, 24), (1, 2), (-2, 6), (0, 1)])
def test_all_axes_from_axis_on_are_normalised_together(axis: int, rows: int) -> None:
    x = np.random.default_rng(1).normal(2, 3, (2, 3, 4, 5))
    along = x.shape[axis:]
    weight, bias = np.random.default_rng(2).normal(size=(2, *along))
    expected = standard(x.reshape(rows, -1), 0.1).reshape(x.shape) * weight + bias
    layer = LayerNorm(axis, 0.1)
    assert layer.weights(x.shape)["weight"].shape == along
    given = (torch.from_numpy(array) for array in (x, weight, bias))
    np.testing.assert_allclose(layer.forward(*given), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("terms", "names"),
    [
        ("", ["weight", "bias"]),
        ("scale_term: false", ["bias"]),
        ("bias_term: false", ["weight"]),
        ("scale_term: false bias_term: false", []),
    ],
)
@pytest.mark.parametrize("kind", ["GroupNorm", "LayerNorm"])
def test_scale_and_bias_are_learned_where_asked_for(
    layer: Callable[..., Layer], kind: str, terms: str, names: list[str]
) -> None:
    param, shape = {"GroupNorm": "group_norm_param { group: 2", "LayerNorm": "layer_norm_param {"}[kind], (2, 4)
    weights = layer(kind, f"{param} {terms} }}", shape).weights(shape)
    assert list(weights) == names
    assert all(weight.shape == (4,) for weight in weights.values())
    starts = {"weight": 1.0, "bias": 0.0}
    assert all(weight.filler == Filler(value=starts[name]) for name, weight in weights.items())


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("variance", [False, True])
def test_mvn_takes_off_the_mean_and_divides_by_the_deviation_and_eps(across: bool, variance: bool) -> None:
    x = np.random.default_rng(1).normal(2, 3, (2, 3, 4, 5))
    expected = np.empty_like(x)
    for at in np.ndindex(2) if across else np.ndindex(2, 3):
        part = x[at]
        expected[at] = (part - part.mean()) / (part.std() + 0.1 if variance else 1)
    made = MVN(variance, across, 0.1).forward(torch.from_numpy(x))
    np.testing.assert_allclose(made, expected, rtol=1e-9)


def test_the_gradient_of_mvn_is_caffes_which_counts_eps_as_deviation() -> None:
    rng = np.random.default_rng(1)
    x, top = rng.normal(2, 3, (2, 1, 3, 10, 2))
    given = torch.from_numpy(x).requires_grad_()
    y = MVN(eps=0.5).forward(given)
    y.backward(torch.from_numpy(top))
    made = y.detach().numpy()
    mean = top.mean((2, 3), keepdims=True) + made * (top * made).mean((2, 3), keepdims=True)
    expected = (top - mean) / (x.std((2, 3), keepdims=True) + 0.5)
    assert given.grad is not None
    np.testing.assert_allclose(given.grad, expected, rtol=1e-9)


def test_a_flat_image_has_a_finite_gradient() -> None:
    x = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    y = MVN(eps=0.5).forward(x)
    y[0, 0, 0, 0].backward()
    assert not y.any()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5])


@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("across", [False, True])
def test_mvn_makes_four_axes(shape: tuple[int, ...], across: bool) -> None:
    x, layer = torch.randn(shape, dtype=torch.float64), MVN(across=across)
    full = (*shape, 1, 1, 1, 1)[:4]
    assert layer.shape(shape) == full
    torch.testing.assert_close(layer.forward(x), layer.forward(x.reshape(full)))
    assert layer.forward(x).shape == full


def test_half_floats_do_not_overflow_in_mvn() -> None:
    x = torch.tensor([-1000.0, 1000.0], dtype=torch.float16).reshape(1, 1, 1, 2)
    y = MVN().forward(x)
    assert y.flatten().tolist() == [-1, 1]
    assert y.dtype == torch.float16


def test_settings_are_read(layer: Callable[..., Layer]) -> None:
    text = "mvn_param { normalize_variance: false across_channels: true eps: 0.5 }"
    assert layer("MVN", text, (2, 3)) == MVN(False, True, 0.5)
    assert layer("GroupNorm", "group_norm_param { eps: 0.5 }", (2, 32)) == GroupNorm(32, 0.5)
    assert layer("LayerNorm", "layer_norm_param { eps: 0.5 axis: 1 }", (2, 3)) == LayerNorm(1, 0.5)


def test_the_norms_refuse_what_they_cannot_do(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("MVN", "", (1, 2, 3, 4, 5)) == (
        "takes up to 4 axes (batch, channels, height, width), not 5",
        'bottom: "x0"',
    )
    assert refusal("GroupNorm", "", (2, 48, 4)) == ("group 32 does not divide its 48 channels", 'type: "GroupNorm"')
    assert refusal("GroupNorm", "group_norm_param { group: 5 }", (2, 6)) == (
        "group 5 does not divide its 6 channels",
        "group: 5",
    )
    assert refusal("GroupNorm", "group_norm_param { group: 0 }", (2, 6)) == ("group is 0", "group: 0")
    assert refusal("GroupNorm", "", (6,))[0] == "takes 2 axes or more (batch, channels, ...), not 1"
    assert refusal("LayerNorm", "layer_norm_param { axis: 2 }", (2, 3)) == (
        "axis 2 is outside its 2-axis input",
        "axis: 2",
    )
    assert refusal("LayerNorm", "layer_norm_param { eps: -1 }", (2, 3)) == ("eps is -1", "eps: -1")
    assert refusal("GroupNorm", "group_norm_param { eps: nan }", (2, 32)) == ("eps is nan", "eps: nan")
