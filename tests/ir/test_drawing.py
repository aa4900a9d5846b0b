"""Drawings: what is a box, what Graphviz is told, and what is drawn without it."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from big_nets import googlenet

from nktc import checking, reader
from nktc.errors import NktcError
from nktc.ir import Graph, Phase, drawing

ROOT = Path(__file__).parents[2]
NETS = sorted(ROOT.glob("nets/*/train.prototxt"))
SVG = "{http://www.w3.org/2000/svg}"
ODD = """
    name: "a \\"net\\" \\\\ <b>"
    layer { name: "<i>&\\"x\\"" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 5 } } }
    layer { name: "in place of an input" type: "TanH" bottom: "x" top: "x" }
    layer { name: "hush \\001" type: "Silence" bottom: "x" }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
            convolution_param { num_output: 2 kernel_h: 3 kernel_w: 1 stride: 2 } }
    layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
    layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
    layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "conv" top: "sum" }
    layer { name: "made" type: "DummyData" top: "made" dummy_data_param { shape { dim: 1 } } }
"""


def boxes(graph: Graph) -> list[tuple[str, str, str]]:
    return [(box.name, box.text, box.family) for box in drawing.picture(graph)[0]]


def test_layers_in_place_are_drawn_with_what_they_work_on(read):
    assert boxes(read(ODD)) == [
        ('<i>&"x"', "Input", "data"),
        ("in place of an input", "TanH", "other"),
        ("hush ?", "Silence", "other"),
        ("conv", "Convolution 3x1 /2 + BatchNorm + ReLU", "learned"),
        ("sum", "Eltwise", "joining"),
        ("made", "DummyData", "data"),
    ]


def test_edges_go_from_box_to_box(read):
    edges = [(edge.start, edge.end, edge.value.name) for edge in drawing.picture(read(ODD))[1]]
    x = "x@in place of an input"
    assert edges == [(0, 1, "x"), (1, 2, x), (1, 3, x), (3, 4, "conv"), (3, 4, "conv")]


def test_the_source_for_graphviz(read):
    text = drawing.dot(
        read("""
            name: "two"
            layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
            layer { name: "pool" type: "Pooling" bottom: "x" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
            layer { name: "a" type: "ReLU" bottom: "pool" top: "a" }
            layer { name: "b" type: "TanH" bottom: "pool" top: "b" }
        """),
        "LR",
    )
    assert text.splitlines()[:2] == ['digraph "two" {', "  rankdir=LR; ranksep=0.06; nodesep=0.6;"]
    assert text.splitlines()[4:] == [
        '  n0 [label=<<b>x</b><br/>Input> fillcolor="#dbe7f6"];',
        '  n1 [label=<<b>pool</b><br/>Pooling MAX 2x2 /2> fillcolor="#d8ecd0"];',
        '  n2 [label=<<b>a</b><br/>ReLU> fillcolor="#eeeeee"];',
        '  n3 [label=<<b>b</b><br/>TanH> fillcolor="#eeeeee"];',
        '  n0 -> n1 [label=" 2x3x8x8"];',
        '  n1 -> n2 [label=" 2x3x4x4"];',
        "  n1 -> n3;",
        "}",
    ]


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
@pytest.mark.parametrize("direction", ["TB", "LR"])
def test_graphviz_takes_it(read, direction):
    graphs = [read(ODD), *(checking.graphs(net, [Phase.TEST])[0] for net in NETS)]
    for graph in graphs:
        source = drawing.dot(graph, direction)
        done = subprocess.run(["dot", "-Tplain"], input=source.encode(), capture_output=True, check=False)
        assert not done.stderr
        nodes = [line for line in done.stdout.decode().splitlines() if line.startswith("node ")]
        assert len(nodes) == len(drawing.picture(graph)[0])


@pytest.mark.parametrize("direction", ["TB", "LR"])
def test_our_own_svg_has_every_box_and_line(read, direction):
    for graph in [read(ODD), *(checking.graphs(net, [Phase.TEST])[0] for net in NETS)]:
        found = ET.fromstring(drawing.svg(graph, direction))
        said, edges = drawing.picture(graph)
        names = [text.text for text in found.iter(f"{SVG}text") if text.get("font-weight") == "bold"]
        assert sorted(names) == sorted(box.name for box in said)
        assert len([*found.iter(f"{SVG}path")]) == len(edges)


def test_googlenet_fits_on_two_pages(read):
    found = ET.fromstring(drawing.svg(read(googlenet())))
    assert float(found.get("height")) / float(found.get("width")) < 2 * 297 / 210 + 0.1


def test_a_drawing_is_written_as_its_ending_says(read, tmp_path, monkeypatch):
    graph = read(ODD)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    drawing.draw(graph, tmp_path / "net.dot", "LR")
    assert (tmp_path / "net.dot").read_text() == drawing.dot(graph, "LR")
    drawing.draw(graph, tmp_path / "net.svg", "LR")
    assert (tmp_path / "net.svg").read_text() == drawing.svg(graph, "LR")
    for ending, said in [("png", "without Graphviz"), ("pdf", "without Graphviz"), ("jpg", "cannot draw")]:
        with pytest.raises(NktcError, match=said):
            drawing.draw(graph, tmp_path / f"net.{ending}")
    assert {path.name for path in tmp_path.iterdir()} == {"net.dot", "net.svg"}


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
@pytest.mark.parametrize(("ending", "starts"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_graphviz_draws_where_it_is_installed(read, tmp_path, ending, starts):
    drawing.draw(read(ODD), tmp_path / f"net.{ending}")
    assert (tmp_path / f"net.{ending}").read_bytes().startswith(starts)


def test_what_graphviz_says_is_passed_on(read, tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho no fonts here >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    with pytest.raises(NktcError, match="failed: no fonts here"):
        drawing.draw(read(ODD), tmp_path / "net.png")


def test_a_net_of_nothing_is_an_empty_drawing():
    graph = reader.build(reader.parse_net('name: "nothing"'), Phase.TEST)
    assert "n0" not in drawing.dot(graph)
    assert ET.fromstring(drawing.svg(graph)).tag == f"{SVG}svg"
