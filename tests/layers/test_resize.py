"""Resize against interpolation written out axis by axis, PixelShuffle against its definition."""

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
from nktc.layers import PixelShuffle, Resize


def mixed(n: int, m: int, mode: str, corners: bool) -> np.ndarray:
    """How much of each of n values is in each of m."""
    weights = np.zeros((m, n))
    for i in range(m):
        if mode == "NEAREST":
            weights[i, i * n // m] = 1
            continue
        at = (i * (n - 1) / (m - 1) if m > 1 else 0.0) if corners else (i + 0.5) * n / m - 0.5
        if mode == "LINEAR":
            at = max(at, 0.0)
        first = math.floor(at)
        for k in range(first - 1, first + 3):
            far = abs(at - k)
            if mode == "LINEAR":
                share = max(0.0, 1 - far)
            elif far <= 1:  # Keys' cubic with a = -0.75
                share = 1.25 * far**3 - 2.25 * far**2 + 1
            else:
                share = -0.75 * (far**3 - 5 * far**2 + 8 * far - 4) if far < 2 else 0.0
            weights[i, min(max(k, 0), n - 1)] += share
    return weights


@pytest.mark.parametrize("mode", ["NEAREST", "LINEAR", "CUBIC"])
@pytest.mark.parametrize("size", [(3, 9), (4, 5), (11, 7), (1, 1), (8, 10)], ids=str)
def test_each_axis_is_mixed_on_its_own(mode: str, size: tuple[int, int]) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    for corners in (False, True) if mode != "NEAREST" else (False,):
        along = [mixed(n, m, mode, corners) for n, m in zip((4, 5), size, strict=True)]
        expected = np.einsum("ih,jw,nchw->ncij", *along, x)
        found = Resize(size, (), mode, corners).forward(torch.from_numpy(x))
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("mode", ["NEAREST", "LINEAR"])
def test_one_axis_and_three_are_resized_too(mode: str) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5, 2))
    along = [mixed(n, m, mode, False) for n, m in ((4, 7), (5, 3), (2, 4))]
    expected = np.einsum("id,jh,kw,ncdhw->ncijk", *along, x)
    np.testing.assert_allclose(Resize((7, 3, 4), (), mode).forward(torch.from_numpy(x)), expected, atol=1e-12)
    row = np.einsum("id,ncd->nci", along[0], x[..., 0, 0])
    np.testing.assert_allclose(Resize((7,), (), mode).forward(torch.from_numpy(x[..., 0, 0])), row, atol=1e-12)


@pytest.mark.parametrize("mode", ["NEAREST", "LINEAR", "CUBIC"])
def test_onnx_runtime_agrees_at_every_size(mode: str) -> None:
    x = torch.randn(1, 2, 5, 6)
    for height, width in itertools.product((1, 2, 3, 7, 9, 49), (1, 4, 5, 11, 13, 41)):
        graph = Example(
            "Resize", f"resize_param {{ size: {height} size: {width} mode: {mode} }}", ((1, 2, 5, 6),)
        ).graph()
        session = onnxruntime.InferenceSession(onnx_ir.to_proto(export.to_onnx(graph)).SerializeToString())
        (y,) = session.run(None, {"x0": x.numpy()})
        np.testing.assert_allclose(y, Resize((height, width), (), mode).forward(x), rtol=1e-4, atol=1e-5)


def test_a_scale_is_the_number_as_it_is_written(layer: Callable[..., Resize]) -> None:
    it = layer("Resize", "resize_param { scale: 1.4 scale: 0.35 }", (1, 2, 5, 20))
    assert it.shape((1, 2, 5, 20)) == (1, 2, 7, 7)
    assert layer("Resize", "resize_param { scale: 1.5 }", (1, 2, 3)).shape((1, 2, 3)) == (1, 2, 4)


@pytest.mark.parametrize(
    ("settings", "shape", "message", "blamed"),
    [
        ("", (1, 2, 5, 5), "has neither size nor scale", "type"),
        ("size: 2 scale: 2", (1, 2, 5, 5), "size and scale are both given", "size: 2"),
        ("size: 0", (1, 2, 5, 5), "size is 0", "size: 0"),
        ("size: 2 size: 2 size: 2", (1, 2, 5, 5), "size has 3 numbers for 2 spatial axes", "size: 2"),
        ("scale: 0", (1, 2, 5, 5), "scale 0 is not above 0 and finite", "scale: 0"),
        ("scale: nan", (1, 2, 5, 5), "scale nan is not above 0 and finite", "scale: nan"),
        ("scale: 0.1", (1, 2, 5, 5), "scale 0.1 leaves nothing of 5", "scale: 0.1"),
        ("size: 2 align_corners: true", (1, 2, 5, 5), "align_corners is for LINEAR and CUBIC", "align_corners: true"),
        ("size: 2 mode: CUBIC", (1, 2, 5), "CUBIC takes 2 axes behind the channels, not 1", "mode: CUBIC"),
        ("size: 2", (1, 2), "takes 3 to 5 axes (batch, channels and 1 to 3 to resize), not 2", 'bottom: "x0"'),
    ],
)
def test_contradictions_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, shape: tuple[int, ...], message: str, blamed: str
) -> None:
    found, at = refusal("Resize", f"resize_param {{ {settings} }}", shape)
    assert found == message
    assert at.startswith(blamed)


def test_channels_become_the_pixels_within_a_pixel() -> None:
    x = np.arange(2 * 18 * 2 * 3.0).reshape(2, 18, 2, 3)
    expected = np.zeros((2, 2, 6, 9))
    for n, c, i, j, h, w in itertools.product(range(2), range(2), range(3), range(3), range(2), range(3)):
        expected[n, c, 3 * h + i, 3 * w + j] = x[n, 9 * c + 3 * i + j, h, w]
    np.testing.assert_array_equal(PixelShuffle(3).forward(torch.from_numpy(x)), expected)
    assert PixelShuffle(3).shape(x.shape) == expected.shape


@pytest.mark.parametrize(
    ("settings", "shape", "message", "blamed"),
    [
        ("", (1, 4, 2, 2), "has no upscale_factor", "type"),
        (
            "upscale_factor: 3",
            (1, 4, 2, 2),
            "the square of upscale_factor 3 does not divide its 4 channels",
            "upscale_factor: 3",
        ),
        (
            "upscale_factor: 2",
            (1, 4, 2),
            "takes 4 axes (batch, channels, height, width), not 3",
            'bottom: "x0"',
        ),
    ],
)
def test_what_does_not_shuffle_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, shape: tuple[int, ...], message: str, blamed: str
) -> None:
    found, at = refusal("PixelShuffle", f"pixel_shuffle_param {{ {settings} }}", shape)
    assert found == message
    assert at.startswith(blamed)
