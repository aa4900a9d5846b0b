"""Convolution against a sum over every window, and what it refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import Convolution, InnerProduct


def convolved(x: np.ndarray, weight: np.ndarray, layer: Convolution) -> np.ndarray:
    """y[o q..] of x[i p..], one product at a time."""
    window = layer.window(x.ndim - 1)
    x = np.pad(x, [(0, 0), *((p, p) for p in window.pad)])
    positions = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:], window.kernel, window.stride, window.dilation, strict=True)
    ]
    y = np.zeros((layer.outputs, *positions))
    per_group = layer.outputs // layer.group
    for o, *q in itertools.product(range(layer.outputs), *map(range, positions)):
        for i, *k in itertools.product(range(weight.shape[1]), *map(range, window.kernel)):
            at = [a * s + b * d for a, s, b, d in zip(q, window.stride, k, window.dilation, strict=True)]
            channel = o // per_group * weight.shape[1] + i
            y[(o, *q)] += weight[(o, i, *k)] * x[(channel, *at)]
    return y


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ("num_output: 2 kernel_size: 3", (3, 5, 6)),
        ("num_output: 4 kernel_size: 3 stride: 2 pad: 2 group: 2", (2, 5, 6)),
        ("num_output: 4 kernel_size: 2 kernel_size: 1 dilation: 2 group: 4", (4, 5, 4)),
        ("num_output: 2 kernel_h: 2 kernel_w: 3 pad_h: 1 stride_h: 1 stride_w: 3", (2, 4, 7)),
        ("num_output: 3 kernel_size: 3 pad: 1 stride: 2", (2, 9)),
        ("num_output: 2 kernel_size: 2 stride: 1 stride: 2 stride: 1", (2, 3, 4, 3)),
    ],
)
def test_every_output_is_a_weighted_sum_of_its_window(
    layer: Callable[..., Convolution], settings: str, size: tuple[int, ...]
) -> None:
    it = layer("Convolution", f"convolution_param {{ {settings} bias_term: false }}", (1, *size))
    weight = torch.randn(it.weights((1, *size))["weight"].shape, dtype=torch.float64)
    x = torch.randn(1, *size, dtype=torch.float64)
    expected = convolved(x[0].numpy(), weight.numpy(), it)
    np.testing.assert_allclose(it.forward(x, weight)[0], expected, atol=1e-12)


def test_the_axes_before_the_channels_are_all_batch(layer: Callable[..., Convolution]) -> None:
    it = layer("Convolution", "convolution_param { num_output: 2 kernel_size: 2 axis: 2 }", (2, 3, 4, 5, 5))
    x, weight, bias = torch.randn(2, 3, 4, 5, 5), torch.randn(2, 4, 2, 2), torch.randn(2)
    expected = torch.conv2d(x.flatten(0, 1), weight, bias).unflatten(0, (2, 3))
    torch.testing.assert_close(it.forward(x, weight, bias), expected)


def test_without_spatial_axes_it_is_an_inner_product(layer: Callable[..., Convolution]) -> None:
    it = layer("Convolution", "convolution_param { num_output: 3 }", (4, 5))
    x, weight, bias = torch.randn(4, 5), torch.randn(3, 5), torch.randn(3)
    torch.testing.assert_close(it.forward(x, weight, bias), InnerProduct(3).forward(x, weight, bias))


def test_every_bottom_gets_a_top_from_the_same_weights(layer: Callable[..., Convolution]) -> None:
    it = layer("Convolution", "convolution_param { num_output: 3 kernel_size: 1 }", (4, 5, 2, 2), (1, 5, 3, 3), tops=2)
    assert it.each
    assert list(it.weights((4, 5, 2, 2))) == ["weight", "bias"]


def test_the_fillers_are_the_prototxts(layer: Callable[..., Convolution]) -> None:
    settings = 'num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } bias_filler { value: 2 }'
    weights = layer("Convolution", f"convolution_param {{ {settings} }}", (4, 5, 2, 2)).weights((4, 5, 2, 2))
    assert weights["weight"].filler.type == "xavier"
    assert weights["bias"].filler.value == 2


def test_a_multiply_and_an_add_count_as_two() -> None:
    it = Convolution(4, (3,), group=2)
    assert it.flops((1, 6, 5, 5), (1, 4, 3, 3)) == 2 * (4 * 3 * 3) * (3 * 3 * 3)


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("kernel_size: 3", "has no num_output", "type"),
        ("num_output: 2", "has no kernel_size", "type"),
        ("num_output: 2 kernel_size: 9", "window 9x9 is larger than its input 5x6", "kernel_size: 9"),
        ("num_output: 2 kernel_size: 5 dilation: 2 pad: 1", "window 9x9 is larger than its padded input 7x8", "ker"),
        ("num_output: 2 kernel_size: 0", "kernel_size is 0", "kernel_size: 0"),
        ("num_output: 2 kernel_size: 1 dilation: 0", "dilation is 0", "dilation: 0"),
        ("num_output: 3 kernel_size: 1 group: 2", "group 2 does not divide num_output 3", "group: 2"),
        ("num_output: 3 kernel_size: 1 group: 3", "group 3 does not divide its 4 input channels", "group: 3"),
        ("num_output: 2 kernel_size: 1 axis: 4", "axis 4 is outside its 4-axis input", "axis: 4"),
        ("num_output: 2 kernel_size: 1 pad: 1 pad: 1 pad: 1", "pad has 3 numbers for 2 spatial axes", "pad: 1"),
        ("num_output: 2 kernel_size: 1 stride: 2 stride_h: 1", "stride and stride_h, stride_w are both given", "str"),
        ("num_output: 2 kernel_size: 1 pad_h: 1 pad: 1", "pad and pad_h, pad_w are both given", "pad: 1"),
        ("num_output: 2 kernel_w: 1", "kernel_w is given without kernel_h", "kernel_w: 1"),
        ("num_output: 2 kernel_size: 1 stride_h: 2", "stride_h is given without stride_w", "stride_h: 2"),
        (
            "num_output: 2 kernel_size: 1" + 3 * " dilation: 1",
            "dilation has 3 numbers for 2 spatial axes",
            "dilation: 1",
        ),
        ("num_output: 2 kernel_size: 1 weight_filler { std: -1 type: 'gaussian' }", "std -1 is not above 0", "std: -1"),
        ('num_output: 2 kernel_size: 1 weight_filler { type: "gauss" }', 'unknown filler "gauss"', 'type: "gauss"'),
    ],
)
def test_contradictions_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("Convolution", f"convolution_param {{ {settings} }}", (2, 4, 5, 6))
    assert found == message
    assert at.startswith(blamed)


def test_bottoms_that_need_weights_of_two_shapes_are_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    settings = "convolution_param { num_output: 2 kernel_size: 3 }"
    message = "its weight is 2x4x3x3 for its first bottom, 2x5x3x3 for bottom 3"
    inputs = (1, 4, 6, 6), (2, 4, 7, 6), (1, 5, 6, 6)
    assert refusal("Convolution", settings, *inputs, tops=3) == (message, 'bottom: "x2"')


def test_more_than_three_spatial_axes_are_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    settings = "convolution_param { num_output: 2 kernel_size: 1 }"
    assert refusal("Convolution", settings, (1, 2, 3, 3, 3, 3))[0] == "has 4 spatial axes, at most 3 can be convolved"


def test_height_and_width_are_for_two_spatial_axes(refusal: Callable[..., tuple[str, str]]) -> None:
    settings = "convolution_param { num_output: 2 kernel_h: 1 kernel_w: 1 }"
    assert refusal("Convolution", settings, (1, 2, 3))[0] == "kernel_size has 2 numbers for 1 spatial axis"
    assert refusal("Convolution", settings, (1, 2))[0] == "kernel_size has 2 numbers for 0 spatial axes"


def test_a_window_of_no_axes_is_left_alone(layer: Callable[..., Convolution]) -> None:
    it = layer("Convolution", "convolution_param { num_output: 3 kernel_size: 5 stride: 2 pad: 9 }", (4, 5))
    assert it.shape((4, 5)) == (4, 3)
    assert it.weights((4, 5))["weight"].shape == (3, 5)


def test_height_or_width_of_the_padding_may_stand_alone(layer: Callable[..., Convolution]) -> None:
    it = layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 pad_w: 2 }", (1, 2, 3, 3))
    assert it.shape((1, 2, 3, 3)) == (1, 1, 3, 7)


def test_caffes_choices_of_implementation_change_nothing(layer: Callable[..., Convolution]) -> None:
    plain = layer("Convolution", "convolution_param { num_output: 3 kernel_size: 2 }", (1, 2, 4, 4))
    settings = "convolution_param { num_output: 3 kernel_size: 2 engine: CAFFE force_nd_im2col: true }"
    assert layer("Convolution", settings, (1, 2, 4, 4)) == plain
