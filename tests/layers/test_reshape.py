"""Flatten, Reshape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.ir import Shape
from nktc.layers import Flatten, Reshape


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Flatten(), (2, 60)),
        (Flatten(0), (120,)),
        (Flatten(1, 2), (2, 12, 5)),
        (Flatten(-2), (2, 3, 20)),
        (Flatten(1, 1), (2, 3, 4, 5)),
        (Reshape((0, -1)), (2, 60)),
        (Reshape((-1,)), (120,)),
        (Reshape((4, 15), axis=1, num_axes=3), (2, 4, 15)),
        (Reshape((0, 0, 20)), (2, 3, 20)),
        (Reshape((1,), axis=1, num_axes=0), (2, 1, 3, 4, 5)),
        (Reshape((1, 1), axis=-1, num_axes=0), (2, 3, 4, 5, 1, 1)),
        (Reshape((20,), axis=-3, num_axes=2), (2, 3, 20)),
        (Reshape((0, 2, 2), axis=1, num_axes=2), (2, 3, 2, 2, 5)),
    ],
    ids=str,
)
def test_the_values_stay_in_order(layer: Flatten | Reshape, shape: Shape) -> None:
    x = torch.arange(120.0).reshape(2, 3, 4, 5)
    y = layer.forward(x)
    assert layer.shape((2, 3, 4, 5)) == tuple(y.shape) == shape
    assert y.flatten().tolist() == x.flatten().tolist()


@pytest.mark.parametrize(
    ("kind", "settings", "message", "blamed"),
    [
        ("Flatten", "axis: 3 end_axis: 1", "end_axis 1 comes before axis 3", "end_axis: 1"),
        ("Flatten", "end_axis: 4", "end_axis 4 is outside its 4-axis input", "end_axis: 4"),
        ("Reshape", "shape { dim: -1 dim: -1 }", "2 of its sizes are -1", "shape"),
        ("Reshape", "shape { dim: -2 }", "a dimension is -2", "dim: -2"),
        ("Reshape", "shape { dim: 7 dim: -1 }", "120 values do not divide by 7: 7x?", "shape"),
        ("Reshape", "shape { dim: 7 }", "its input 2x3x4x5 has 120 values, 7 has 7", "shape"),
        ("Reshape", "shape { dim: 1 } axis: 5", "axis 5 is outside its 4-axis input", "axis: 5"),
        (
            "Reshape",
            "shape { dim: 1 } axis: 2 num_axes: 3",
            "axis 2 and num_axes 3 go beyond its 4-axis input",
            "num_axes: 3",
        ),
        (
            "Reshape",
            "shape { dim: 1 dim: 0 } axis: 3 num_axes: 1",
            "size 1 of its shape is 0, but its input has no axis there",
            "shape",
        ),
        ("Reshape", "num_axes: -2", "num_axes is -2", "num_axes: -2"),
    ],
)
def test_what_does_not_add_up_is_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, settings: str, message: str, blamed: str
) -> None:
    found, at = refusal(kind, f"{kind.lower()}_param {{ {settings} }}", (2, 3, 4, 5))
    assert found == message
    assert at.startswith(blamed)
