"""Normalize, as SSD and caffe-windows have it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch

from nktc.ir import Layer


@pytest.mark.parametrize(
    ("across", "shared", "shape"),
    [(*flags, shape) for flags in product([True, False], repeat=2) for shape in [(2, 3, 4, 5), (4, 3)]],
)
def test_ssds_divides_by_the_norm_and_scales(
    layer: Callable[..., Layer], across: bool, shared: bool, shape: tuple[int, ...]
) -> None:
    settings = f"norm_param {{ across_spatial: {across} channel_shared: {shared} eps: 0.5 }}".replace("T", "t")
    normalize = layer("Normalize", settings.replace("F", "f"), shape)
    random = np.random.default_rng(0)
    x = random.normal(size=shape)
    scale = random.normal(size=() if shared else shape[1:2])
    along = tuple(range(1, len(shape))) if across else 1
    expected = x / np.sqrt((x**2).sum(along, keepdims=True) + 0.5)
    expected = expected * (scale if shared else scale.reshape(-1, *[1] * (len(shape) - 2)))
    found = normalize.forward(torch.from_numpy(x), torch.tensor(scale))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert normalize.weights(shape)["weight"].shape == scale.shape


def test_factors_that_differ_come_last_in_the_gradient_as_in_caffe(layer: Callable[..., Layer]) -> None:
    normalize = layer("Normalize", "norm_param { channel_shared: false }", (2, 3))
    x, scale = torch.randn(2, 3, dtype=torch.float64, requires_grad=True), torch.tensor([1.0, 2, 3]).double()
    normalize.forward(x, scale).sum().backward()
    y = x.detach().clone().requires_grad_()
    (y / y.norm(dim=1, keepdim=True)).sum().backward()  # as if there were none
    assert x.grad is not None
    assert y.grad is not None
    torch.testing.assert_close(x.grad, y.grad * scale)


@pytest.mark.parametrize(("kind", "through"), [("L1", True), ("L2", True), ("L2", False)])
def test_that_of_caffe_windows_gives_the_norm_too(layer: Callable[..., Layer], kind: str, through: bool) -> None:
    settings = f'normalize_param {{ normalize_type: "{kind}" bp_norm: {str(through).lower()} }}'
    normalize = layer("Normalize", settings, (2, 3, 4), tops=2)
    assert normalize.weights((2, 3, 4)) == {}
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    y, norm = normalize.forward(x)
    order = int(kind[1])
    expected = torch.linalg.vector_norm(x.detach(), order, 1, keepdim=True)
    torch.testing.assert_close(norm.detach(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y.detach(), x.detach() / norm.detach())
    assert norm.requires_grad == through


@pytest.mark.parametrize(
    ("settings", "tops", "message"),
    [
        ("norm_param { eps: 1 } normalize_param { bp_norm: true }", 1, "has norm_param and normalize_param"),
        ("norm_param { eps: 1 }", 2, "makes 1 top with norm_param, not 2"),
        ('normalize_param { normalize_type: "L3" }', 1, 'normalize_type is "L3"'),
    ],
)
def test_what_is_neither_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, tops: int, message: str
) -> None:
    assert refusal("Normalize", settings, (2, 3), tops=tops)[0] == message
