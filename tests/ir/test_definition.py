"""A graph as prototxt: what is rewritten reads back as it is connected."""

from __future__ import annotations

import dataclasses

from nktc import ir
from nktc.ir import Graph, rewrite

IN_PLACE = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 4 } } }
    layer { name: "t" type: "TanH" bottom: "x" top: "t" }
    layer { name: "side" type: "Sigmoid" bottom: "t" top: "side" }
    layer { name: "r" type: "ReLU" bottom: "t" top: "t" }
    layer { name: "y" type: "Eltwise" bottom: "side" bottom: "t" top: "y" }
"""


def blobs(graph: Graph) -> list[tuple[str, list[str], list[str]]]:
    return [(layer.name, [*layer.bottom], [*layer.top]) for layer in ir.definition(graph).layer]


def test_versions_of_a_blob_are_written_in_place(read):
    assert blobs(read(IN_PLACE))[1:] == [
        ("t", ["x"], ["t"]),
        ("side", ["t"], ["side"]),
        ("r", ["t"], ["t"]),
        ("y", ["side", "t"], ["y"]),
    ]


def test_a_version_that_is_read_after_it_would_be_overwritten_is_a_blob_of_its_own(read):
    graph = read(IN_PLACE)
    x, t, side, r, y = graph
    assert blobs(rewrite.with_nodes(graph, [x, t, r, side, y]))[1:] == [
        ("t", ["x"], ["t_2"]),
        ("r", ["t_2"], ["t"]),
        ("side", ["t_2"], ["side"]),
        ("y", ["side", "t"], ["y"]),
    ]


def test_a_version_that_is_an_output_is_a_blob_of_its_own(read):
    graph = dataclasses.replace(read(IN_PLACE), wanted=("t@t", "y"))
    assert [top for _, _, (top,) in blobs(graph)] == ["x", "t_2", "side", "t", "y"]


def test_an_input_keeps_its_name_whatever_works_on_it_in_place(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 8 dim: 4 } } }
        layer { name: "r" type: "ReLU" bottom: "x" top: "x" }
        layer { name: "y" type: "TanH" bottom: "x" top: "y" }
    """)
    assert blobs(graph) == [("x", [], ["x"]), ("r", ["x"], ["x"]), ("y", ["x"], ["y"])]
    x, r, y = graph
    late = dataclasses.replace(y, inputs=x.outputs)
    assert blobs(rewrite.with_nodes(graph, [x, r, late])) == [
        ("x", [], ["x"]),
        ("r", ["x"], ["x_2"]),
        ("y", ["x"], ["y"]),
    ]
