"""ONNX files: checked by ONNX's checker, named as the prototxt names things, equal to torch in ONNX Runtime."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest

from nktc import data, engines, export, module, passes, reader
from nktc.errors import NktcError
from nktc.ir import Graph, Phase, Preprocessing

ROOT = Path(__file__).parents[2]
NETS = sorted(path.parent.name for path in ROOT.glob("nets/*/train.prototxt"))


def deployed(name: str) -> Graph:
    """A shipped net in deploy form, its weights drawn from its fillers."""
    net_file = reader.read_net(ROOT / "nets" / name / "train.prototxt")
    graph = reader.build(net_file, Phase.TEST, feeds=lambda layer: data.describe(layer, net_file.folder))
    graph = passes.deploy(graph)
    return dataclasses.replace(graph, arrays=module.compile(graph, seed=1).arrays())


OUTPUTS = {"housing_mlp": "price"}  # of a net that predicts a number; the others end in the classes' probabilities


def with_weights(graph: Graph) -> Graph:
    return dataclasses.replace(graph, arrays=module.compile(graph, seed=1).arrays())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [1, 3])
def test_torch_and_onnx_runtime_agree_on_every_shipped_net(name, batch):
    graph = deployed(name)
    feeds = {k: 50 * v for k, v in engines.random_feeds(graph, batch, seed=2).items()}
    differences = engines.agree(graph, ["torch", "onnxruntime"], feeds)
    assert [d.output for d in differences] == [OUTPUTS.get(name, "prob")]
    assert differences[0].relative <= 1e-5


@pytest.mark.parametrize("name", NETS)
def test_names_are_the_prototxts(name, tmp_path):
    graph = deployed(name)
    export.save(export.to_onnx(graph), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.name == graph.name
    assert [node.name for node in graph if not node.layer.source] == list(
        dict.fromkeys(node.name.partition(":")[0] for node in model.graph.node)
    )
    made = {name for node in model.graph.node for name in node.output}
    assert {value.name for node in graph for value in node.outputs} <= made | {"data"}
    assert {init.name for init in model.graph.initializer} >= set(graph.parameters)
    assert [output.name for output in model.graph.output] == [OUTPUTS.get(name, "prob")]
    assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [
        "N",
        1 if name in OUTPUTS else 10,
    ]


def test_metadata_carries_preprocessing_labels_and_origin(tmp_path):
    mean = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    said = Preprocessing((2, 2), "RGB", mean, 0.5, 0)
    graph = dataclasses.replace(deployed("mlp"), preprocessing={"data": said}, labels=("a", "b"))
    export.save(export.to_onnx(graph, {"net": "x"}), tmp_path / "net.onnx")
    found = {p.key: p.value for p in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert json.loads(found["nktc.labels"]) == ["a", "b"]
    assert found["nktc.origin.net"] == "x"
    read = export.unpack(json.loads(found["nktc.preprocessing"])["data"])
    assert (read.size, read.order, read.scale, read.crop) == ((2, 2), "RGB", 0.5, 0)
    np.testing.assert_array_equal(read.mean, mean)


def test_preprocessing_survives_packing_and_old_files_read_as_they_did():
    std = np.array([1.5, 2.5, 3.5], np.float32).reshape(3, 1, 1)
    said = Preprocessing((4, 5), "BGR", None, 0.5, 3, "HALF_CROP", 128, std)
    graph = dataclasses.replace(deployed("mlp"), preprocessing={"data": said})
    found = export.to_onnx(graph).metadata_props["nktc.preprocessing"]
    read = export.unpack(json.loads(found)["data"])
    assert (read.size, read.crop, read.resize_mode, read.fill, read.mean) == ((4, 5), 3, "HALF_CROP", 128, None)
    np.testing.assert_array_equal(read.std, std)
    old = export.unpack({"size": [4, 5], "order": "BGR", "scale": 0.5, "crop": 3})
    assert (old.resize_mode, old.fill, old.std) == ("SQUASH", 0, None)


def test_a_net_that_mixes_items_of_a_batch_keeps_its_batch(read):
    graph = with_weights(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 6 } } }
        layer { name: "r" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: 2 dim: 12 } } }
        layer { name: "i" type: "InnerProduct" bottom: "y" top: "z" inner_product_param { num_output: 3 } }
    """)
    )
    assert not export.follows_batch(graph)
    model = onnx_ir.to_proto(export.to_onnx(graph))
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [4, 6]
    assert engines.agree(graph, ["torch", "onnxruntime"], engines.random_feeds(graph, 4, 0))[0].relative <= 1e-5


def test_shared_in_place_and_side_outputs_survive(read):
    graph = with_weights(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 5 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 5 }
                param { name: "w" } param { name: "b" } }
        layer { name: "r" type: "ReLU" bottom: "a" top: "a" }
        layer { name: "c" type: "InnerProduct" bottom: "a" top: "c" inner_product_param { num_output: 5 }
                param { name: "w" } param { name: "b" } }
        layer { name: "s" type: "Softmax" bottom: "a" top: "s" }
    """)
    )
    model = onnx_ir.to_proto(export.to_onnx(graph))
    assert sorted(init.name for init in model.graph.initializer if not init.name.count(":")) == ["a.bias", "a.weight"]
    differences = engines.agree(graph, ["torch", "onnxruntime"], engines.random_feeds(graph, 2, 0))
    assert {d.output for d in differences} == {"c", "s"}
    assert max(d.relative for d in differences) <= 1e-5


def test_a_layer_without_an_onnx_form_is_named_with_its_place(read, golden):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 5 } } }
        layer { name: "l" type: "EuclideanLoss" bottom: "x" bottom: "x" top: "l" }
    """)
    with pytest.raises(NktcError) as caught:
        export.to_onnx(graph)
    golden(
        caught.value,
        """
        net.prototxt:3:19: error: EuclideanLoss "l": it has no ONNX form
            3 | layer { name: "l" type: "EuclideanLoss" bottom: "x" bottom: "x" top: "l" }
              |                   ^~~~~~~~~~~~~~~~~~~~~
        """,
    )


def test_a_net_without_weights_is_refused(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 5 } } }
        layer { name: "i" type: "InnerProduct" bottom: "x" top: "z" inner_product_param { num_output: 3 } }
    """)
    with pytest.raises(NktcError, match=r"has no weights for i\.weight"):
        export.to_onnx(graph)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "net.onnx").write_text("old")
    (tmp_path / "net.onnx").chmod(0o600)
    model = export.to_onnx(deployed("mlp"))
    model.graph.outputs[0].name = "missing"
    model.graph.outputs[0].producer().outputs[0].name = "other"
    next(iter(model.graph)).op_type = "NoSuchOperator"
    with pytest.raises(onnx.checker.ValidationError):
        export.save(model, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
