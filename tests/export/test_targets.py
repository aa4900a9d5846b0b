"""What is written for a runtime runs there: every layer and well-known nets, against torch; what is not is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import cv2
import numpy as np
import onnx_ir
import onnxruntime
import pytest
from big_nets import BIG_NETS, random_inputs, random_weights
from test_contract import WITH_ONNX, compiled, inputs

from nktc import engines, export, module, passes, reader
from nktc.errors import NktcError
from nktc.export import TARGETS
from nktc.ir import DType, Graph, Phase

OPENCV_5 = int(cv2.__version__.partition(".")[0]) >= 5
needs_opencv = pytest.mark.skipif(not OPENCV_5, reason=f"needs OpenCV 5, and this is {cv2.__version__}")
SPELT_OUT = ("LRN", "Resize", "Pooling", "PoolingND", "SPP")
"""Types that are written otherwise for TensorRT or ONNX Runtime."""
OF_EACH = list({example.type: example for example in WITH_ONNX}.values())
"""The last of each type."""
TRANSLATED = [example for example in WITH_ONNX if example.type in SPELT_OUT]


def written(graph: Graph, target: str, **more) -> bytes:
    return onnx_ir.to_proto(export.to_onnx(graph, target=export.target(target), **more)).SerializeToString()


def by_opencv(model: bytes, feeds: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    for name, array in feeds.items():
        net.setInput(array, name)
    return [np.asarray(array) for array in net.forward(outputs)]


def by_onnx_runtime(model: bytes, feeds: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(outputs, dict(feeds))


def check(example, target: str, run) -> None:
    """The example, in its own batch and, where it takes others, in three times it, against torch."""
    net = compiled(example)
    graph = dataclasses.replace(net.graph, arrays=net.arrays())
    model = written(graph, target)
    for batch in (1, 3) if export.follows_batch(graph) else (1,):
        given = inputs(example, batch)
        expected = net(*given)
        feeds = {value.name: x.numpy() for value, x in zip(graph.inputs, given, strict=True)}
        for (name, value), array in zip(expected.items(), run(model, feeds, list(expected)), strict=True):
            # OpenCV has no array without axes.
            found = array.reshape(value.shape) if value.dim() == 0 else array
            np.testing.assert_allclose(found, value.detach(), rtol=1e-5, atol=1e-5, err_msg=name)


@needs_opencv
@pytest.mark.parametrize("example", [e for e in WITH_ONNX if e.type not in ("Quantize", "ROIPooling")], ids=str)
def test_opencv_computes_the_same(example):
    check(example, "opencv", by_opencv)


def by_openvino(model: bytes, feeds: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    core = pytest.importorskip("openvino").Core()
    compiled_model = core.compile_model(core.read_model(model, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    read = {name for port in compiled_model.inputs for name in port.get_names()}
    found = compiled_model({name: array for name, array in feeds.items() if name in read})
    return [np.array(found[name]) for name in outputs]


@pytest.mark.parametrize("example", OF_EACH, ids=str)
def test_openvino_computes_the_same(example):
    check(example, "openvino", by_openvino)


@pytest.mark.parametrize("example", TRANSLATED, ids=str)
@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_other_forms_of_a_layer_compute_the_same(target, example):
    if target == "tensorrt" and example.tops == 2:
        pytest.skip("refused: MaxPool gives no places there")
    check(example, target, by_onnx_runtime)


@pytest.mark.parametrize("name", sorted(BIG_NETS))
def test_every_runtime_here_agrees_on_well_known_nets(name):
    graph = random_weights(reader.build(reader.parse_net(BIG_NETS[name]()), Phase.TEST), seed=2)
    given = random_inputs(graph)
    feeds = {value.name: x.numpy() for value, x in zip(graph.inputs, given, strict=True)}
    runs = {"onnxruntime": by_onnx_runtime, "tensorrt": by_onnx_runtime}
    if OPENCV_5:
        runs["opencv"] = by_opencv
    for blob, expected in module.compile(graph)(*given).items():
        for target, run in runs.items():
            (found,) = run(written(graph, target), feeds, [blob])
            np.testing.assert_allclose(found, expected.detach(), atol=1e-6, err_msg=target)


@needs_opencv
@pytest.mark.parametrize("batch", [None, 2])
def test_opencv_takes_an_open_batch_and_a_fixed_one(read, batch):
    graph = random_weights(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: "i" type: "InnerProduct" bottom: "c" top: "i" inner_product_param { num_output: 5 } }
    """)
    )
    model = written(graph, "opencv", batch=batch)
    for rows in (1, 2, 5) if batch is None else (2,):
        x = engines.random_feeds(graph, rows, seed=rows)
        expected = engines.engine("torch").build(graph, engines.Options("cpu")).run(x)
        np.testing.assert_allclose(by_opencv(model, x, ["i"])[0], expected["i"], atol=1e-5)


LRN = """
    layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: {channels} dim: 5 dim: 5 }} }} }}
    layer {{ name: "n" type: "LRN" bottom: "x" top: "y" lrn_param {{ local_size: {size} alpha: 0.3 beta: {beta} }} }}
"""


@pytest.mark.parametrize(
    ("target", "channels", "size", "beta", "operator"),
    [
        ("onnxruntime", 32, 5, 0.75, False),
        ("onnxruntime", 32, 5, 0.5, False),
        ("onnxruntime", 600, 5, 0.75, True),
        ("tensorrt", 32, 15, 0.75, True),
        ("tensorrt", 32, 17, 0.75, False),
        ("tensorrt", 32, 5, 0.005, False),
        ("portable", 32, 5, 0.75, True),
        ("openvino", 32, 5, 0.75, True),
        ("opencv", 32, 5, 0.75, True),
    ],
)
def test_lrn_is_an_operator_where_that_is_fast_and_allowed(read, target, channels, size, beta, operator):
    graph = read(LRN.format(channels=channels, size=size, beta=beta))
    model = export.to_onnx(graph, target=export.target(target))
    assert ("LRN" in [node.op_type for node in model.graph]) == operator
    assert not [finding for finding in export.lint(model, export.target(target)) if finding.refused]
    feeds = {name: 10 * x for name, x in engines.random_feeds(graph, 2, seed=1).items()}
    (found,) = by_onnx_runtime(onnx_ir.to_proto(model).SerializeToString(), feeds, ["y"])
    squares = np.pad(feeds["x"].astype(np.float64) ** 2, [(0, 0), (size // 2, size // 2), (0, 0), (0, 0)])
    near = sum(squares[:, i : i + channels] for i in range(size))
    np.testing.assert_allclose(found, feeds["x"] / (1 + 0.3 / size * near) ** beta, rtol=2e-5, atol=1e-5)


POOL = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
    layer { name: "p" type: "Pooling" bottom: "x" top: "y" top: "m" pooling_param { kernel_size: 2 } }
"""


def test_what_a_target_refuses_is_refused_at_the_layers_line(read, golden):
    graph = read(POOL)
    export.to_onnx(graph)
    with pytest.raises(NktcError) as caught:
        export.to_onnx(graph, target=export.target("tensorrt"))
    golden(
        caught.value,
        """
net.prototxt:3:19: error: Pooling "p": MaxPool gives no places of the largest values (NVIDIA's table for 10.15)
    3 | layer { name: "p" type: "Pooling" bottom: "x" top: "y" top: "m" pooling_param { kernel_size: 2 } }
      |                   ^~~~~~~~~~~~~~~
help: export for another --target
        """,
    )


def halves(graph: Graph, dtype: DType) -> Graph:
    return passes.assign_precision(graph, dtype)


NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
    layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param { num_output: 3 } }
"""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
def test_a_target_takes_the_halves_that_it_says(read, target, dtype):
    graph = halves(random_weights(read(NET)), dtype)
    if dtype.value in TARGETS[target].halves:
        model = export.to_onnx(graph, target=export.target(target))
        assert model.metadata_props["nktc.precision"] == {"f16": "fp16"}.get(dtype.value, "bf16")
        assert not export.lint(model, export.target(target))
        return
    with pytest.raises(NktcError, match=f"runs in {dtype.value}, which the target {target} does not take"):
        export.to_onnx(graph, target=export.target(target))


def test_8_bits_are_refused_where_they_do_not_run(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
        layer { name: "q" type: "Quantize" bottom: "x" top: "y" quantize_param { scale: 0.1 zero_point: 3 } }
    """)
    for target, said in (("opencv", "runs in 8 bits"), ("tensorrt", "takes a zero point of 0 only")):
        with pytest.raises(NktcError, match=said):
            export.to_onnx(graph, target=export.target(target))
    for target in ("portable", "onnxruntime", "openvino"):
        export.to_onnx(graph, target=export.target(target))


@needs_opencv
def test_opencv_computes_in_halves(read):
    graph = random_weights(read(NET))
    model = written(halves(graph, DType.F16), "opencv")
    x = engines.random_feeds(graph, 1, seed=0)
    expected = engines.engine("torch").build(graph, engines.Options("cpu")).run(x)["i"]
    np.testing.assert_allclose(by_opencv(model, x, ["i"])[0], expected, atol=1e-2)
