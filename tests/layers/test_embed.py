"""Embed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc import module
from nktc.errors import NktcError
from nktc.ir import Graph, Shape
from nktc.layers import Embed


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 2)])
def test_each_number_becomes_its_row(shape: Shape) -> None:
    weight, bias = torch.randn(4, 2), torch.randn(2)
    index = torch.randint(4, shape)
    expected = torch.nn.functional.one_hot(index, 4).float() @ weight + bias
    assert Embed(2, 4).shape(shape) == tuple(expected.shape)
    torch.testing.assert_close(Embed(2, 4).forward(index.float(), weight, bias), expected)


def test_the_gradient_of_a_row_is_summed_over_its_uses() -> None:
    weight = torch.zeros(3, 2, requires_grad=True)
    gradient = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    Embed(2, 3, bias=False).forward(torch.tensor([2.0, 0.0, 2.0]), weight).backward(gradient)
    assert weight.grad is not None
    assert weight.grad.tolist() == [[3, 4], [0, 0], [6, 8]]


@pytest.mark.parametrize("bad", [-1.0, 4.0, 1e30, float("nan")])
def test_a_number_without_a_row_is_an_error_with_its_place(read: Callable[..., Graph], bad: float) -> None:
    net = module.compile(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }
        layer { name: "rows" type: "Embed" bottom: "x" top: "y" embed_param { input_dim: 4 num_output: 2 } }
    """)
    )
    with pytest.raises(NktcError) as caught:
        net(torch.tensor([1.0, bad]))
    assert caught.value.message == (
        'Embed "rows": its data holds a label or an index that is out of range: index out of range in self'
    )
    assert caught.value.at is not None
    assert caught.value.at.line == 3


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("input_dim: 4", "has no num_output", 'type: "Embed"'),
        ("num_output: 4", "has no input_dim", 'type: "Embed"'),
        ("num_output: 4 input_dim: 0", "has no input_dim", "input_dim: 0"),
        (
            "num_output: 65536 input_dim: 65536",
            "its weight would be 65536x65536, more than 2147483647 numbers",
            'type: "Embed"',
        ),
    ],
)
def test_tables_without_rows_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    assert refusal("Embed", f"embed_param {{ {settings} }}", (2, 3)) == (message, blamed)
