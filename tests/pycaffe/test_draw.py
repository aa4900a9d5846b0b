"""caffe.draw: a net's message as a drawing of layers and blobs."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from nktc.errors import Source
from nktc.pycaffe import draw
from nktc.pycaffe.proto.caffe_pb2 import TEST, TRAIN, LayerParameter, NetParameter
from nktc.text import bind, parse

NET = """
    name: "small"
    layer { name: "data" type: "Data" top: "data" data_param { batch_size: 64 } include { phase: TRAIN } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
            convolution_param { num_output: 20 kernel_size: 5 stride: 2 } }
    layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
    layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" exclude { phase: TEST }
            pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 } }
    layer { name: "say \\"ip\\"" type: "InnerProduct" bottom: "pool" top: "ip" inner_product_param { num_output: 10 } }
"""


def net(text: str = NET) -> NetParameter:
    return bind(parse(Source("net.prototxt", text)), NetParameter)


def layer(index: int) -> LayerParameter:
    return net().layer[index]


def test_labels_say_what_caffes_say():
    assert draw.get_layer_label(layer(1), "TB") == '"conv (Convolution) kernel size: 5 stride: 2 pad: 0"'
    assert draw.get_layer_label(layer(1), "LR", display_lrm=True) == (
        r'"conv\n(Convolution)\nkernel size: 5\nstride: 2\npad: 0\nlr mult: 1.0, 2.0"'
    )
    assert draw.get_layer_label(layer(3), "BT") == '"pool (Pooling AVE) kernel size: 3x2 stride: 1 pad: 0"'
    assert draw.get_layer_label(layer(4), "TB") == r'"say \"ip\" (InnerProduct)"'
    assert [draw.get_edge_label(layer(i)) for i in range(5)] == ["Batch 64", "20", '""', '""', "10"]
    assert draw.get_pooling_types_dict()[1] == "AVE"


def test_multipliers_of_the_rate():
    assert draw.get_layer_lr_mult(layer(1)) == (1, 2)
    assert draw.get_layer_lr_mult(layer(4)) == (1, 1)
    with pytest.raises(ValueError, match="ReLU layers have no learning rate multipliers"):
        draw.get_layer_lr_mult(layer(2))


def test_the_graph_has_a_node_for_every_layer_and_every_blob():
    graph = draw.get_pydot_graph(net(), "TB")
    assert sorted(graph.nodes) == sorted(
        [
            *("data_Data", "conv_Convolution", "relu_ReLU", "pool_Pooling", 'say "ip"_InnerProduct'),
            *("data_blob", "conv_blob", "pool_blob", "ip_blob"),
        ]
    )
    assert len(graph.get_edges()) == 4 + 5
    colours = {node.get_name(): node.attributes["fillcolor"] for node in graph.get_nodes()}
    assert colours["relu_ReLU"] == draw.NEURON_LAYER_STYLE["fillcolor"]
    assert colours["conv_Convolution"] == draw.choose_color_by_layertype("Convolution") == "#FF5050"
    assert [e.attributes for e in draw.get_pydot_graph(net(), "TB", label_edges=False).edges] == [{}] * 9


@pytest.mark.parametrize(("phase", "gone"), [(TRAIN, set()), (TEST, {"data_Data", "pool_Pooling"}), (None, set())])
def test_a_phase_has_its_own_layers(phase, gone):
    drawn = {name for name in draw.get_pydot_graph(net(), "LR", phase=phase).nodes if not name.endswith("_blob")}
    assert drawn == {name for name in draw.get_pydot_graph(net(), "LR").nodes if not name.endswith("_blob")} - gone


def test_rules_of_both_kinds_are_refused():
    both = net('layer { name: "x" type: "ReLU" include { phase: TRAIN } exclude { phase: TEST } }')
    with pytest.raises(ValueError, match='layer "x" has include rules and exclude rules'):
        draw.get_pydot_graph(both, "LR", phase=TEST)


def test_an_old_net_is_drawn_in_todays_types():
    old = net('layers { name: "r" type: RELU bottom: "x" top: "y" }')
    assert "r_ReLU" in draw.get_pydot_graph(old, "LR").nodes


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
@pytest.mark.parametrize(
    ("kind", "starts"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("ps", b"%!PS")]
)
def test_graphviz_draws_it(kind, starts):
    assert draw.draw_net(net(), "LR", kind).startswith(starts)
    assert getattr(draw.get_pydot_graph(net(), "LR"), f"create_{kind}")().startswith(starts)


def test_without_graphviz_there_is_svg(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    found = ET.fromstring(draw.draw_net(net(), "TB", "svg"))
    assert len(found.findall(".//{http://www.w3.org/2000/svg}path")) == 9
    with pytest.raises(draw.NktcError, match=r"cannot draw a \.png without Graphviz"):
        draw.draw_net_to_file(net(), str(tmp_path / "net.png"))
    assert not (tmp_path / "net.png").exists()


def test_the_source_is_written_as_raw_and_as_dot(tmp_path: Path):
    graph = draw.get_pydot_graph(net(), "LR")
    assert graph.to_string().startswith('digraph "small" {\n  rankdir="LR";\n')
    assert '  "conv_blob" -> "relu_ReLU";' in graph.to_string().splitlines()
    assert '  "conv_Convolution" -> "conv_blob" [label="20"];' in graph.to_string().splitlines()
    draw.draw_net_to_file(net(), str(tmp_path / "net.raw"))
    assert graph.write(tmp_path / "net.dot")
    assert graph.write_raw(tmp_path / "net.txt")
    assert {path.read_text() for path in tmp_path.iterdir()} == {graph.to_string()}


def test_a_file_without_an_ending_and_what_pydot_alone_has_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="has no ending that says what kind of drawing it is"):
        draw.draw_net_to_file(net(), str(tmp_path / "net"))
    with pytest.raises(AttributeError, match="a drawing has no set_suppress_disconnected"):
        draw.get_pydot_graph(net(), "LR").set_suppress_disconnected  # noqa: B018
