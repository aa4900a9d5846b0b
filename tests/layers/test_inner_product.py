"""InnerProduct."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.layers import InnerProduct


@pytest.mark.parametrize(("axis", "shape"), [(1, (2, 3)), (2, (2, 3, 3)), (-1, (2, 3, 4, 3)), (0, (3,))])
def test_it_multiplies_away_everything_from_the_axis_on(axis: int, shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, 4, 5)
    it = InnerProduct(3, axis)
    weights = it.weights(tuple(x.shape))
    weight, bias = torch.randn(weights["weight"].shape), torch.randn(3)
    expected = torch.einsum("...i,oi->...o", x.flatten(axis), weight) + bias
    assert it.shape(tuple(x.shape)) == shape
    torch.testing.assert_close(it.forward(x, weight, bias), expected)


def test_a_transposed_matrix_is_stored_the_other_way_round() -> None:
    x, weight = torch.randn(2, 5), torch.randn(5, 3)
    it = InnerProduct(3, bias=False, transpose=True)
    assert it.weights((2, 5))["weight"].shape == (5, 3)
    torch.testing.assert_close(it.forward(x, weight), x @ weight)


def test_a_multiply_and_an_add_count_as_two() -> None:
    assert InnerProduct(3).flops((2, 4, 5), (2, 3)) == 2 * 2 * 3 * 20


def test_refusals(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("InnerProduct", "", (2, 3))[0] == "has no num_output"
    message, at = refusal("InnerProduct", "inner_product_param { num_output: 3 axis: 2 }", (2, 3))
    assert (message, at) == ("axis 2 is outside its 2-axis input", "axis: 2")
