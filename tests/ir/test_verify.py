"""What every graph must satisfy, each broken once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nktc import ir
from nktc.ir import Graph, Value

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 } }
    layer { name: "r" type: "ReLU" bottom: "a" top: "r" }
"""


def changed(graph: Graph, index: int, **fields: object) -> Graph:
    nodes = list(graph.nodes)
    nodes[index] = dataclasses.replace(nodes[index], **fields)  # type: ignore[arg-type]
    return dataclasses.replace(graph, nodes=tuple(nodes))


def test_a_graph_that_was_read_is_well(read):
    assert ir.verify(read(NET)) is None  # it would raise


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda g: changed(g, 2, name="a"), "net: two nodes of one name"),
        (lambda g: dataclasses.replace(g, nodes=g.nodes[::-1]), "r: a is used before it is made"),
        (lambda g: changed(g, 2, inputs=(Value("a", (2, 9)),)), r"r: a f32\[2 9\] is made as a f32\[2 3\]"),
        (lambda g: changed(g, 2, outputs=(Value("a", (2, 3)),)), "a is made twice"),
        (lambda g: changed(g, 2, outputs=(Value("r", (3, 2)),)), r"r: shape rule says \[\(2, 3\)\]"),
        (lambda g: changed(g, 1, weights={"weight": "a.weight"}), r"a: holds \['weight'\]"),
        (lambda g: dataclasses.replace(g, parameters={}), "a: no parameter a.weight"),
        (lambda g: dataclasses.replace(g, arrays={"a.bias": np.zeros(4)}), r"a.bias: array \(4,\), weight \(3,\)"),
    ],
    ids=["names", "order", "input shape", "made twice", "output shape", "weights", "parameters", "arrays"],
)
def test_what_is_broken_is_told(broken, said, read):
    with pytest.raises(AssertionError, match=said):
        ir.verify(broken(read(NET)))
