"""ArgMax, BatchReindex, Filter."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from layers.examples import Example

from nktc import export, module
from nktc.errors import NktcError
from nktc.ir import Graph, Shape
from nktc.layers import ArgMax, BatchReindex, Filter


def best(row: list[float], top_k: int) -> tuple[list[int], list[float]]:
    """Places and values of the largest; of equal values the last place comes first."""
    order = sorted(range(len(row)), key=lambda place: (row[place], place), reverse=True)[:top_k]
    return order, [row[place] for place in order]


@pytest.mark.parametrize(
    ("shape", "top_k", "axis", "values"),
    [
        *product([(3, 8), (2, 3, 2, 2)], [1, 2], [0, 1, -1], [False, True]),
        *product([(5, 2, 3)], [2], [-3, -2], [False, True]),
    ],
)
def test_along_an_axis_it_finds_places_or_values(shape: Shape, top_k: int, axis: int, values: bool) -> None:
    x = torch.randint(3, shape, generator=torch.Generator().manual_seed(0)).float()  # many are equal
    expected = np.apply_along_axis(lambda row: best(row.tolist(), top_k)[values], axis, x.numpy())
    layer = ArgMax(top_k, axis, values)
    assert layer.shape(shape) == expected.shape
    np.testing.assert_array_equal(layer.forward(x), expected)


@pytest.mark.parametrize(
    ("shape", "made"),
    [
        ((4,), (4, 1, 1)),
        ((3, 6), (3, 1, 1)),
        ((3, 6), (3, 1, 4)),
        ((2, 3, 4), (2, 2, 3)),
        ((2, 3, 2, 2), (2, 2, 5, 1)),
        ((2, 3, 1, 2, 1), (2, 1, 2, 1, 1)),
    ],
)
def test_without_an_axis_an_item_is_looked_at_as_a_whole(shape: Shape, made: Shape) -> None:
    x = torch.randint(4, shape, generator=torch.Generator().manual_seed(0)).float()
    layer = ArgMax(made[2], None, made[1] == 2)
    found = [best(item.flatten().tolist(), made[2])[: made[1]] for item in x]
    assert layer.shape(shape) == made
    np.testing.assert_array_equal(layer.forward(x), np.reshape(found, made))


@pytest.mark.parametrize("settings", ["", "top_k: 3 out_max_val: true", "axis: 0", "axis: -1 top_k: 2"])
def test_onnx_runtime_takes_the_last_of_equal_values_too(settings: str) -> None:
    graph = Example("ArgMax", f"argmax_param {{ {settings} }}", ((4, 6),)).graph()
    x = torch.randint(2, (4, 6), generator=torch.Generator().manual_seed(0)).float()
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(export.to_onnx(graph)).SerializeToString())
    np.testing.assert_array_equal(session.run(None, {"x0": x.numpy()})[0], module.compile(graph)(x)["y0"])


@pytest.mark.parametrize(
    ("settings", "shape", "message", "blamed"),
    [
        ("top_k: 0", (2, 3), "top_k is 0", "top_k: 0"),
        ("top_k: 7", (2, 2, 3), "top_k 7 is more than its 6 values", "top_k: 7"),
        ("top_k: 3 axis: 1", (2, 2, 3), "top_k 3 is more than its 2 values", "top_k: 3"),
        ("axis: -4", (2, 2, 3), "axis -4 is outside its 3-axis input", "axis: -4"),
        ("", (), "axis 0 is outside its 0-axis input", 'type: "ArgMax"'),
    ],
)
def test_more_than_there_is_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, shape: Shape, message: str, blamed: str
) -> None:
    assert refusal("ArgMax", f"argmax_param {{ {settings} }}", shape) == (message, blamed)


def test_a_batch_is_made_of_the_items_listed() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    y = BatchReindex().forward(x, torch.tensor([2.0, 0.0, 2.0, 2.0]))
    assert BatchReindex().shape((3, 2), (4,)) == (4, 2)
    torch.testing.assert_close(y, torch.stack([x[2], x[0], x[2], x[2]]))
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 1], [0, 0], [3, 3]]


@pytest.mark.parametrize("bad", [-1.0, 2.0])
def test_an_item_that_is_not_there_is_an_error_with_its_place(read: Callable[..., Graph], bad: float) -> None:
    net = module.compile(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "i" type: "Input" top: "i" input_param { shape { dim: 1 } } }
        layer { name: "y" type: "BatchReindex" bottom: "x" bottom: "i" top: "y" }
    """)
    )
    with pytest.raises(NktcError, match="a label or an index that is out of range") as caught:
        net(torch.randn(2, 3), torch.tensor([bad]))
    assert caught.value.at is not None
    assert caught.value.at.line == 4


@pytest.mark.parametrize("selector", [[0, 1, -2.5, 0, float("nan")], [1] * 5, [0] * 5])
def test_what_is_not_0_lets_its_item_pass(selector: list[float]) -> None:
    a, b = torch.randn(5, 3), torch.randn(5, 2, 2)
    passing = [i for i, number in enumerate(selector) if number != 0]
    found = Filter(2).forward(a, b, torch.tensor(selector).reshape(5, 1, 1))
    assert [tuple(y.shape) for y in found] == [(len(passing), 3), (len(passing), 2, 2)]
    for y, x in zip(found, (a, b), strict=True):
        np.testing.assert_array_equal(y, x.numpy()[passing])


def test_items_that_do_not_pass_have_no_gradient() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    Filter().forward(x, torch.tensor([0.0, 1.0, 0.0]))[0].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("kind", "shapes", "tops", "message"),
    [
        ("BatchReindex", [(4, 3), (2, 1)], 1, "its second input 2x1 has 2 axes, not 1"),
        ("BatchReindex", [(), (2,)], 1, "axis 0 is outside its 0-axis input"),
        ("Filter", [(4, 3)], 1, "takes 2 or more bottoms, not 1"),
        ("Filter", [(4, 3), (4,)], 2, "makes one top for each bottom but the last: 1 here, not 2"),
        ("Filter", [(4, 3), (4, 2)], 1, "its last input 4x2 is not one number an item"),
        ("Filter", [(4, 3), ()], 1, "axis 0 is outside its 0-axis input"),
        ("Filter", [(4, 3), (5, 2), (4,)], 2, "its last input has 4 numbers for the items of 5x2"),
        ("Filter", [(), (4,)], 1, "its last input has 4 numbers for the items of a single number"),
    ],
)
def test_what_does_not_match_is_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, shapes: list[Shape], tops: int, message: str
) -> None:
    assert refusal(kind, "", *shapes, tops=tops)[0] == message
