"""C3D's layers against torch's own of three axes and against C3D's sizes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nktc.ir import Layer

X = (2, 3, 5, 6, 7)


@pytest.mark.parametrize("param", ["convolution3d_param", "convolution_param"])
def test_both_releases_spell_one_convolution(layer: Callable[..., Layer], param: str) -> None:
    it = layer(
        "Convolution3D",
        f"{param} {{ num_output: 4 kernel_size: 3 kernel_depth: 2 pad: 1 stride: 2 temporal_pad: 1"
        " temporal_stride: 3 }",
        X,
    )
    weights = {name: torch.randn(weight.shape) for name, weight in it.weights(X).items()}
    assert weights["weight"].shape == (4, 3, 2, 3, 3)
    x = torch.randn(X)
    expected = F.conv3d(x, weights["weight"], weights["bias"], (3, 2, 2), (1, 1, 1))
    torch.testing.assert_close(it.forward(x, **weights), expected)
    assert it.shape(X) == (2, 4, (5 + 2 - 2) // 3 + 1, (6 + 2 - 3) // 2 + 1, (7 + 2 - 3) // 2 + 1)


def test_deconvolution_is_the_way_back(layer: Callable[..., Layer]) -> None:
    settings = "num_output: 2 kernel_size: 4 kernel_depth: 3 pad: 1 stride: 2 temporal_stride: 2 bias_term: false"
    it = layer("Deconvolution3D", f"convolution_param {{ {settings} }}", X)
    weight = torch.randn(3, 2, 3, 4, 4)
    assert it.weights(X)["weight"].shape == weight.shape
    x = torch.randn(X)
    expected = F.conv_transpose3d(x, weight, None, (2, 2, 2), (0, 1, 1))
    torch.testing.assert_close(it.forward(x, weight), expected)


def windows(n: int, kernel: int, stride: int, pad: int) -> list[tuple[int, int]]:
    count = math.ceil((n + 2 * pad - kernel) / stride) + 1
    return [(i * stride - pad, i * stride - pad + kernel) for i in range(count)]


@pytest.mark.parametrize("param", ["pooling3d_param", "pooling_param"])
@pytest.mark.parametrize(("method", "pad"), [("MAX", 0), ("AVE", 0), ("AVE", 1)])
def test_pooling_is_c3ds_loop(layer: Callable[..., Layer], param: str, method: str, pad: int) -> None:
    x = np.random.default_rng(1).normal(size=(1, 2, 5, 6, 7))
    settings = f"pool: {method} kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 2 pad: {pad}"
    it = layer("Pooling3D", f"{param} {{ {settings} }}", x.shape)
    along = [windows(5, 2, 2, 0), windows(6, 3, 2, pad), windows(7, 3, 2, pad)]
    expected = np.zeros((1, 2, *map(len, along)))
    for i, (a, b) in enumerate(along[0]):
        for j, (c, d) in enumerate(along[1]):
            for k, (e, f) in enumerate(along[2]):
                cells = x[:, :, a:b, max(c, 0) : d, max(e, 0) : f]
                area = (min(b, 5) - a) * (min(d, 6 + pad) - c) * (min(f, 7 + pad) - e)
                found = cells.max((2, 3, 4)) if method == "MAX" else cells.sum((2, 3, 4)) / area
                expected[:, :, i, j, k] = found
    assert it.shape(x.shape) == expected.shape
    np.testing.assert_allclose(it.forward(torch.from_numpy(x)), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "settings", "shape", "message"),
    [
        ("Convolution3D", "convolution3d_param { num_output: 1 kernel_size: 3 }", X, "has no kernel_depth"),
        ("Convolution3D", "convolution_param { num_output: 1 kernel_depth: 3 }", X, "has no kernel_size"),
        (
            "Convolution3D",
            "convolution3d_param { num_output: 1 kernel_size: 1 kernel_depth: 1 }",
            X[1:],
            "takes 5 axes (batch, channels, depth, height, width), not 4",
        ),
        ("Pooling3D", "pooling3d_param { kernel_size: 2 kernel_depth: 2 pad: 1 }", X, "MAX takes no pad"),
        (
            "Pooling3D",
            "pooling3d_param { pool: STOCHASTIC kernel_size: 2 kernel_depth: 2 }",
            X,
            "STOCHASTIC is not in C3D either",
        ),
        (
            "Pooling3D",
            "pooling3d_param { pool: AVE kernel_size: 2 kernel_depth: 2 stride: 4 pad: 1 }",
            X,
            "its last window on an axis of 6 would see padding only",
        ),
    ],
)
def test_what_c3d_lacks_is_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, settings: str, shape: tuple[int, ...], message: str
) -> None:
    found, _ = refusal(kind, settings, shape)
    assert found == message
