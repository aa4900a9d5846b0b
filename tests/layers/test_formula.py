"""The sums that tell how a window makes the size of its output: each comes to what the layer makes."""

from __future__ import annotations

import math
from itertools import product

import pytest

from nktc.ir import Layer
from nktc.layers import Convolution, Deconvolution, Flatten, Pooling


def sizes(formula: str) -> list[int]:
    """What the right side of a formula comes to, one number a term."""
    names = {"floor": math.floor, "ceil": math.ceil, "__builtins__": {}}
    return [eval(term, names) for term in formula.partition(" = ")[2].split(" x ")]


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "floor"), [*product([1, 2, 3, 5], [1, 2, 3], [0, 1], [True, False])]
)
def test_a_formula_comes_to_the_size(kernel: int, stride: int, pad: int, floor: bool) -> None:
    if pad >= kernel:
        return
    window = ((kernel,), (stride,), (pad,))
    layers: list[Layer] = [Convolution(2, *window), Pooling("MAX", *window, floor=floor), Deconvolution(2, *window)]
    for layer, height, width in product(layers, range(5, 10), (5, 8)):
        made = layer.shape((1, 2, height, width))
        assert isinstance(made, tuple)
        formula = layer.formula((1, 2, height, width))
        found = sizes(formula)
        assert found * (2 // len(found)) == [*made[2:]], formula
        assert formula.startswith("x".join(map(str, made[2:])) + " = ")


def test_a_gap_between_the_windows_cells_counts() -> None:
    assert Convolution(2, (3,), dilation=(2,)).formula((1, 2, 9, 9)) == "5x5 = (9-5)/1+1"


def test_what_has_no_window_has_no_formula() -> None:
    assert Flatten().formula((1, 2, 3)) == ""
    assert Convolution(2).formula((4, 2)) == ""
