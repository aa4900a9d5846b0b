"""What is known of the data layers of a net: what they feed, and what they are said to."""

from __future__ import annotations

from pathlib import Path

import pytest

from nktc import checking, data, models, reader
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.layers import BatchNorm

NET = """name: "n"
layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 8 } }
layer { name: "m" type: "Input" top: "mask" input_param { shape { dim: 8 dim: 1 dim: 4 dim: 5 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path / "net.prototxt"


def test_a_net_is_looked_at_without_its_data_where_the_shape_is_said(net: Path) -> None:
    for shapes in ({"data": (3, 4, 5)}, {"": (3, 4, 5)}, {"data": (8, 3, 4, 5)}):
        graph = checking.graphs(net, [Phase.TRAIN], shapes)[0]
        assert [value.shape for value in graph.inputs] == [(8, 3, 4, 5), (8,), (8, 1, 4, 5)]
        assert graph.values["ip"].shape == (8, 4)
    both = checking.graphs(net, [Phase.TEST], {"": (2, 3, 4, 5), "mask": (2, 2, 2)})[0]
    assert [value.shape for value in both.inputs] == [(2, 3, 4, 5), (2,), (8, 2, 2, 2)]


def test_a_net_is_looked_at_without_its_data_where_the_settings_tell_its_shape(net: Path) -> None:
    net.write_text(NET.replace("data_param", "transform_param { crop_size: 9 force_gray: true } data_param"))
    report = checking.check(net)
    assert report.well, report
    assert {graph.values["data"].shape for graph in (one.graph for one in report.built)} == {(8, 1, 9, 9)}


def test_a_shape_that_nothing_tells_is_refused_with_the_option_that_does(net: Path) -> None:
    report = checking.check(net)
    assert report.exit_code == 1
    said = str(report)
    assert f'{net}:2:70: error: Data "d": the shape of its top "data" is not known: {net.parent / "db"} is not' in said
    assert "help: tell it with --input-shape data=CxHxW" in said


def test_training_and_testing_need_the_data(net: Path) -> None:
    net.write_text(NET.replace("data_param", "transform_param { crop_size: 9 } data_param"))
    file = reader.read_net(net)
    with pytest.raises(NktcError) as refusal:
        reader.build(file, Phase.TRAIN, feeds=models.feeds(file))
    assert refusal.value.at is not None
    assert "db" in refusal.value.message
    assert "--input-shape" not in str(refusal.value)


def test_a_shape_for_a_blob_that_nothing_feeds_is_refused_with_a_near_name(net: Path) -> None:
    with pytest.raises(NktcError, match='--input-shape names "dato", which nothing feeds') as refusal:
        checking.graphs(net, [Phase.TEST], {"dato": (3, 4, 5)})
    assert refusal.value.help == 'did you mean "data"?'
    with pytest.raises(NktcError) as refusal:
        checking.graphs(net, [Phase.TEST], {"ip": (3,)})
    assert refusal.value.help == "what is fed is data, label, mask"
    net.write_text('layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 } } }')
    with pytest.raises(NktcError, match="--input-shape is given, and the net is fed nothing"):
        checking.graphs(net, [Phase.TEST], {"": (3, 4, 5)})


def test_a_net_of_sinks_alone_has_nothing_to_infer_with(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text("""layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }
        layer { name: "s" type: "Silence" bottom: "x" }""")
    with pytest.raises(NktcError, match="is left to infer with"):
        models.open_model(net, [], data.Places((), tmp_path))


TRAINED = """name: "n"
layer { name: "d" type: "HDF5Data" top: "label" top: "data" include { phase: %s }
  hdf5_data_param { source: "gone.txt" batch_size: 8 } }
layer { name: "slice" type: "Slice" bottom: "label" top: "class" top: "box" slice_param { slice_point: 1 } }
layer { name: "two" type: "Split" bottom: "class" top: "class0" top: "class1" }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
layer { name: "three" type: "Split" bottom: "ip" top: "ip0" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "data" top: "where" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip0" bottom: "class0" top: "loss"
  softmax_param { hard_ratio: 0.5 } }
layer { name: "loss2" type: "EuclideanLoss" bottom: "where" bottom: "box" top: "loss2" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip1" bottom: "class1" top: "accuracy" }
"""


def test_a_trained_net_is_deployed_without_its_data_its_labels_and_the_losses_of_a_fork(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text(TRAINED % "TEST")
    graph = models.open_model(net, [], data.Places.from_environment(()), {"data": (3, 4, 5)})
    assert {value.name: value.shape for value in graph.inputs} == {"data": (1, 3, 4, 5)}
    assert {value.name: value.shape for value in graph.outputs} == {"where": (1, 2), "prob": (1, 4)}
    assert [node.type for node in graph] == ["Input", "InnerProduct", "Split", "InnerProduct", "Softmax"]
    assert models.unsaid(net, {}) == ["data"]
    unnamed = models.open_model(net, [], data.Places.from_environment(()), {"": (3, 4, 5)})
    assert unnamed.inputs == graph.inputs  # though the label is fed before the data
    with pytest.raises(NktcError, match=r"gone\.txt"):
        models.open_model(net, [], data.Places.from_environment(()), {})


def test_data_layers_of_python_and_of_unknown_types_may_be_absent_too(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    head = 'layer { name: "d" %s top: "label" top: "data" include { phase: TEST } }\n'
    python = 'type: "Python" python_param { module: "gone" layer: "Gone" }'
    rest = TRAINED.split("layer {", 2)[2].replace("EuclideanLoss", "SomeForksLoss")
    for kind in ('type: "SomeForksData"', python):
        net.write_text(f"{head % kind}layer {{{rest}")
        graph = models.open_model(net, [], data.Places.from_environment(()), {"": (3, 4, 5)})
        assert [node.type for node in graph] == ["Input", "InnerProduct", "Split", "InnerProduct", "Softmax"]
        with pytest.raises(NktcError, match=r"unknown layer type|needs your permission"):
            models.open_model(net, [], data.Places.from_environment(()))


def test_a_snapshot_of_training_normalizes_by_its_statistics(tmp_path: Path) -> None:
    net = reader.parse_net("""
        layer { name: "d" type: "MemoryData" top: "data" top: "label" include { phase: TRAIN }
          memory_data_param { batch_size: 1 } }
        layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" include { phase: TRAIN }
          batch_norm_param { use_global_stats: false } }
        layer { name: "always" type: "BatchNorm" bottom: "bn" top: "always"
          batch_norm_param { use_global_stats: false } }
        layer { name: "ip" type: "InnerProduct" bottom: "always" top: "ip" inner_product_param { num_output: 4 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }""")
    (tmp_path / "trained.caffemodel").write_bytes(net.message.SerializeToString())
    graph = models.open_model(tmp_path / "trained.caffemodel", [], data.Places.from_environment(()), {"": (3, 4, 5)})
    stored = {node.name: node.layer.stored for node in graph if isinstance(node.layer, BatchNorm)}
    assert stored == {"bn": True, "always": False}  # the second is as Caffe has it: a rule for TRAIN alone hides one


def test_a_loss_of_what_labels_lead_to_leaves_nothing(tmp_path: Path) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text("""
        layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 1 } }
        layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
        layer { name: "margin" type: "SomeForksMargin" bottom: "ip" bottom: "label" top: "margin" }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "margin" bottom: "label" top: "loss" }""")
    graph = models.open_model(net, [], data.Places.from_environment(()), {"data": (3, 4, 5)})
    assert [node.name for node in graph] == ["data", "ip"]


def test_what_is_told_of_a_net_whose_stages_need_absent_data_is_the_data(net: Path) -> None:
    staged = ' include { phase: TEST stage: "a" } data_param'
    net.write_text(
        NET.replace(" data_param", " include { phase: TRAIN } data_param")
        + NET.splitlines()[1].replace(" data_param", staged)
    )
    text = net.read_text().splitlines()
    net.write_text("\n".join([*text[:2], text[-1], *text[2:-1]]))
    said = str(checking.check(net))
    assert "--input-shape data=CxHxW" in said
    assert "is made by no layer" not in said
