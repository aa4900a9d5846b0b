"""Interp against interpolation written out pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.ir import Layer
from nktc.layers import Interp


def plain(x: np.ndarray, height: int, width: int, nearest: bool = False) -> np.ndarray:
    """The corners stay; each other pixel is mixed of the four around its place, or is the nearest of them."""
    y = np.zeros((*x.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            down = i * (x.shape[2] - 1) / (height - 1) if height > 1 else 0.0
            right = j * (x.shape[3] - 1) / (width - 1) if width > 1 else 0.0
            top, left = math.floor(down + 1e-12), math.floor(right + 1e-12)
            a, b = down - top, right - left
            below, beside = min(top + 1, x.shape[2] - 1), min(left + 1, x.shape[3] - 1)
            if nearest:
                y[..., i, j] = x[..., below if a > 0.5 - 1e-9 else top, beside if b > 0.5 - 1e-9 else left]
                continue
            upper = (1 - b) * x[..., top, left] + b * x[..., top, beside]
            lower = (1 - b) * x[..., below, left] + b * x[..., below, beside]
            y[..., i, j] = (1 - a) * upper + a * lower
    return y


@pytest.mark.parametrize("size", [(7, 9), (4, 5), (1, 3), (2, 1), (13, 4)], ids=str)
def test_the_corners_stay_where_they_are(size: tuple[int, int]) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    found = Interp(size).forward(torch.from_numpy(x))
    np.testing.assert_allclose(found, plain(x, *size), atol=1e-12)
    nearest = Interp(size, mode="NEAREST").forward(torch.from_numpy(x))
    np.testing.assert_array_equal(nearest, plain(x, *size, nearest=True))


@pytest.mark.parametrize(("n", "m", "place", "taken"), [(4, 7, 3, 2), (14, 23, 11, 6), (76, 19, 15, 62)])
def test_between_two_pixels_f32_decides(n: int, m: int, place: int, taken: int) -> None:
    """Each place is exactly between two pixels; where n - 1 by m - 1 is rounded down, the one before is the nearer."""
    assert (2 * place * (n - 1)) % (2 * (m - 1)) == m - 1
    x = torch.arange(float(n)).view(1, 1, 1, n)
    assert Interp((1, m), mode="NEAREST").forward(x)[0, 0, 0, place] == taken


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ("height: 9 width: 11", (9, 11)),
        ("zoom_factor: 8", (41, 33)),
        ("shrink_factor: 2", (3, 3)),
        ("shrink_factor: 2 zoom_factor: 4", (9, 9)),
        ("zoom_factor: 2 pad_beg: -1 pad_end: -1", (7, 5)),
        ("zoom_factor: 2 height: 7 width: 7", (11, 9)),  # as in PSPNet, one factor goes before a size
        ("zoom_factor: 2 shrink_factor: 2 height: 7 width: 8", (7, 8)),  # and a size before both
    ],
)
def test_sizes_are_pspnets(layer: Callable[..., Layer], settings: str, size: tuple[int, int]) -> None:
    it = layer("Interp", f"interp_param {{ {settings} }}", (1, 2, 6, 5))
    assert it.shape((1, 2, 6, 5)) == (1, 2, *size)


def test_rows_and_columns_are_cut_off_first(layer: Callable[..., Layer]) -> None:
    x = np.random.default_rng(1).normal(size=(1, 2, 6, 5))
    it = layer("Interp", "interp_param { zoom_factor: 3 pad_beg: -2 pad_end: -1 }", x.shape)
    np.testing.assert_allclose(it.forward(torch.from_numpy(x)), plain(x[:, :, 2:-1, 2:-1], 7, 4), atol=1e-12)


@pytest.mark.parametrize("settings", ["", "interp_param { use_blob_size: true }"])
def test_a_second_bottom_gives_the_size(layer: Callable[..., Layer], settings: str) -> None:
    x = torch.randn(2, 3, 4, 5)
    it = layer("Interp", settings, (2, 3, 4, 5), (2, 7, 6, 8))
    assert it.shape((2, 3, 4, 5), (2, 7, 6, 8)) == (2, 3, 6, 8)
    torch.testing.assert_close(it.forward(x, torch.zeros(2, 7, 6, 8)), Interp((6, 8)).forward(x))


@pytest.mark.parametrize(
    ("settings", "shapes", "message"),
    [
        ("", ((1, 1, 3, 3),), "has no size"),
        (
            "use_blob_size: true zoom_factor: 2",
            ((1, 1, 3, 3),),
            "use_blob_size has no second bottom to take the size of",
        ),
        ("height: 3", ((1, 1, 3, 3),), "height is given without width"),
        ("height: 3 width: 0", ((1, 1, 3, 3),), "width is 0"),
        ("zoom_factor: 0", ((1, 1, 3, 3),), "zoom_factor is 0"),
        ("zoom_factor: 2 pad_beg: 1", ((1, 1, 3, 3),), "pad_beg is 1"),
        ("zoom_factor: 2 pad_beg: -3", ((1, 1, 3, 3),), "leaves nothing of a picture of 3x3"),
        ("zoom_factor: 2", ((1, 3, 3),), "takes 4 axes (batch, channels, height, width), not 3"),
        ("zoom_factor: 2", ((1, 1, 3, 3), (1, 1, 5, 5)), "a size and a second bottom are both given"),
    ],
)
def test_contradictory_sizes_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, shapes: tuple[tuple[int, ...], ...], message: str
) -> None:
    found, _ = refusal("Interp", f"interp_param {{ {settings} }}", *shapes)
    assert found == message
