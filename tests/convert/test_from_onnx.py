"""ONNX to a graph, and on to Caffe's layers: each operator against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_models import answers, feeds, model, run

from nktc import convert
from nktc.convert.to_caffe import TYPES
from nktc.errors import NktcError

DRAW = np.random.default_rng(7)
X = {"x": [2, 4, 9, 7]}


def drawn(*shape: int) -> np.ndarray:
    return DRAW.standard_normal(shape).astype(np.float32)


def conv(kernel: int = 3, **attributes):
    return [("Conv", ["x", "w"], ["y"], attributes)], {"w": drawn(5, 4, kernel, kernel)}


def unary(op: str, *more: str, **attributes):
    return [(op, ["x", *more], ["y"], attributes)], {}


def pool(op: str, **attributes):
    return [(op, ["x"], ["y"], attributes)], {}


def with_constant(op: str, value, first: bool = False):
    return [(op, ["c", "x"] if first else ["x", "c"], ["y"], {})], {"c": np.asarray(value, np.float32)}


def resize(mode: str, sizes, **attributes):
    return [("Resize", ["x", "", "", "s"], ["y"], {"mode": mode, **attributes})], {"s": np.array(sizes, np.int64)}


POSITIVE = [("Abs", ["x"], ["a"], {}), ("Add", ["a", "half"], ["p"], {})]

CASES = {
    "padding before and behind differs": conv(pads=[0, 1, 2, 3], strides=[2, 2]),
    "padding as TensorFlow has it": conv(strides=[2, 2], auto_pad="SAME_UPPER"),
    "dilation": conv(dilations=[2, 2], pads=[2, 2, 2, 2]),
    "groups": ([("Conv", ["x", "w", "b"], ["y"], {"group": 2})], {"w": drawn(6, 2, 3, 1), "b": drawn(6)}),
    "a bias that is added": (
        [("Conv", ["x", "w"], ["c"], {}), ("Add", ["c", "b"], ["y"], {})],
        {"w": drawn(5, 4, 1, 1), "b": drawn(5, 1, 1)},
    ),
    "an enlarging convolution": (
        [
            (
                "ConvTranspose",
                ["x", "w"],
                ["y"],
                {"strides": [2, 3], "pads": [1, 0, 0, 2], "output_padding": [1, 1], "group": 2},
            )
        ],
        {"w": drawn(4, 3, 3, 4)},
    ),
    "a Pad that a convolution does": (
        [("Pad", ["x", "p"], ["q"], {}), ("Conv", ["q", "w"], ["y"], {})],
        {"p": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "w": drawn(3, 4, 3, 3)},
    ),
    "a Pad on its own": ([("Pad", ["x", "p"], ["y"], {})], {"p": np.array([0, 0, 1, 2, 0, 0, 0, 3])}),
    "MaxPool rounds down": pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "MaxPool rounds up": pool("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool as TensorFlow has it": pool("MaxPool", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    "AveragePool without its padding": pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool with its padding": pool(
        "AveragePool", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "GlobalAveragePool": pool("GlobalAveragePool"),
    "GlobalMaxPool": pool("GlobalMaxPool"),
    **{op: unary(op) for op in ("Relu", "Sigmoid", "Tanh", "Abs", "Exp", "Softplus", "HardSwish", "Neg", "Softsign")},
    "LeakyRelu": unary("LeakyRelu", alpha=0.2),
    "Elu": unary("Elu", alpha=0.7),
    "Selu": unary("Selu"),
    "HardSigmoid": unary("HardSigmoid"),
    "PRelu": ([("PRelu", ["x", "s"], ["y"], {})], {"s": drawn(4, 1, 1)}),
    "PRelu with one slope": ([("PRelu", ["x", "s"], ["y"], {})], {"s": drawn(1)}),
    "Clip": ([("Clip", ["x", "l", "h"], ["y"], {})], {"l": np.float32(-0.5), "h": np.float32(0.75)}),
    "Clip from 0": ([("Clip", ["x", "l"], ["y"], {})], {"l": np.float32(0)}),
    "Sqrt, Log, Reciprocal": (
        [
            *POSITIVE,
            ("Sqrt", ["p"], ["r"], {}),
            ("Log", ["r"], ["l"], {}),
            ("Reciprocal", ["p"], ["i"], {}),
            ("Mul", ["l", "i"], ["y"], {}),
        ],
        {"half": np.float32(0.5)},
    ),
    "Pow": with_constant("Pow", 3.0),
    "a number more": with_constant("Add", 2.5),
    "a number less": with_constant("Sub", 2.5),
    "less than a number": with_constant("Sub", 2.5, first=True),
    "times channels": with_constant("Mul", drawn(4, 1, 1)),
    "over channels": with_constant("Div", np.abs(drawn(4, 1, 1)) + 1),
    "plus pixels": with_constant("Add", drawn(9, 7)),
    "plus rows of channels": with_constant("Add", drawn(4, 9, 1)),
    "less than channels": with_constant("Sub", drawn(4, 1, 1), first=True),
    "the larger of a number": with_constant("Max", 0.25),
    "two blobs": ([("Relu", ["x"], ["r"], {}), ("Sub", ["x", "r"], ["y"], {})], {}),
    "the smaller of two": ([("Neg", ["x"], ["r"], {}), ("Min", ["x", "r"], ["y"], {})], {}),
    "a quotient": ([*POSITIVE, ("Div", ["x", "p"], ["y"], {})], {"half": np.float32(0.5)}),
    "the mean of three": (
        [("Relu", ["x"], ["r"], {}), ("Neg", ["x"], ["s"], {}), ("Mean", ["x", "r", "s"], ["y"], {})],
        {},
    ),
    "a factor for each channel of each item": (
        [("GlobalAveragePool", ["x"], ["g"], {}), ("Mul", ["g", "x"], ["y"], {})],
        {},
    ),
    "a map for all channels": (
        [("ReduceMean", ["x"], ["m"], {"axes": [1]}), ("Mul", ["x", "m"], ["y"], {})],
        {},
    ),
    "Concat and Split": (
        [
            ("Concat", ["x", "x"], ["c"], {"axis": 2}),
            ("Split", ["c", "s"], ["a", "b"], {"axis": 2}),
            ("Relu", ["a"], ["y"], {}),
        ],
        {"s": np.array([5, 13])},
    ),
    "a Slice of two axes": (
        [("Slice", ["x", "s", "e", "a"], ["y"], {})],
        {"s": np.array([1, -5]), "e": np.array([3, 1 << 40]), "a": np.array([1, 3])},
    ),
    "one place gathered": ([("Gather", ["x", "i"], ["y"], {"axis": 2})], {"i": np.array(3)}),
    "Flatten and Gemm": (
        [("Flatten", ["x"], ["f"], {}), ("Gemm", ["f", "w", "b"], ["y"], {"transB": 1, "alpha": 0.5})],
        {"w": drawn(6, 252), "b": drawn(6)},
    ),
    "MatMul and a bias": (
        [("MatMul", ["x", "w"], ["m"], {}), ("Add", ["m", "b"], ["y"], {})],
        {"w": drawn(7, 3), "b": drawn(3)},
    ),
    "a shape that is computed": (
        [
            ("Shape", ["x"], ["s"], {}),
            ("Gather", ["s", "zero"], ["n"], {}),
            ("Concat", ["n", "rest"], ["t"], {"axis": 0}),
            ("Reshape", ["x", "t"], ["y"], {}),
        ],
        {"zero": np.array([0]), "rest": np.array([-1, 7])},
    ),
    "Squeeze and Unsqueeze": (
        [
            ("ReduceMean", ["x"], ["m"], {"axes": [2, 3]}),
            ("Squeeze", ["m", "a"], ["s"], {}),
            ("Unsqueeze", ["s", "b"], ["y"], {}),
        ],
        {"a": np.array([2, 3]), "b": np.array([1])},
    ),
    "a channel shuffle": (
        [
            ("Reshape", ["x", "p"], ["r"], {}),
            ("Transpose", ["r"], ["t"], {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", ["t", "q"], ["y"], {}),
        ],
        {"p": np.array([2, 2, 2, 9, 7]), "q": np.array([2, 4, 9, 7])},
    ),
    "pixels from channels": ([("DepthToSpace", ["x"], ["y"], {"blocksize": 2, "mode": "CRD"})], {}),
    "nearest pixels": resize(
        "nearest", [2, 4, 27, 14], coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "bilinear pixels": resize("linear", [2, 4, 18, 21]),
    "bilinear corners": resize("linear", [2, 4, 17, 13], coordinate_transformation_mode="align_corners"),
    "bilinear by no whole factor": resize("linear", [2, 4, 12, 5]),
    "BatchNormalization": (
        [("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], {"epsilon": 1e-3})],
        {"s": drawn(4), "b": drawn(4), "m": drawn(4), "v": np.abs(drawn(4)) + 0.1},
    ),
    "LRN": unary("LRN", size=3, alpha=0.1, beta=0.75, bias=2.0),
    "Softmax": unary("Softmax", axis=1),
    "LogSoftmax": unary("LogSoftmax", axis=-1),
    "ReduceSum of the last axes": ([("ReduceSum", ["x", "a"], ["y"], {})], {"a": np.array([2, 3])}),
    "ReduceMax of pictures": unary("ReduceMax", axes=[2, 3], keepdims=0),
    "ArgMax": ([("ArgMax", ["x"], ["a"], {"axis": 1, "keepdims": 0}), ("Cast", ["a"], ["y"], {"to": 1})], {}),
    "Dropout, Identity": ([("Dropout", ["x"], ["d"], {}), ("Identity", ["d"], ["y"], {})], {}),
    "a constant in a Concat": (
        [("Concat", ["x", "c"], ["y"], {"axis": 1})],
        {"c": drawn(2, 1, 9, 7)},
    ),
    "Tile and Expand": (
        [("GlobalMaxPool", ["x"], ["g"], {}), ("Expand", ["g", "s"], ["e"], {}), ("Tile", ["e", "r"], ["y"], {})],
        {"s": np.array([2, 4, 3, 2]), "r": np.array([1, 2, 1, 1])},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_does_in_nktc_and_in_caffes_layers_what_it_does_in_onnx_runtime(name):
    nodes, constants = CASES[name]
    made = model(nodes, X, ["y"], constants)
    graph = convert.from_onnx(made)
    given = feeds(graph)
    expected = run(made, given)["y"].astype(np.float32)
    largest = np.abs(expected).max()
    for dialect in ("", "bvlc", "ssd"):
        written = convert.to_caffe(graph, dialect) if dialect else graph
        assert not dialect or {node.type for node in written} <= TYPES[dialect]
        found = answers(written, given)["y"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * largest, err_msg=dialect)


def test_names_are_torchs_where_weights_say_so_and_biases_move_into_layers(golden):
    made = model(
        [
            ("Conv", ["x", "features.0.weight"], ["c"], {}),
            ("Add", ["c", "features.0.bias"], ["d"], {}),
            ("Relu", ["d"], ["y"], {}),
        ],
        X,
        ["y"],
        {"features.0.weight": drawn(5, 4, 3, 3), "features.0.bias": drawn(5, 1, 1)},
    )
    golden(
        convert.from_onnx(made),
        """
        net small TEST
          x f32[2 4 9 7] = Input
          d f32[2 5 7 5] = Convolution(outputs=5 kernel=3) <- x  # features.0
          y f32[2 5 7 5] = ReLU <- d  # relu_2
        """,
    )


def test_an_open_batch_is_the_one_that_is_asked_for_and_the_net_takes_any():
    nodes, constants = CASES["Flatten and Gemm"]
    made = model(nodes, {"x": ["N", 4, 9, 7]}, ["y"], constants)
    graph = convert.from_onnx(made, batch=3)
    assert graph.inputs[0].shape == (3, 4, 9, 7)
    x = {"x": DRAW.standard_normal((5, 4, 9, 7)).astype(np.float32)}
    np.testing.assert_allclose(answers(graph, x)["y"], run(made, x)["y"], rtol=1e-4, atol=1e-4)


def test_open_sizes_are_asked_for():
    made = model([("Relu", ["x"], ["y"], {})], {"x": ["N", 3, "H", "W"]}, ["y"])
    with pytest.raises(NktcError, match=r'the size of its input "x" is open: 1x3x\?x\?') as raised:
        convert.from_onnx(made)
    assert raised.value.help == "give --input-shape x=CxHxW"
    assert convert.from_onnx(made, {"x": (3, 8, 6)}).outputs[0].shape == (1, 3, 8, 6)


REFUSED = {
    "no layer does what this operator does": [("Einsum", ["x"], ["y"], {"equation": "ijkl->il"})],
    "it gives 9x7 of 9x7, Caffe's Pooling 8x6": [
        ("AveragePool", ["x"], ["y"], {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]})
    ],
    "its weight is computed, a layer of Caffe holds it": [("Conv", ["x", "x"], ["y"], {})],
    "dilations [2, 2] are nothing that Caffe's Pooling has": [
        ("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 2], "dilations": [2, 2]})
    ],
    "it takes steps of 2, Caffe's Slice takes whole stretches": [("Slice", ["x", "s", "e", "a", "t"], ["y"], {})],
    "mode reflect is nothing that a layer of Caffe does": [("Pad", ["x", "p"], ["y"], {"mode": "reflect"})],
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_no_layer_does_is_refused_by_node_and_operator(reason):
    constants = {"s": np.array([0]), "e": np.array([9]), "a": np.array([2]), "t": np.array([2])}
    constants["p"] = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    nodes = REFUSED[reason]
    with pytest.raises(NktcError) as raised:
        convert.from_onnx(model(nodes, X, ["y"], constants))
    assert reason in str(raised.value)
    assert f'{nodes[0][0]} "{nodes[0][0].lower()}_0"' in str(raised.value)


def test_what_moves_axes_is_for_ssds_dialect():
    graph = convert.from_onnx(model([("Transpose", ["x"], ["y"], {"perm": [0, 2, 3, 1]})], X, ["y"]))
    assert [node.type for node in convert.to_caffe(graph, "ssd")] == ["Input", "Permute"]
    with pytest.raises(NktcError, match='Permute "transpose_0": BVLC Caffe has no layer that moves axes'):
        convert.to_caffe(graph)


def test_a_model_of_whole_numbers_is_refused():
    made = model([("Cast", ["x"], ["y"], {"to": 1})], X, ["y"])
    made.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    with pytest.raises(NktcError, match='its input "x" holds int64, a blob of Caffe floats'):
        convert.from_onnx(made)


@pytest.mark.parametrize("missing", ["kernel_shape", "axis"])
def test_a_node_without_what_onnx_asks_for_is_no_traceback(missing):
    op = {"kernel_shape": "MaxPool", "axis": "Concat"}[missing]
    made = model([(op, ["x", "x"][: 1 + (op == "Concat")], ["y"], {})], X, ["y"])
    with pytest.raises(NktcError):
        convert.from_onnx(made)


def test_constants_that_would_fill_the_memory_are_not_made():
    made = model(
        [("ConstantOfShape", ["s"], ["c"], {}), ("ReduceMean", ["c"], ["m"], {}), ("Add", ["x", "m"], ["y"], {})],
        X,
        ["y"],
        {"s": np.array([1 << 20, 1 << 20])},
    )
    with pytest.raises(NktcError, match="ConstantOfShape"):
        convert.from_onnx(made)


def test_a_damaged_model_is_an_error_in_words(tmp_path):
    nodes, constants = CASES["AveragePool without its padding"]
    whole = model([*nodes, ("Conv", ["y", "w"], ["z"], {})], X, ["z"], {"w": drawn(2, 4, 2, 2), **constants})
    data = whole.SerializeToString()
    draw = np.random.default_rng(0)
    read = 0
    for _ in range(150):
        wrong = bytearray(data)
        for place in draw.integers(0, len(data), draw.integers(1, 6)):
            wrong[place] = draw.integers(256)
        (tmp_path / "wrong.onnx").write_bytes(wrong[: draw.integers(len(wrong) // 2, len(wrong) + 1)])
        try:
            convert.from_onnx(tmp_path / "wrong.onnx")
            read += 1
        except NktcError:
            pass
    assert read < 150
