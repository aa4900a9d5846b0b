"""Convolutions in groups that are not written so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nktc.ir import Phase
from nktc.passes import recognise_depthwise

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 5 dim: 5 } } }\n'


def convolution(settings: str, kind: str = "Convolution") -> str:
    return (
        f'layer {{ name: "y" type: "{kind}" bottom: "x" top: "y" convolution_param {{ {settings} kernel_size: 3 }} }}'
    )


def blocks(rows: int, columns: int, groups: int) -> np.ndarray:
    """1 where a row and a column are of one group, [rows columns 1 1]."""
    row, column = np.arange(rows) * groups // rows, np.arange(columns) * groups // columns
    return (row[:, None] == column)[:, :, None, None]


@pytest.mark.parametrize(
    ("settings", "kind", "mask", "group"),
    [
        ("num_output: 4", "Convolution", blocks(4, 4, 4), 4),
        ("num_output: 8 bias_term: false", "Convolution", blocks(8, 4, 4), 4),
        ("num_output: 6 pad: 1", "Convolution", blocks(6, 4, 2), 2),
        ("num_output: 8 group: 2", "Convolution", np.tile(blocks(4, 2, 2), (2, 1, 1, 1)), 4),
        ("num_output: 4", "Deconvolution", blocks(4, 4, 4), 4),
        ("num_output: 6 stride: 2", "Deconvolution", blocks(4, 6, 2), 2),
    ],
)
def test_weights_of_groups_become_groups(settings, kind, mask, group, weighted, preserved):
    graph = weighted(X + convolution(settings, kind))
    graph.arrays["y.weight"][...] *= mask
    found = recognise_depthwise(graph)
    preserved(graph, found)
    assert found.node("y").layer.group == group
    assert found.arrays["y.weight"].size == np.count_nonzero(mask) * 9
    assert recognise_depthwise(found) is found


def test_a_single_number_between_groups_keeps_them_together(weighted):
    graph = weighted(X + convolution("num_output: 4"))
    graph.arrays["y.weight"][...] *= blocks(4, 4, 2)
    graph.arrays["y.weight"][0, 3, 1, 1] = 1e-20
    assert recognise_depthwise(graph) is graph


PARTS = """
    layer { name: "s" type: "Slice" bottom: "x" top: "a" top: "b" }
    layer { name: "ca" type: "Convolution" bottom: "a" top: "ca" convolution_param { num_output: 3 kernel_size: 3 } }
    layer { name: "cb" type: "Convolution" bottom: "b" top: "cb" convolution_param { num_output: 3 kernel_size: 3 } }
"""
JOIN = 'layer { name: "y" type: "Concat" bottom: "ca" bottom: "cb" top: "y" }\n'


def test_a_convolution_of_each_part_is_one_in_groups(weighted, golden, preserved):
    graph = weighted(X + PARTS + JOIN + 'layer { name: "z" type: "TanH" bottom: "y" top: "z" }')
    found = recognise_depthwise(graph)
    preserved(graph, found)
    golden(
        found,
        """
        net net TEST
          x f32[2 4 5 5] = Input
          y f32[2 6 3 3] = Convolution(outputs=6 kernel=3 group=2) <- x  # ca
          z f32[2 6 3 3] = TanH <- y
        """,
    )
    assert found.node("ca").works_for == ("s", "ca", "cb", "y")
    assert list(found.arrays) == ["ca.weight", "ca.bias"]


def test_a_convolution_and_a_relu_of_each_part_too(weighted, golden, preserved):
    relu = 'layer { name: "r%s" type: "ReLU" bottom: "c%s" top: "c%s" }\n'
    relus = relu % (("a",) * 3) + relu % (("b",) * 3)
    graph = weighted(X + PARTS + relus + JOIN)
    found = recognise_depthwise(graph)
    preserved(graph, found)
    golden(
        found,
        """
        net net TEST
          x    f32[2 4 5 5] = Input
          y@ca f32[2 6 3 3] = Convolution(outputs=6 kernel=3 group=2) <- x  # ca
          y    f32[2 6 3 3] = ReLU <- y@ca  # ra+rb
        """,
    )


@pytest.mark.parametrize(
    "text",
    [
        PARTS + JOIN.replace('"ca" bottom: "cb"', '"cb" bottom: "ca"'),
        PARTS.replace('"ca" convolution_param { num_output: 3', '"ca" convolution_param { num_output: 2') + JOIN,
        PARTS.replace('top: "b" }', 'top: "b" slice_param { slice_point: 1 } }') + JOIN,
        PARTS + JOIN + 'layer { name: "r" type: "ReLU" bottom: "ca" top: "r" }',
        PARTS + JOIN + 'layer { name: "r" type: "ReLU" bottom: "b" top: "r" }',
        PARTS.replace('"ca" convolution_param {', '"ca" convolution_param { bias_term: false') + JOIN,
        PARTS + JOIN.replace('top: "y"', 'top: "y" concat_param { axis: 2 }'),
        PARTS.replace('bottom: "b" top: "cb"', 'bottom: "a" top: "cb"') + JOIN,
    ],
    ids=[
        "another order",
        "other outputs",
        "parts of two sizes",
        "one is read elsewhere",
        "a part is read elsewhere",
        "one has no bias",
        "joined along another axis",
        "one part twice",
    ],
)
def test_parts_that_do_not_fit_stay(text, weighted):
    graph = weighted(X + text)
    assert recognise_depthwise(graph) is graph


def test_weights_that_are_not_known_and_training_nets_are_left_alone(weighted, read):
    bare = dataclasses.replace(weighted(X + PARTS + JOIN), arrays={})
    assert recognise_depthwise(bare) is bare
    training = read(X + PARTS + JOIN, Phase.TRAIN)
    assert recognise_depthwise(training) is training
