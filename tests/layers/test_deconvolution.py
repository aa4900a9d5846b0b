"""Deconvolution against windows added up one by one, and as the reverse of Convolution."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import Convolution, Deconvolution, InnerProduct
from nktc.layers.filler import bilinear


def added_up(x: np.ndarray, weight: np.ndarray, layer: Deconvolution) -> np.ndarray:
    """y[o q..] of x[i p..]: each input value times its window, laid where it belongs."""
    window = layer.window(x.ndim - 1)
    whole = [
        s * (n - 1) + d * (k - 1) + 1
        for n, k, s, d in zip(x.shape[1:], window.kernel, window.stride, window.dilation, strict=True)
    ]
    y = np.zeros((layer.outputs, *whole))
    inputs, outputs = x.shape[0] // layer.group, layer.outputs // layer.group
    for i, *p in itertools.product(*map(range, x.shape)):
        for o, *k in itertools.product(range(outputs), *map(range, window.kernel)):
            at = [a * s + b * d for a, s, b, d in zip(p, window.stride, k, window.dilation, strict=True)]
            y[(i // inputs * outputs + o, *at)] += x[(i, *p)] * weight[(i, o, *k)]
    return y[(slice(None), *(slice(p, n - p) for p, n in zip(window.pad, whole, strict=True)))]


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ("num_output: 2 kernel_size: 3", (3, 4, 3)),
        ("num_output: 4 kernel_size: 3 stride: 2 pad: 2 group: 2", (2, 4, 3)),
        ("num_output: 4 kernel_size: 2 kernel_size: 1 dilation: 2 dilation: 3 group: 4", (4, 3, 4)),
        ("num_output: 2 kernel_h: 2 kernel_w: 3 pad_h: 1 stride_h: 1 stride_w: 4", (2, 4, 3)),
        ("num_output: 1 kernel_size: 1 stride: 2 pad: 1", (2, 4, 3)),
        ("num_output: 3 kernel_size: 4 pad: 5 stride: 2", (2, 9)),
        ("num_output: 2 kernel_size: 2 stride: 1 stride: 2 stride: 1 pad: 1", (2, 3, 4, 3)),
    ],
)
def test_every_input_value_lays_down_its_window(
    layer: Callable[..., Deconvolution], settings: str, size: tuple[int, ...]
) -> None:
    it = layer("Deconvolution", f"convolution_param {{ {settings} bias_term: false }}", (1, *size))
    weight = torch.randn(it.weights((1, *size))["weight"].shape, dtype=torch.float64)
    x = torch.randn(1, *size, dtype=torch.float64)
    expected = added_up(x[0].numpy(), weight.numpy(), it)
    assert it.shape((1, *size)) == (1, *expected.shape)
    np.testing.assert_allclose(it.forward(x, weight)[0], expected, atol=1e-12)


def test_it_is_what_a_convolution_does_to_gradients() -> None:
    weight = torch.randn(4, 3, 3, 2)
    x = torch.randn(2, 6, 7, 6, requires_grad=True)
    forth = Convolution(4, (3, 2), (2, 1), (1, 0), group=2, bias=False)
    y = forth.forward(x, weight)
    y.backward(torch.ones_like(y))
    back = Deconvolution(6, (3, 2), (2, 1), (1, 0), group=2, bias=False)
    torch.testing.assert_close(back.forward(torch.ones_like(y), weight), x.grad)


def test_the_bilinear_filler_interpolates_between_the_values(layer: Callable[..., Deconvolution]) -> None:
    settings = (
        'num_output: 2 group: 2 kernel_size: 4 stride: 2 pad: 1 bias_term: false weight_filler { type: "bilinear" }'
    )
    it = layer("Deconvolution", f"convolution_param {{ {settings} }}", (1, 2, 5, 5))
    assert it.weights((1, 2, 5, 5))["weight"].filler.type == "bilinear"
    x = torch.randn(1, 2, 5, 5)
    expected = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    inside = (..., slice(1, -1), slice(1, -1))  # at the edge there are zeros outside
    torch.testing.assert_close(it.forward(x, bilinear((2, 1, 4, 4)))[inside], expected[inside])


def test_the_axes_before_the_channels_are_all_batch(layer: Callable[..., Deconvolution]) -> None:
    it = layer("Deconvolution", "convolution_param { num_output: 2 kernel_size: 2 axis: 2 }", (2, 3, 4, 5, 5))
    x, weight, bias = torch.randn(2, 3, 4, 5, 5), torch.randn(4, 2, 2, 2), torch.randn(2)
    expected = torch.conv_transpose2d(x.flatten(0, 1), weight, bias).unflatten(0, (2, 3))
    torch.testing.assert_close(it.forward(x, weight, bias), expected)


def test_without_spatial_axes_it_is_an_inner_product(layer: Callable[..., Deconvolution]) -> None:
    it = layer("Deconvolution", "convolution_param { num_output: 3 kernel_size: 2 }", (4, 5))
    x, weight, bias = torch.randn(4, 5), torch.randn(5, 3), torch.randn(3)
    assert it.weights((4, 5))["weight"].shape == (5, 3)
    torch.testing.assert_close(it.forward(x, weight, bias), InnerProduct(3).forward(x, weight.T, bias))


def test_caffes_choices_of_implementation_change_nothing(layer: Callable[..., Deconvolution]) -> None:
    plain = layer("Deconvolution", "convolution_param { num_output: 3 kernel_size: 2 }", (1, 2, 4, 4))
    settings = "convolution_param { num_output: 3 kernel_size: 2 engine: CUDNN force_nd_im2col: true }"
    assert layer("Deconvolution", settings, (1, 2, 4, 4)) == plain


def test_a_multiply_and_an_add_count_as_two() -> None:
    it = Deconvolution(4, (3,), group=2)
    assert it.flops((1, 6, 5, 5), (1, 4, 7, 7)) == 2 * (6 * 5 * 5) * (2 * 3 * 3)


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("kernel_size: 3", "has no num_output", "type"),
        ("num_output: 2", "has no kernel_size", "type"),
        ("num_output: 2 kernel_size: 3 pad: 4", "pad 4x4 on both sides leaves nothing of 7x8", "pad: 4"),
        ("num_output: 3 kernel_size: 1 group: 2", "group 2 does not divide num_output 3", "group: 2"),
        ("num_output: 3 kernel_size: 1 group: 3", "group 3 does not divide its 4 input channels", "group: 3"),
        ("num_output: 2 kernel_size: 1 axis: 4", "axis 4 is outside its 4-axis input", "axis: 4"),
        ("num_output: 2 kernel_size: 1 stride: 0", "stride is 0", "stride: 0"),
        (
            'num_output: 2 kernel_h: 1 kernel_w: 2 weight_filler { type: "bilinear" }',
            "the bilinear filler takes a square window, not weights of 4x2x1x2",
            "weight_filler {",
        ),
        (
            'num_output: 2 kernel_size: 1 bias_filler { type: "bilinear" }',
            "the bilinear filler takes a square window, not weights of 2",
            "bias_filler {",
        ),
    ],
)
def test_contradictions_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("Deconvolution", f"convolution_param {{ {settings} }}", (2, 4, 5, 6))
    assert found == message
    assert at.startswith(blamed)
