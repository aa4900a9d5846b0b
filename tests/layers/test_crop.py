"""Crop, Tile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.ir import Shape
from nktc.layers import Crop, Tile


@pytest.mark.parametrize(
    ("layer", "like", "window"),
    [
        (Crop(), (1, 9, 2, 3), np.s_[:, :, 0:2, 0:3]),
        (Crop(2, (2,)), (1, 9, 2, 3), np.s_[:, :, 2:4, 2:5]),
        (Crop(1, (1, 0, 2)), (9, 2, 4, 3), np.s_[:, 1:3, 0:4, 2:5]),
        (Crop(-1, (4,)), (9, 9, 9, 1), np.s_[..., 4:5]),
        (Crop(0, (1, 0, 0, 0)), (1, 3, 4, 5), np.s_[1:2]),
        (Crop(3), (2, 3, 4, 5, 6), np.s_[:]),
    ],
    ids=str,
)
def test_the_window_of_the_second_inputs_size_is_kept(layer: Crop, like: Shape, window: slice) -> None:
    x = torch.arange(120.0).reshape(2, 3, 4, 5)
    expected = x.numpy()[window]
    assert layer.shape((2, 3, 4, 5), like) == expected.shape
    np.testing.assert_array_equal(layer.forward(x, torch.zeros(like)), expected)


@pytest.mark.parametrize(
    ("settings", "like", "message", "blamed"),
    [
        ("axis: 4", (1, 1, 1, 1), "axis 4 is outside its 4-axis input", "axis: 4"),
        ("offset: 3", (1, 1, 2, 2), "offset 3 and size 2 go beyond axis 2 of 4", "offset: 3"),
        ("", (1, 1, 2, 6), "offset 0 and size 6 go beyond axis 3 of 5", 'bottom: "x1"'),
        ("offset: 1 offset: 2 offset: 3", (1, 1, 1, 1), "has 3 offset for 2 cut axes", "offset: 3"),
        (
            "offset: 4294967295",
            (1, 1, 1, 1),
            "offset 4294967295 and size 1 go beyond axis 2 of 4",
            "offset: 4294967295",
        ),
        (
            "",
            (4, 5),
            "its input 2x3x4x5 has 4 axes, what gives the size, 4x5, has 2",
            'bottom: "x1"',
        ),
    ],
)
def test_windows_outside_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, like: Shape, message: str, blamed: str
) -> None:
    found, at = refusal("Crop", f"crop_param {{ {settings} }}", (2, 3, 4, 5), like)
    assert found == message
    assert at.startswith(blamed)


@pytest.mark.parametrize(("axis", "repeats"), [(0, (3, 1, 1)), (1, (1, 3, 1)), (-1, (1, 1, 3))])
def test_a_tile_repeats_the_whole(axis: int, repeats: Shape) -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    expected = np.tile(x.numpy(), repeats)
    assert Tile(3, axis).shape((2, 3, 4)) == expected.shape
    np.testing.assert_array_equal(Tile(3, axis).forward(x), expected)


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("tile_param { axis: 1 }", "has no tiles", 'type: "Tile"'),
        ("tile_param { tiles: 0 }", "tiles is 0", "tiles: 0"),
        ("tile_param { tiles: -2 }", "tiles is -2", "tiles: -2"),
        ("tile_param { tiles: 2 axis: -3 }", "axis -3 is outside its 2-axis input", "axis: -3"),
        (
            "tile_param { tiles: 2147483647 }",
            "its output would be 2x6442450941, more than 2147483647 numbers",
            'type: "Tile"',
        ),
    ],
)
def test_tiles_that_cannot_be_made_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("Tile", settings, (2, 3))
    assert found == message
    assert at.startswith(blamed)
