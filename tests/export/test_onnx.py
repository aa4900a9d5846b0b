"""ONNX files: checked by ONNX's checker, named as the prototxt names things, equal to torch in ONNX Runtime."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx_ir
import pytest

from nktc import __version__, data, engines, export, module, passes, reader
from nktc.errors import NktcError
from nktc.ir import DType, Graph, Phase, Preprocessing, Value

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


def check(graph: Graph, feeds: dict[str, np.ndarray]) -> list[str]:
    """The outputs, once torch and ONNX Runtime have been seen to agree on them."""
    expected, found = (
        engines.engine(e).build(graph, engines.Options("cpu")).run(feeds) for e in ("torch", "onnxruntime")
    )
    for name, y in expected.items():
        np.testing.assert_allclose(found[name], y, rtol=0, atol=1e-5 * np.abs(y).max(), err_msg=name)
    return list(found)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [1, 3])
def test_torch_and_onnx_runtime_agree_on_every_shipped_net(name, batch):
    graph = deployed(name)
    feeds = {k: 50 * v for k, v in engines.random_feeds(graph, batch, seed=2).items()}
    assert check(graph, feeds) == [OUTPUTS.get(name, "prob")]


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
    check(graph, engines.random_feeds(graph, 4, 0))


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
    assert set(check(graph, engines.random_feeds(graph, 2, 0))) == {"c", "s"}


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


def test_the_same_graph_gives_the_same_bytes():
    """Also in another process, whose hashes of texts are others."""
    code = (
        "import sys, hashlib, onnx_ir\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from big_nets import BIG_NETS, random_weights\n"
        "from nktc import export, reader\n"
        "from nktc.ir import Phase\n"
        "graph = random_weights(reader.build(reader.parse_net(BIG_NETS['squeezenet11']()), Phase.TEST), seed=1)\n"
        "model = export.to_onnx(graph, {'b': '1', 'a': '2'}, export.target('onnxruntime'))\n"
        "digest = hashlib.sha256(onnx_ir.to_proto(model).SerializeToString()).hexdigest()\n"
    )
    here: dict[str, str] = {}
    exec(code, here)
    other = os.environ | {"PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    line = [sys.executable, "-c", f"{code}print(digest)"]
    there = subprocess.run(line, capture_output=True, text=True, check=True, env=other).stdout
    assert there == f"{here['digest']}\n"


def test_metadata_says_by_what_and_for_what_a_file_was_made():
    found = export.to_onnx(deployed("mlp"), {"net": "x"}, export.target("tensorrt"), batch=4).metadata_props
    assert (found["nktc.version"], found["nktc.target"], found["nktc.precision"]) == (__version__, "tensorrt", "fp32")


def test_a_net_that_mixes_its_batch_cannot_take_any(read):
    graph = with_weights(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 6 } } }
        layer { name: "r" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: 2 dim: 12 } } }
    """)
    )
    with pytest.raises(NktcError, match="does not take any batch"):
        export.to_onnx(graph, batch=0)
    export.to_onnx(graph)


# Preprocessing inside.

PICTURES = [
    Preprocessing((9, 11), "BGR"),
    Preprocessing((9, 11), "RGB", np.array([100.0, 110, 120], np.float32).reshape(3, 1, 1), 0.017),
    Preprocessing((9, 11), "BGR", np.arange(297, dtype=np.float32).reshape(3, 9, 11), 0.5, 6),
    Preprocessing((8, 8), "BGR", None, 1 / 255, 5, std=np.array([0.2, 0.3, 0.4], np.float32).reshape(3, 1, 1)),
    Preprocessing((7, 7), "GRAY", np.full((1, 1, 1), 33.3, np.float32), 1 / 256, 4),
]


@pytest.mark.parametrize("p", PICTURES, ids=lambda p: f"{p.order} {p.crop}")
@pytest.mark.parametrize("target", ["portable", "onnxruntime", "openvino", "tensorrt"])
def test_preprocessing_inside_is_that_of_the_training_batches(read, target, p, tmp_path):
    channels, (height, width) = (1 if p.order == "GRAY" else 3), (p.crop, p.crop) if p.crop else p.size
    plain = with_weights(
        read(f"""
        layer {{ name: "data" type: "Input" top: "data"
          input_param {{ shape {{ dim: 2 dim: {channels} dim: {height} dim: {width} }} }} }}
        layer {{ name: "c" type: "Convolution" bottom: "data" top: "c"
          convolution_param {{ num_output: 2 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
    """)
    )
    graph = dataclasses.replace(plain, preprocessing={"data": p})
    model = export.to_onnx(graph, target=export.target(target), inside=True)
    assert not export.lint(model, export.target(target))
    export.save(model, tmp_path / "net.onnx")
    session = engines.engine("onnxruntime").open(tmp_path / "net.onnx", engines.Options("cpu"))
    assert session.inputs == (Value("data", (0, *p.size, channels), DType.U8),)
    pictures = np.random.default_rng(1).integers(0, 256, (3, *p.size, channels), np.uint8)
    planes = pictures.transpose(0, 3, 1, 2)
    given = data.prepared(np.ascontiguousarray(planes[:, ::-1] if p.order == "BGR" else planes), p)
    expected = module.compile(graph)(given)["c"].detach().numpy()
    found = session.run({"data": pictures})["c"]
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))
    left = session.facts.preprocessing["data"]
    assert (left.size, left.order) == (p.size, "GRAY" if p.order == "GRAY" else "RGB")
    assert (left.mean, left.scale, left.crop, left.std) == (None, 1, 0, None)
    assert json.loads(model.metadata_props["nktc.preprocessing"])["data"]["inside"] is True


def test_preprocessing_that_is_not_known_cannot_be_inside(read):
    graph = with_weights(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 5 } } }
        layer { name: "i" type: "ReLU" bottom: "x" top: "z" }
    """)
    )
    with pytest.raises(NktcError, match="what a picture goes through to become x is not known"):
        export.to_onnx(graph, inside=True)


@pytest.mark.parametrize("dtype", [None, DType.F16])
def test_layers_may_be_called_like_weights_and_inner_values_of_others(read, dtype):
    names = ("c.weight", "c.bias:f16", "c.weight:f16", "c:constant", "c:1", "c:1:Mul", "c.bias")
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }\n'
    for bottom, top in zip(("x", *names), names, strict=False):
        text += f'layer {{ name: "{top}" type: "TanH" bottom: "{bottom}" top: "{top}" }}\n'
    text += 'layer { name: "s" type: "ReLU" bottom: "c.bias" top: "s" }'
    text += 'layer { name: "c" type: "Convolution" bottom: "s" top: "c" convolution_param { num_output: 2 axis: 2 } }'
    graph = with_weights(read(text.replace("num_output: 2", "num_output: 2 kernel_size: 1")))
    graph = passes.assign_precision(graph, dtype) if dtype else graph
    feeds = engines.random_feeds(graph, 2, 0)
    expected = engines.engine("torch").build(graph, engines.Options("cpu")).run(feeds)
    found = engines.engine("onnxruntime").build(graph, engines.Options("cpu")).run(feeds)
    np.testing.assert_allclose(found["c"], expected["c"], atol=2e-3 if dtype else 1e-5)


@pytest.mark.parametrize(("target", "ops"), [("opencv", ["Pad", "Conv"]), ("onnxruntime", ["Conv"])])
def test_a_padded_window_of_one_is_padded_apart_for_opencv_which_would_read_beyond_the_picture(read, target, ops):
    graph = with_weights(
        read(
            'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }'
            'layer { name: "y" type: "Convolution" bottom: "x" top: "y"'
            " convolution_param { num_output: 2 kernel_size: 1 pad: 1 } }"
        )
    )
    proto = onnx_ir.to_proto(export.to_onnx(graph, target=export.target(target)))
    assert [node.op_type for node in proto.graph.node] == ops
    x = np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)
    expected = engines.engine("torch").build(graph, engines.Options("cpu")).run({"x": x})["y"]
    if target == "opencv":
        net = cv2.dnn.readNetFromONNX(np.frombuffer(proto.SerializeToString(), np.uint8))
        net.setInput(x, "x")
        np.testing.assert_allclose(net.forward("y"), expected, atol=1e-5)


def test_a_bias_beside_tiny_weights_is_not_cut_off_in_8_bits(read):
    graph = with_weights(
        read(
            'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }'
            'layer { name: "y" type: "Convolution" bottom: "x" top: "y"'
            " convolution_param { num_output: 2 kernel_size: 1 } }"
        )
    )
    graph.arrays["y.weight"][:] = [[[[1e-9]]] * 3, [[[1.0]]] * 3]
    graph.arrays["y.bias"][:] = 0.75
    lowered = passes.quantize(graph, dict.fromkeys(graph.values, (-1.0, 1.0)))
    zeros = {"x": np.zeros((1, 3, 6, 6), np.float32)}
    found = engines.engine("onnxruntime").build(lowered, engines.Options("cpu")).run(zeros)["y"]
    np.testing.assert_allclose(found, 0.75, atol=0.01)
