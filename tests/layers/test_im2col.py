"""Im2col against a walk over every window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import Convolution, Im2col


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ("kernel_size: 3", (2, 5, 6)),
        ("kernel_size: 2 stride: 2 pad: 1 dilation: 2", (2, 7, 6)),
        ("kernel_h: 3 kernel_w: 1 stride_h: 1 stride_w: 2 pad_h: 1", (2, 7, 6)),
        ("kernel_size: 3 pad: 4 stride: 3", (3, 5)),
        ("kernel_size: 2 kernel_size: 1 kernel_size: 3 force_nd_im2col: true", (2, 3, 2, 4)),
    ],
)
def test_the_places_of_the_window_become_channels(
    layer: Callable[..., Im2col], settings: str, size: tuple[int, ...]
) -> None:
    it = layer("Im2col", f"convolution_param {{ {settings} }}", (1, *size))
    x = np.random.default_rng(1).normal(size=size)
    _, _, window = it.parts((1, *size))
    padded = np.pad(x, [(0, 0), *((p, p) for p in window.pad)])
    shape = it.shape((1, *size))
    expected = np.zeros(shape)
    for c, *q in itertools.product(*map(range, shape[1:])):
        channel, place = divmod(c, math.prod(window.kernel))
        k = np.unravel_index(place, window.kernel)
        at = [int(a * s + b * d) for a, s, b, d in zip(q, window.stride, k, window.dilation, strict=True)]
        expected[(0, c, *q)] = padded[(channel, *at)]
    np.testing.assert_array_equal(it.forward(torch.from_numpy(x)[None]), expected)


def test_a_convolution_is_an_inner_product_of_its_channels() -> None:
    x, weight = torch.randn(2, 3, 6, 5), torch.randn(4, 3, 3, 2)
    cells = Im2col((3, 2), (2, 1), (1, 0)).forward(x)
    expected = Convolution(4, (3, 2), (2, 1), (1, 0)).forward(x, weight)
    torch.testing.assert_close(torch.einsum("ok,nkhw->nohw", weight.flatten(1), cells), expected)


def test_the_axes_before_the_channels_are_all_batch() -> None:
    x = torch.randn(2, 3, 4, 5, 5)
    made = Im2col((2,), axis=2).forward(x)
    torch.testing.assert_close(made, Im2col((2,)).forward(x.flatten(0, 1)).unflatten(0, (2, 3)))


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("stride: 2", "has no kernel_size", "type"),
        ("kernel_size: 9", "window 9x9 is larger than its input 5x6", "kernel_size: 9"),
        ("kernel_size: 1 axis: 3", "has 0 spatial axes behind axis 3, it takes 1 to 3", "axis: 3"),
        ("kernel_size: 1 axis: -5", "axis -5 is outside its 4-axis input", "axis: -5"),
        ("kernel_size: 1 kernel_w: 2", "kernel_size and kernel_h, kernel_w are both given", "kernel_size: 1"),
        (
            "kernel_size: 1 stride: 1000000000 pad: 1000000000",
            "its padded input would be 2000000005x2000000006, more than 2147483647",
            "pad: 1000000000",
        ),
    ],
)
def test_contradictions_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("Im2col", f"convolution_param {{ {settings} }}", (2, 4, 5, 6))
    assert found == message
    assert at.startswith(blamed)
