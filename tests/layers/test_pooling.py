"""Pooling against Caffe's own loops, value and gradient, and against ONNX Runtime."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from layers.examples import Example

from nktc import export
from nktc.layers import Pooling

LOWEST = float(np.finfo(np.float32).min)


def sizes(n: int, k: int, s: int, p: int, padded: bool, floor: bool) -> int:
    """Caffe's formula."""
    found = (n + 2 * p - k) / s
    positions = (math.floor(found) if floor else math.ceil(found)) + 1
    return positions - 1 if padded and (positions - 1) * s >= n + p else positions


def loops(x: np.ndarray, layer: Pooling, top: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What Caffe computes with a loop over windows: the values of x[h w], and the gradient where the result's is
    `top`."""
    (h, w), (kh, kw), (sh, sw), (ph, pw) = x.shape, layer.kernel, layer.stride, layer.pad
    padded = bool(ph or pw)
    rows, columns = sizes(h, kh, sh, ph, padded, layer.floor), sizes(w, kw, sw, pw, padded, layer.floor)
    y, gradient = np.zeros((rows, columns)), np.zeros(x.shape)
    for i, j in itertools.product(range(rows), range(columns)):
        top_row, left = i * sh - ph, j * sw - pw
        bottom, right = min(top_row + kh, h + ph), min(left + kw, w + pw)
        area = (bottom - top_row) * (right - left)
        seen = [(a, b) for a in range(max(0, top_row), min(bottom, h)) for b in range(max(0, left), min(right, w))]
        if layer.method == "MAX":
            best = max(seen, key=lambda at: x[at], default=None)  # the first of equals, as in Caffe
            y[i, j] = LOWEST if best is None else x[best]
            if best is not None and top is not None:
                gradient[best] += top[i, j]
        else:
            y[i, j] = sum(x[at] for at in seen) / area if area else math.nan
            for at in seen if top is not None else ():
                gradient[at] += top[i, j] / area
    return y, gradient


CONFIGURATIONS = [
    Pooling(method, (kh, kw), (sh, sw), (ph, pw), floor)
    for method in ("MAX", "AVE")
    for (kh, kw), (sh, sw), (ph, pw) in [
        *(((k, k), (s, s), (p, p)) for k in (1, 2, 3, 4) for s in (1, 2, 3, 4) for p in range(k)),
        ((3, 2), (2, 3), (2, 0)),
        ((1, 4), (3, 1), (0, 3)),
        ((5, 2), (2, 2), (0, 1)),
    ]
    for floor in (False, True)
]


@pytest.mark.parametrize("size", [(4, 5), (6, 7), (8, 5)], ids=str)
def test_values_and_gradients_are_those_of_caffes_loops(size: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    for layer in CONFIGURATIONS:
        if layer.floor and any(n + 2 * p < k for n, k, p in zip(size, layer.kernel, layer.pad, strict=True)):
            continue
        x = random.integers(-3, 4, size).astype(float)  # many ties
        top = random.normal(size=loops(x, layer)[0].shape)
        expected, gradient = loops(x, layer, top)
        given = torch.from_numpy(x)[None, None].requires_grad_()
        y = layer.forward(given)
        assert tuple(y.shape) == layer.shape((1, 1, *size)), layer
        np.testing.assert_allclose(y.detach()[0, 0], expected, err_msg=str(layer))
        y.backward(torch.from_numpy(top)[None, None])
        np.testing.assert_allclose(given.grad[0, 0], gradient, atol=1e-12, err_msg=str(layer))  # type: ignore[index]


@pytest.mark.parametrize("layer", CONFIGURATIONS[::3], ids=str)
def test_onnx_runtime_agrees_and_never_rounds_up(layer: Pooling) -> None:
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel, layer.stride, layer.pad
    settings = (
        f"pooling_param {{ pool: {layer.method} kernel_h: {kh} kernel_w: {kw} stride_h: {sh} stride_w: {sw}"
        f" pad_h: {ph} pad_w: {pw} round_mode: {'FLOOR' if layer.floor else 'CEIL'} }}"
    )
    graph = Example("Pooling", settings, ((2, 3, 6, 8),)).graph()
    assert graph.nodes[-1].layer == layer
    message = onnx_ir.to_proto(export.to_onnx(graph))
    assert not any(attribute.name == "ceil_mode" for node in message.graph.node for attribute in node.attribute)
    x = torch.randn(2, 3, 6, 8)
    (y,) = onnxruntime.InferenceSession(message.SerializeToString()).run(None, {"x0": x.numpy()})
    np.testing.assert_allclose(y, layer.forward(x), rtol=1e-5, atol=1e-6)


def test_global_pooling_sees_the_whole_picture(layer: Callable[..., Pooling]) -> None:
    x = torch.randn(2, 3, 4, 5)
    largest = layer("Pooling", "pooling_param { global_pooling: true }", (2, 3, 4, 5))
    mean = layer("Pooling", "pooling_param { pool: AVE global_pooling: true }", (2, 3, 4, 5))
    torch.testing.assert_close(largest.forward(x), x.amax((2, 3), keepdim=True))
    torch.testing.assert_close(mean.forward(x), x.mean((2, 3), keepdim=True))


def test_the_first_of_equal_values_gets_the_whole_gradient() -> None:
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    Pooling("MAX").forward(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("pool: MAX", "has no kernel_size", "type"),
        ("kernel_size: 9", "window 9x9 is larger than its input 5x5", "kernel_size: 9"),
        ("kernel_size: 2 kernel_h: 2", "kernel_size and kernel_h, kernel_w are both given", "kernel_size: 2"),
        ("kernel_h: 2", "kernel_h is given without kernel_w", "kernel_h: 2"),
        ("kernel_size: 0", "kernel_size is 0", "kernel_size: 0"),
        ("kernel_size: 2 stride: 0", "stride is 0", "stride: 0"),
        ("kernel_size: 2 pad: 2", "pad 2 is not smaller than its window 2", "pad: 2"),
        ("kernel_size: 2 stride_w: 2", "stride_w is given without stride_h", "stride_w: 2"),
        ("global_pooling: true kernel_size: 2", "global_pooling and a kernel are both given", "global_pooling: true"),
        ("global_pooling: true pad: 1", "global_pooling takes neither pad nor stride", "global_pooling: true"),
    ],
)
def test_contradictions_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("Pooling", f"pooling_param {{ {settings} }}", (1, 2, 5, 5))
    assert found == message
    assert at.startswith(blamed)


def test_stochastic_is_refused_with_the_reason(refusal: Callable[..., tuple[str, str]]) -> None:
    message, at = refusal("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }", (1, 2, 5, 5))
    assert "Caffe has no definition of it on the CPU" in message
    assert at == "pool: STOCHASTIC"


def test_only_pictures_are_pooled(refusal: Callable[..., tuple[str, str]]) -> None:
    message, at = refusal("Pooling", "pooling_param { kernel_size: 2 }", (1, 2, 5))
    assert message == "takes 4 axes (batch, channels, height, width), not 3"
    assert at == 'bottom: "x0"'
