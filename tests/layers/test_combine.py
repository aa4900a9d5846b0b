"""Concat, Eltwise, MatMul."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nktc.ir import Shape
from nktc.layers import Concat, Eltwise, MatMul


def gradients(layer: Eltwise, *inputs: Tensor) -> list[list[float]]:
    given = [x.clone().requires_grad_() for x in inputs]
    layer.forward(*given).sum().backward()
    return [x.grad.tolist() for x in given if x.grad is not None]


def test_concat_joins_along_its_axis(layer: Callable[..., Concat]) -> None:
    a, b = torch.randn(2, 3), torch.randn(2, 1)
    assert layer("Concat", "concat_param { axis: -1 }", (2, 3), (2, 1)).shape((2, 3), (2, 1)) == (2, 4)
    torch.testing.assert_close(Concat(-1).forward(a, b), torch.cat([a, b], 1))


def test_concat_knows_its_old_spelling(layer: Callable[..., Concat]) -> None:
    assert layer("Concat", "concat_param { concat_dim: 0 }", (2, 3), (1, 3)) == Concat(0)


def test_a_sum_has_factors() -> None:
    a, b, c = (torch.randn(4) for _ in range(3))
    torch.testing.assert_close(Eltwise().forward(a, b, c), a + b + c)
    torch.testing.assert_close(Eltwise("SUM", (2.0, -1.0, 0.5)).forward(a, b, c), 2 * a - b + 0.5 * c)


def test_the_largest_takes_no_notice_of_factors(layer: Callable[..., Eltwise]) -> None:
    largest = layer("Eltwise", "eltwise_param { operation: MAX coeff: -1 coeff: 9 }", (2,), (2,))
    assert largest.forward(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])).tolist() == [3, 2]


def test_a_product_has_the_right_gradient_at_zero_when_it_is_stable() -> None:
    a, b, c = torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([5.0])
    assert gradients(Eltwise("PROD"), a, b, c) == [[0], [10], [0]]


def test_the_quick_gradient_of_a_product_divides() -> None:
    layer = Eltwise("PROD", stable=False)
    assert gradients(layer, torch.tensor([2.0]), torch.tensor([4.0]), torch.tensor([5.0])) == [[20], [10], [8]]
    (of_a,), (of_b,) = gradients(layer, torch.tensor([2.0]), torch.tensor([0.0]))
    assert of_a == 0
    assert of_b != of_b, "0/0, as in Caffe"


def test_the_gradient_of_equal_largest_values_goes_where_caffe_sends_it() -> None:
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    assert gradients(Eltwise("MAX"), one, one) == [[0], [1]]
    assert gradients(Eltwise("MAX"), two, one, two) == [[1], [0], [0]]
    assert gradients(Eltwise("MAX"), one, one, two) == [[0], [0], [1]]


@pytest.mark.parametrize(
    ("kind", "settings", "shapes", "message", "blamed"),
    [
        ("Concat", "", [(2, 3), (3, 3)], "its inputs 2x3 and 3x3 differ outside axis 1", 'bottom: "x1"'),
        ("Concat", "", [(2, 3), (2, 3, 1)], "its inputs 2x3 and 2x3x1 differ in their axes", 'bottom: "x1"'),
        ("Concat", "concat_param { axis: 2 }", [(2, 3)], "axis 2 is outside its 2-axis input", "axis: 2"),
        (
            "Concat",
            "concat_param { axis: 1 concat_dim: 1 }",
            [(2, 3)],
            "axis and concat_dim are both given",
            "concat_dim: 1",
        ),
        ("Eltwise", "", [(2, 3)], "takes 2 or more bottoms, not 1", 'bottom: "x0"'),
        ("Eltwise", "", [(2, 3), (2, 3), (3, 2)], "its inputs 2x3 and 3x2 differ", 'bottom: "x2"'),
        ("Eltwise", "eltwise_param { coeff: 1 }", [(2,), (2,)], "has 1 coeff for 2 inputs", "coeff: 1"),
        (
            "Eltwise",
            "eltwise_param { operation: PROD coeff: 1 coeff: 1 }",
            [(2,), (2,)],
            "coeff does not go with PROD",
            "coeff: 1",
        ),
    ],
)
def test_what_does_not_match_is_refused(
    refusal: Callable[..., tuple[str, str]],
    kind: str,
    settings: str,
    shapes: list[tuple[int, ...]],
    message: str,
    blamed: str,
) -> None:
    found, at = refusal(kind, settings, *shapes)
    assert found == message
    assert at.startswith(blamed)


@pytest.mark.parametrize(
    ("layer", "a", "b", "equation"),
    [
        (MatMul(), (2, 3), (3, 4), "ik,kj->ij"),
        (MatMul(transpose_a=True), (3, 2), (3, 4), "ki,kj->ij"),
        (MatMul(transpose_b=True), (5, 2, 3), (5, 4, 3), "nik,njk->nij"),
        (MatMul(True, True, 0.5), (5, 3, 2), (5, 4, 3), "nki,njk->nij"),
        (MatMul(), (5, 2, 3), (3, 4), "nik,kj->nij"),
    ],
    ids=str,
)
def test_matrices_multiply(layer: MatMul, a: Shape, b: Shape, equation: str) -> None:
    x, y = torch.randn(a), torch.randn(b)
    expected = np.einsum(equation, x.numpy(), y.numpy()) * layer.scale
    assert layer.shape(a, b) == expected.shape
    np.testing.assert_allclose(layer.forward(x, y), expected, rtol=1e-5, atol=1e-5)


def test_a_matrix_serves_for_every_place_where_the_other_has_more() -> None:
    a, b = torch.randn(7, 1, 2, 3), torch.randn(5, 3, 4)
    y = MatMul().forward(a, b)
    assert MatMul().shape((7, 1, 2, 3), (5, 3, 4)) == tuple(y.shape) == (7, 5, 2, 4)
    torch.testing.assert_close(y[6, 4], a[6, 0] @ b[4])


def test_a_product_of_matrices_costs_two_for_each_of_the_inner_axis() -> None:
    assert MatMul().flops((5, 2, 3), (5, 3, 4), (5, 2, 4)) == 2 * 5 * 2 * 3 * 4
    assert MatMul(True, scale=2.0).flops((3, 2), (3, 4), (2, 4)) == 2 * 2 * 3 * 4 + 2 * 4


@pytest.mark.parametrize(
    ("settings", "a", "b", "message"),
    [
        ("", (2, 3), (2, 3), "its inputs 2x3 and 2x3 do not multiply: 3 columns, 2 rows"),
        (
            "transpose_a: true transpose_b: true",
            (2, 3),
            (4, 3),
            "its inputs 2x3 and 4x3 do not multiply: 2 columns, 3 rows",
        ),
        ("", (2, 3), (3,), "its input 3 is no matrix: it has fewer than 2 axes"),
        ("", (2, 4, 3), (3, 3, 4), "its inputs 2x4x3 and 3x3x4 differ before their last two axes"),
    ],
)
def test_what_is_no_product_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, a: Shape, b: Shape, message: str
) -> None:
    assert refusal("MatMul", f"matmul_param {{ {settings} }}", a, b) == (message, 'bottom: "x1"')
