"""The rows of the lint: each hits what it is about and nothing near it, and what was seen of runtimes here is so."""

from __future__ import annotations

from importlib.util import find_spec

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper

from nktc import export
from nktc.errors import NktcError
from nktc.export import TARGETS

FLOAT, BYTES, BF16, DOUBLE = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.BFLOAT16, TensorProto.DOUBLE
PICTURE = (1, 2, 6, 6)


def model(op, shapes=(PICTURE,), constants=None, dtype=FLOAT, outputs=1, opset=20, domain="", **attributes):
    """One node of `op`: inputs i0, i1, ... of those shapes, then the constants by place."""
    constants = constants or {}
    count = max([len(shapes), *(place + 1 for place in constants)])
    names = ["" if i >= len(shapes) and i not in constants else f"i{i}" for i in range(count)]
    fed = [helper.make_tensor_value_info(f"i{i}", dtype, shape) for i, shape in enumerate(shapes) if i not in constants]
    held = [onnx.numpy_helper.from_array(np.asarray(array), f"i{i}") for i, array in constants.items()]
    made = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, "it", domain=domain, **attributes)
    told = [onnx.ValueInfoProto(name=name) for name in made]
    graph = helper.make_graph([node], "g", fed, told, held)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def found(proto, target):
    """What a file of the model hits, read as the command does."""
    return export.lint(ir.from_proto(onnx.shape_inference.infer_shapes(proto)), export.target(target))


I64 = np.int64
ROWS = [
    ("MaxPool", {"kernel_shape": [2, 2]}, ""),
    ("MaxPool", {"kernel_shape": [2, 2], "outputs": 2}, "gives no places"),
    ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 1]}, "takes no dilations"),
    ("MaxPool", {"kernel_shape": [2, 2], "dilations": [1, 1]}, ""),
    ("MaxPool", {"kernel_shape": [2, 2], "ceil_mode": 1}, "with ceil_mode"),
    ("AveragePool", {"kernel_shape": [2], "shapes": [(1, 2, 6)]}, "slides over 2 or 3 axes only"),
    ("AveragePool", {"kernel_shape": [2, 2, 2], "shapes": [(1, 2, 6, 6, 6)]}, ""),
    ("LRN", {"size": 15}, ""),
    ("LRN", {"size": 17}, "has an odd size up to 15 only"),
    ("LRN", {"size": 5, "beta": 0.01}, ""),
    ("LRN", {"size": 5, "beta": 0.005}, "has a beta"),
    ("LRN", {"size": 5, "bias": 0.0}, "has a bias"),
    ("TopK", {"constants": {1: I64([3])}, "outputs": 2}, ""),
    ("TopK", {"constants": {1: I64([3])}, "outputs": 2, "sorted": 0}, "sorts what it finds"),
    ("TopK", {"shapes": [(1, 5000)], "constants": {1: I64([3841])}, "outputs": 2}, "finds 3840 values at most"),
    ("TopK", {"shapes": [(1, 5000)], "constants": {1: I64([3840])}, "outputs": 2}, ""),
    ("Resize", {"constants": {2: np.float32([1, 1, 2, 2])}, "mode": "linear"}, ""),
    ("Resize", {"constants": {2: np.float32([1, 1, 2, 2])}, "mode": "cubic"}, "is nearest or linear only"),
    ("Resize", {"constants": {2: np.float32([1, 1, 0.5, 0.5])}, "mode": "linear", "antialias": 1}, "does not smooth"),
    (
        "Resize",
        {"constants": {3: I64([1, 2, 3, 3])}, "coordinate_transformation_mode": "half_pixel_symmetric"},
        "has no other coordinates",
    ),
    ("Resize", {"constants": {3: I64([3, 3])}, "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}, "stretches"),
    ("ReduceMean", {"constants": {1: I64([2])}}, ""),
    ("QuantizeLinear", {"constants": {1: np.float32(0.1), 2: np.int8(0)}}, ""),
    ("QuantizeLinear", {"constants": {1: np.float32(0.1), 2: np.int8(3)}}, "takes a zero point of 0 only"),
    ("QuantizeLinear", {"constants": {1: np.float32(0.1), 2: np.uint8(0)}}, "takes signed 8 bits"),
    ("Dropout", {}, ""),
    ("Dropout", {"constants": {1: np.float32(0.5), 2: np.array(True)}}, "takes no part in training"),
    ("LayerNormalization", {"shapes": [(2, 4), (4,)]}, ""),
    ("LayerNormalization", {"shapes": [(2, 4), (4,)], "outputs": 3}, "gives neither mean nor deviation"),
    ("MaxRoiPool", {"shapes": [PICTURE, (1, 5)], "pooled_shape": [2, 2]}, "is no operator that it has"),
    ("NonZero", {}, "gives as many rows as it finds"),
    ("Relu", {"dtype": DOUBLE}, "computes in 64-bit floats"),
    ("Mish", {"dtype": BF16, "opset": 22}, "takes no bfloat16"),
    ("Relu", {"dtype": BF16}, ""),
    ("MyPlugin", {"domain": "org.example"}, "needs a plugin"),
    ("Relu", {"opset": 8}, "opset 8 is not from 9 to 25"),
]


@pytest.mark.parametrize(("op", "settings", "said"), ROWS, ids=lambda value: str(value)[:60])
def test_a_row_for_tensorrt_hits_what_it_is_about(op, settings, said):
    messages = [finding.message for finding in found(model(op, **settings), "tensorrt")]
    assert [said in message for message in messages] == [True] * bool(said), messages


SEEN = [
    ("opencv", "LpPool", {"kernel_shape": [2, 2]}),
    ("opencv", "MeanVarianceNormalization", {}),
    ("opencv", "MatMul", {"shapes": [(3,), (3, 2)]}),
    (
        "opencv",
        "Resize",
        {"shapes": [(1, 2, 3, 3, 3)], "constants": {2: np.float32([1, 1, 2, 2, 2])}, "mode": "linear"},
    ),
    ("opencv", "NonMaxSuppression", {"shapes": [(1, 4, 4), (1, 1, 4)],
                                     "constants": {2: I64([4]), 3: np.float32([0.5]), 4: np.float32([-1])}}),
    ("openvino", "Det", {"shapes": [(2, 3, 3)]}),
    ("openvino", "Resize", {"constants": {3: I64([1, 2, 3, 3])},
                            "coordinate_transformation_mode": "half_pixel_symmetric", "mode": "linear"}),
    ("onnxruntime", "Relu", {"dtype": BF16}),
    ("onnxruntime", "LeakyRelu", {"dtype": DOUBLE}),
    ("onnxruntime", "Relu", {"opset": 27}),
]  # fmt: skip


def load(target: str, proto: onnx.ModelProto) -> None:
    """Loads the model and, in OpenCV, which finds out late, runs it."""
    # OpenCV wants types of outputs.
    text = onnx.shape_inference.infer_shapes(proto).SerializeToString()
    if target == "opencv":
        net = cv2.dnn.readNetFromONNX(np.frombuffer(text, np.uint8))
        for value in proto.graph.input:
            net.setInput(np.ones([dim.dim_value for dim in value.type.tensor_type.shape.dim], np.float32), value.name)
        net.forward(["o0"])
    elif target == "openvino":
        pytest.importorskip("openvino").Core().read_model(text, b"")
    else:
        onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("target", "op", "settings"), SEEN, ids=lambda value: str(value)[:40])
def test_what_is_said_of_a_runtime_here_is_so(target, op, settings, capfd):
    if target == "opencv" and not cv2.__version__.startswith("5."):
        pytest.skip(f"was seen in OpenCV 5, and this is {cv2.__version__}")
    proto = model(op, **settings)
    assert any(finding.refused for finding in found(proto, target))
    with pytest.raises(Exception):  # noqa: B017, PT011 - each has errors of its own
        load(target, proto)


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "openvino" or find_spec("openvino")])
def test_a_plain_node_is_nobodys_concern(target):
    proto = model("Relu")
    assert not found(proto, target)
    if target in ("opencv", "openvino", "onnxruntime"):
        load(target, proto)


def test_a_portable_file_is_looked_at_for_every_runtime():
    assert {finding.target for finding in found(model("DeformConv", [PICTURE] * 3), "portable")} == {
        "opencv",
        "openvino",
    }


def test_nodes_inside_a_loop_are_seen():
    x = helper.make_tensor_value_info("x", FLOAT, [3, 3])
    y = onnx.ValueInfoProto(name="y")
    inner = helper.make_graph([helper.make_node("Det", ["x"], ["d"], "inner")], "then", [], [
        onnx.ValueInfoProto(name="d")
    ])  # fmt: skip
    said = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=inner, else_branch=inner)
    proto = helper.make_model(helper.make_graph([node], "g", [x, said], [y]))
    proto.opset_import[0].version = 20
    assert {finding.node for finding in found(proto, "tensorrt")} == {"inner"}


def test_the_verdict_says_what_it_rests_on_and_claims_no_more():
    target = export.target("tensorrt")
    good, bad = found(model("Relu"), "tensorrt"), found(model("Det"), "tensorrt")
    basis = "NVIDIA's published table for 10.15 and the names of 11.4; no runtime has loaded the file"
    assert export.verdict(good, target) == f"tensorrt: not refused by {basis}"
    assert export.verdict(bad, target) == f"tensorrt: 1 node is refused by {basis}"


def test_a_finding_is_told_at_its_layers_line(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }
        layer { name: "it" type: "Pooling" bottom: "x" top: "y" pooling_param { kernel_size: 2 } }
    """)
    (finding,) = found(model("MaxPool", kernel_shape=[2, 2], outputs=2), "tensorrt")
    assert finding.told(graph).at.line == 3
    assert finding.told().at is None
    assert str(finding.told()).startswith('warning: "it": MaxPool gives no places of the largest values (NVIDIA')


@pytest.mark.parametrize("text", [b"", b"hello", b"\x08\x07"])
def test_what_is_no_onnx_file_is_refused(text, tmp_path):
    (tmp_path / "a.onnx").write_bytes(text)
    with pytest.raises(NktcError, match=r"a\.onnx is no ONNX "):
        export.read(tmp_path / "a.onnx")


def test_a_file_with_tensors_beside_it_is_read_without_them(tmp_path):
    proto = model("Add", constants={1: np.ones(2000, np.float32)}, shapes=[(1, 2000)])
    onnx.save(proto, tmp_path / "a.onnx", save_as_external_data=True, location="a.bin", size_threshold=0)
    (tmp_path / "a.bin").unlink()
    assert not export.lint(export.read(tmp_path / "a.onnx"), export.target("tensorrt"))


def test_a_file_is_read_for_what_it_holds_and_not_for_how_it_is_called(tmp_path):
    for name in ("net.json", "net.txtpb"):
        (tmp_path / name).write_bytes(model("Relu").SerializeToString())
        assert [node.op_type for node in export.read(tmp_path / name).graph] == ["Relu"]
    (tmp_path / "net.json").write_text('{"format": 1}')
    with pytest.raises(NktcError, match="is no ONNX file"):
        export.read(tmp_path / "net.json")


@pytest.mark.parametrize(("op", "hits"), [("MaxPool", 1), ("Relu", 0)])
def test_steps_are_a_matter_for_opencv_before_a_pooling_only(op, hits):
    window = {"kernel_shape": [2, 2]} if op == "MaxPool" else {}
    held = [onnx.numpy_helper.from_array(np.float32(0.1), "s"), onnx.numpy_helper.from_array(np.uint8(0), "z")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
        helper.make_node(op, ["d"], ["y"], "y", **window),
    ]
    ends = [helper.make_tensor_value_info(name, FLOAT, None) for name in "xy"]
    proto = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], held), ir_version=9)
    assert [one.node for one in found(proto, "opencv") if "pooling" in one.message] == ["d"] * hits
