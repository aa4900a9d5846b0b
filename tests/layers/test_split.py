"""Slice, Split, Silence, MatWrite."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch

from nktc import export, ir, module, passes, reader
from nktc.ir import Graph, Shape
from nktc.layers import MatWrite, Silence, Slice, Split


@pytest.mark.parametrize(
    ("layer", "axis", "points"),
    [
        (Slice(1, (), 3), 1, [2, 4]),
        (Slice(1, (1, 5)), 1, [1, 5]),
        (Slice(-1, (4,)), 2, [4]),
        (Slice(0, (), 4), 0, [1, 2, 3]),
        (Slice(2), 2, []),
    ],
    ids=str,
)
def test_the_parts_are_those_between_the_points(layer: Slice, axis: int, points: list[int]) -> None:
    x = torch.arange(120.0).reshape(4, 6, 5)
    expected = np.split(x.numpy(), points, axis)
    assert layer.shape((4, 6, 5)) == [part.shape for part in expected]
    for found, part in zip(layer.forward(x), expected, strict=True):
        np.testing.assert_array_equal(found, part)


def test_slice_knows_its_old_spelling(layer: Callable[..., Slice]) -> None:
    assert layer("Slice", "slice_param { slice_dim: 0 slice_point: 1 }", (4, 2), tops=2) == Slice(0, (1,))


def test_every_copy_of_a_split_has_its_own_gradient() -> None:
    x = torch.ones(3, requires_grad=True)
    one, two = Split(2).forward(x)
    one.retain_grad()
    two.retain_grad()
    (2 * one + 5 * two).sum().backward()
    assert [y.grad.tolist() for y in (one, two, x) if y.grad is not None] == [[2] * 3, [5] * 3, [7] * 3]


def test_silence_makes_nothing() -> None:
    assert Silence().forward(torch.ones(2), torch.ones(3)) == ()


def test_mat_write_writes_nothing_and_is_told_once() -> None:
    net = reader.parse_net("""
        layers { name: "x" type: DUMMY_DATA top: "x" dummy_data_param { shape { dim: 2 } } }
        layers { name: "one" type: MAT_WRITE bottom: "x" mat_write_param { prefix: "out/" period: 1 strip: 0 } }
        layers { name: "two" type: MAT_WRITE bottom: "x" include { phase: TEST } }
    """)
    assert [node.layer for node in reader.build(net, ir.Phase.TEST)][1:] == [MatWrite(), MatWrite()]
    assert net.tree
    (warning,) = reader.in_vain(net.tree)
    assert (warning.message, warning.help) == (
        "MatWrite layers write no files here",
        "nktc infer --blob NAME, or nktc extract_features, gives what they take",
    )


@pytest.fixture
def silenced(read: Callable[..., Graph]) -> Graph:
    """A net with two nodes without outputs, one in the middle and one at the end."""
    return read("""
        layer { name: "in" type: "Input" top: "in" top: "label" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "hush" type: "Silence" bottom: "label" }
        layer { name: "cut" type: "Slice" bottom: "in" top: "a" top: "b" }
        layer { name: "y" type: "TanH" bottom: "a" top: "y" }
        layer { name: "end" type: "Silence" bottom: "b" bottom: "label" }
    """)


def test_the_listing_shows_silences(silenced: Graph, golden: Callable[[object, str], None]) -> None:
    golden(
        silenced,
        """
        net net TEST
          in, label f32[2 4], f32[2 4] = Input
                                       = Silence <- label  # hush
          a, b      f32[2 2], f32[2 2] = Slice(parts=2) <- in  # cut
          y         f32[2 2]           = TanH <- a
                                       = Silence <- b, label  # end
        """,
    )


def test_what_is_silenced_is_no_output(silenced: Graph) -> None:
    net = module.compile(silenced)
    x = torch.randn(2, 4)
    values = net(x, x)
    assert list(values) == ["y"]
    torch.testing.assert_close(values["y"], x[:, :2].tanh())
    assert [len(layer.top) for layer in ir.definition(net.graph).layer] == [2, 0, 2, 1, 0]


def test_a_silenced_net_exports(silenced: Graph) -> None:
    net = module.compile(silenced)
    model = export.to_onnx(dataclasses.replace(silenced, arrays=net.arrays()))
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    (found,) = session.run(None, {"in": x, "label": x})
    np.testing.assert_allclose(found, np.tanh(x[:, :2]), rtol=1e-6)


def test_a_deploy_net_has_no_silences(read: Callable[..., Graph], golden: Callable[[object, str], None]) -> None:
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }
        layer { name: "hush" type: "Silence" bottom: "label" }
        layer { name: "accuracy" type: "Accuracy" bottom: "x" bottom: "label" top: "accuracy" }
        layer { name: "y" type: "TanH" bottom: "x" top: "y" }
    """)
    golden(
        passes.deploy(graph),
        """
        net net TEST
          x f32[1 4] = Input
          y f32[1 4] = TanH <- x
        """,
    )


@pytest.mark.parametrize(
    ("settings", "tops", "message", "blamed"),
    [
        ("axis: 1 slice_dim: 1", 2, "axis and slice_dim are both given", "slice_dim: 1"),
        ("axis: 3", 2, "axis 3 is outside its 3-axis input", "axis: 3"),
        ("slice_dim: 3", 2, "axis 3 is outside its 3-axis input", 'type: "Slice"'),
        ("slice_point: 2 slice_point: 2", 3, "slice_point 2 follows 2", "slice_point: 2"),
        ("slice_point: 0", 2, "slice_point 0 follows 0", "slice_point: 0"),
        ("slice_point: 6", 2, "slice_point 6 is not inside axis 1 of 6", "slice_point: 6"),
        ("slice_point: 2", 3, "has 1 slice_point for 3 tops", "slice_point: 2"),
        ("slice_point: 4294967295", 2, "slice_point 4294967295 is not inside axis 1 of 6", "slice_point: 4294967295"),
        ("axis: -1", 3, "axis 2 of 5 does not divide by 3 tops", 'top: "y2"'),
    ],
)
def test_cuts_that_cannot_be_made_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, tops: int, message: str, blamed: str
) -> None:
    found, at = refusal("Slice", f"slice_param {{ {settings} }}", (4, 6, 5), tops=tops)
    assert found == message
    assert at.startswith(blamed)


@pytest.mark.parametrize("shapes", [(), ((2, 3),)])
def test_silence_has_bottoms_and_no_top(refusal: Callable[..., tuple[str, str]], shapes: tuple[Shape, ...]) -> None:
    expected = "makes 0 tops, not 1" if shapes else "takes 1 or more bottoms, not 0"
    assert refusal("Silence", "", *shapes, tops=1)[0] == expected
