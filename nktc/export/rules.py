"""What runtimes are known to refuse, operator by operator: one row a rule, with where it was read or seen."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

Predicate = Callable[[ir.Node], bool]

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class Rule:
    """A node that one of `ops` (all where it is empty) names and that `applies` to meets `problem`.

    `refuses`: the runtime does not take it at all; else it is worth knowing only.
    """

    ops: Collection[str]
    problem: str
    source: str
    applies: Predicate = lambda node: True
    refuses: bool = True

    def hits(self, node: ir.Node) -> bool:
        return (not self.ops or node.op_type in self.ops) and self.applies(node)

    def message(self, node: ir.Node) -> str:
        """MaxPool gives no places of the largest values there"""
        return f"{node.op_type} {self.problem}"


# What a node is asked.


def _attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    found = node.attributes.get(name)
    return default if found is None else found.value


def _is(name: str, *values: Any) -> Predicate:
    """An attribute that is there has one of these values."""
    return lambda node: _attribute(node, name) in values


def _beyond(name: str, default: Any, *values: Any) -> Predicate:
    """An attribute has none of these values."""
    return lambda node: _attribute(node, name, default) not in values


def _given(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if place < len(node.inputs) else None


def _numbers(node: ir.Node, place: int) -> Any:
    """The array of a constant input, None where there is none."""
    value = _given(node, place)
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _fixed(value: ir.Value | None) -> bool:
    """Whether a value is a constant, or computed from such alone."""
    if value is None or ir.convenience.get_const_tensor(value) is not None:
        return True
    maker = value.producer()
    return maker is not None and bool(maker.inputs) and all(map(_fixed, maker.inputs))


def _computed(place: int) -> Predicate:
    """An input is there and is computed from what is fed."""
    return lambda node: not _fixed(_given(node, place))


def _used(place: int) -> Predicate:
    """An output is there and has a name."""
    return lambda node: len(node.outputs) > place and bool(node.outputs[place].name)


def _typed(*types: ir.DataType, outputs: bool = False) -> Predicate:
    """The first input, or an output, is known to have one of these types."""

    def applies(node: ir.Node) -> bool:
        values = node.outputs if outputs else node.inputs[:1]
        return any(value is not None and value.dtype in types for value in values)

    return applies


def _axes(node: ir.Node) -> int:
    """How many axes the first input is known to have behind batch and channels; 2 where that is not known."""
    window = _attribute(node, "kernel_shape")
    if window:
        return len(window)
    x = _given(node, 0)
    return 2 if x is None or x.shape is None else len(x.shape) - 2


def _either(*predicates: Predicate) -> Predicate:
    return lambda node: any(predicate(node) for predicate in predicates)


def _both(*predicates: Predicate) -> Predicate:
    return lambda node: all(predicate(node) for predicate in predicates)


def _dilated(node: ir.Node) -> bool:
    return any(n != 1 for n in _attribute(node, "dilations", ()))


def _off_zero(node: ir.Node) -> bool:
    zero = _numbers(node, 2)
    return zero is not None and bool(zero.any())


def _in_other_steps(node: ir.Node) -> bool:
    """Steps, or their zero point, of a type that is known not to be one of TensorRT's."""
    zero, x = _given(node, 2), _given(node, 0) if node.op_type == "DequantizeLinear" else None
    types = (ir.DataType.UINT8, ir.DataType.INT32, ir.DataType.INT16, ir.DataType.UINT16)
    return any(value is not None and value.dtype in types for value in (zero, x))


def _before_pooling(node: ir.Node) -> bool:
    return any(use.node.op_type.endswith("Pool") for y in node.outputs for use in y.uses())


def _two_ways(node: ir.Node) -> bool:
    """Both directions, with other functions one way than the other."""
    functions = _attribute(node, "activations", ())
    half = len(functions) // 2
    return _attribute(node, "direction") == "bidirectional" and [*functions[:half]] != [*functions[half:]]


def _training(node: ir.Node) -> bool:
    said = _numbers(node, 2)
    return _computed(2)(node) or (said is not None and bool(said.any()))


def _negative(node: ir.Node) -> bool:
    """A NonMaxSuppression with a limit of scores below 0."""
    limit = _numbers(node, 4)
    return limit is not None and bool((limit < 0).any())


def _largest(node: ir.Node) -> bool:
    count = _numbers(node, 1)
    return count is not None and int(count.max()) > 3840


def _uneven(node: ir.Node) -> bool:
    pads = [*_attribute(node, "pads", ())]
    half = len(pads) // 2
    return pads[:half] != pads[half:]


# TensorRT. Nobody here has run it: what NVIDIA says of its parser, and what its bindings say of themselves.

_TABLE = "NVIDIA's table for 10.15"
_NAMES = "the bindings of TensorRT 11.4"
_POOLS = ("AveragePool", "LpPool", "MaxPool")
_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
_TENSORRT_TAKES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BlackmanWindow
Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv
DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If ImageScaler
InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop
LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression
NonZero Not OneHot Or PRelu Pad ParametricSoftplus Pow QuantizeLinear RMSNormalization RNN RandomNormal
RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign
RotaryEmbedding Round STFT ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh
Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh TensorScatter ThresholdedRelu
Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
_NO_BF16 = (
    *("BlackmanWindow", "DeformConv", "GridSample", "HammingWindow", "HannWindow", "Mish", "NonMaxSuppression"),
    *("NonZero", "RoiAlign", "STFT"),
)
_RESIZED = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
_ROUNDED = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


_MAKE_BYTES = ("Cast", "Constant", "QuantizeLinear")


def _foreign(node: ir.Node) -> bool:
    return node.domain not in ("", "ai.onnx")


def _unknown(node: ir.Node) -> bool:
    return not _foreign(node) and node.op_type not in _TENSORRT_TAKES.split()


_TENSORRT = (
    Rule((), "is no operator that it has", _TABLE, _unknown),
    Rule((), "is no operator of ONNX and needs a plugin", _TABLE, _foreign, refuses=False),
    Rule((), "computes in 64-bit floats, which become 32-bit ones", _TABLE, _typed(ir.DataType.DOUBLE), refuses=False),
    Rule((), "makes unsigned 8-bit numbers, which only inputs and outputs of the model may be", _TABLE,
         _both(_typed(ir.DataType.UINT8, outputs=True), lambda n: n.op_type not in _MAKE_BYTES)),
    Rule(_NO_BF16, "takes no bfloat16", _TABLE, _typed(ir.DataType.BFLOAT16)),
    Rule(("STFT",), "takes 32-bit floats only", _TABLE, _typed(*_HALVES)),
    Rule(("Attention",), "takes queries, keys and values of 4 axes only", _TABLE, lambda n: 0 <= _axes(n) < 2),
    Rule(("Attention",), "takes no keys and values of the past", _TABLE,
         lambda n: any(_given(n, place) is not None for place in (4, 5, 6))),
    Rule(("Attention",), "gives nothing beside its result", _TABLE, _either(_used(1), _used(2), _used(3))),
    Rule(("Attention",), "has no softcap", _TABLE, _beyond("softcap", 0.0, 0.0)),
    Rule(_POOLS, "slides over 2 or 3 axes only", _TABLE, lambda n: _axes(n) not in (2, 3)),
    Rule(_POOLS, "takes no dilations", _TABLE, _dilated),
    Rule(_POOLS, "with ceil_mode rounds up there without dropping a last window in the padding: sizes may differ",
         "NvInfer.h, EXPLICIT_ROUND_UP", _is("ceil_mode", 1), refuses=False),
    Rule(("MaxPool",), "gives no places of the largest values", _TABLE, _used(1)),
    Rule(("Constant",), "is a sparse tensor or a text", _TABLE,
         lambda n: any(name in n.attributes for name in ("sparse_value", "value_string", "value_strings"))),
    Rule(("CumSum",), "runs along a constant axis only", _TABLE, _computed(1)),
    Rule(("DeformConv",), "pads both ends of an axis alike only", _TABLE, _uneven),
    Rule(("DeformConv",), "slides over 1 or 2 axes only", _TABLE, lambda n: _axes(n) > 2),
    Rule(("QuantizeLinear", "DequantizeLinear"), "takes a zero point of 0 only", _TABLE, _off_zero),
    Rule(("QuantizeLinear", "DequantizeLinear"), "takes a constant zero point only", _TABLE, _computed(2)),
    Rule(("QuantizeLinear", "DequantizeLinear"), "takes a constant scale only", "NVIDIA's guide to quantized types",
         _computed(1)),
    Rule(("QuantizeLinear", "DequantizeLinear"), "takes signed 8 bits, not unsigned ones nor 16 or 32", _TABLE,
         _in_other_steps),
    Rule(("Dropout",), "takes no part in training", _TABLE, _training),
    Rule(("EyeLike",), "takes a fixed size only", _TABLE,
         lambda n: n.inputs[0] is not None and n.inputs[0].shape is not None and n.inputs[0].shape.has_unknown_dim()),
    Rule(("GridSample",), "takes pictures of 2 axes only", _TABLE, lambda n: _axes(n) != 2),
    Rule(("GRU", "LSTM", "RNN"), "has the same functions both ways only", _TABLE, _two_ways),
    Rule(("LSTM",), "has no input_forget", _TABLE, _beyond("input_forget", 0, 0)),
    Rule(("LSTM",), "has layout 0 only", _TABLE, _beyond("layout", 0, 0)),
    Rule(("LayerNormalization",), "gives neither mean nor deviation", _TABLE, _either(_used(1), _used(2))),
    Rule(("LRN",), "has an odd size up to 15 only", f"ILRNLayer in {_NAMES}",
         lambda n: _attribute(n, "size", 1) > 15 or _attribute(n, "size", 1) % 2 == 0),
    Rule(("LRN",), "has a beta from 0.01 to 1e5 only", f"ILRNLayer in {_NAMES}",
         lambda n: not 0.01 <= _attribute(n, "beta", 0.75) * (1 + 1e-6) <= 1e5),
    Rule(("LRN",), "has a bias from 1e-5 to 1e10 only", f"ILRNLayer in {_NAMES}",
         lambda n: not 1e-5 <= _attribute(n, "bias", 1.0) * (1 + 1e-6) <= 1e10),
    Rule(("LRN",), "squares its input, which overflows in 16 bits from 256 on", "reports of users (NVIDIA/caffe 135)",
         _typed(ir.DataType.FLOAT16), refuses=False),
    Rule(("Loop", "Scan"), "gives as many items as it takes turns, and that number is to be fixed", _TABLE,
         refuses=False),
    Rule(("NonMaxSuppression", "NonZero"), "gives as many rows as it finds: an output of open size",
         "NVIDIA's guide to dynamic shapes", refuses=False),
    Rule(("NonMaxSuppression",), "keeps 5000 boxes at most", f"INMSLayer in {_NAMES}", refuses=False),
    Rule(("OneHot",), "takes a constant depth only", _TABLE, _computed(1)),
    Rule(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), "does not follow its seed", _TABLE,
         lambda n: "seed" in n.attributes, refuses=False),
    Rule(_REDUCTIONS, "runs along constant axes only", _TABLE, _computed(1)),
    Rule(("Resize",), "is nearest or linear only", _TABLE, _beyond("mode", "nearest", "nearest", "linear")),
    Rule(("Resize",), f"has no other coordinates than {', '.join(_RESIZED)}", _TABLE,
         _beyond("coordinate_transformation_mode", "half_pixel", *_RESIZED)),
    Rule(("Resize",), f"rounds by {', '.join(_ROUNDED)} only", _TABLE,
         _beyond("nearest_mode", "round_prefer_floor", *_ROUNDED)),
    Rule(("Resize",), "stretches only", _TABLE, _beyond("keep_aspect_ratio_policy", "stretch", "stretch")),
    Rule(("Resize",), "does not smooth", _TABLE, _is("antialias", 1)),
    Rule(("ScatterND",), "replaces only, with no reduction", _TABLE, _beyond("reduction", "none", "none")),
    Rule(("Squeeze", "Unsqueeze"), "takes constant axes only", _TABLE, _computed(1)),
    Rule(("STFT",), "takes a constant step and window only", _TABLE, _either(_computed(1), _computed(2))),
    Rule(("TensorScatter",), "runs along axis -2 only", _TABLE, _beyond("axis", -2, -2)),
    Rule(("TopK",), "sorts what it finds", _TABLE, _is("sorted", 0)),
    Rule(("TopK",), "finds 3840 values at most", f"ITopKLayer in {_NAMES}", _largest),
)  # fmt: skip

# OpenCV and OpenVINO: seen with the node tests of ONNX 1.23 and with our layers' forms.

_CV = "seen in OpenCV 5.0.0"
_CV_LACKS = (
    *("Adagrad", "Adam", "Bernoulli", "BitCast", "Col2Im", "Compress", "ConvInteger", "CumProd", "DeformConv"),
    *("DynamicQuantizeLinear", "ImageDecoder", "LpPool", "MatMulInteger", "MaxRoiPool", "MeanVarianceNormalization"),
    *("MelWeightMatrix", "Momentum", "OptionalGetElement", "OptionalHasElement", "RNN", "RegexFullMatch"),
    *("ReverseSequence", "STFT", "Scan", "StringConcat", "StringNormalizer", "StringSplit", "TensorScatter"),
    "TfIdfVectorizer",
)
_OPENCV = (
    Rule(_CV_LACKS, "is not loaded", _CV),
    Rule((), "computes in bfloat16, which its layers do not", _CV, _typed(ir.DataType.BFLOAT16, outputs=True)),
    Rule(("MaxPool",), "takes no 8-bit numbers", _CV, _typed(ir.DataType.UINT8, ir.DataType.INT8)),
    Rule(("MaxPool", "AveragePool"), "with ceil_mode keeps a last window in the padding: sizes may differ", _CV,
         _is("ceil_mode", 1), refuses=False),
    Rule(("MaxPool", "AveragePool"), "with auto_pad SAME_LOWER gives other numbers", _CV,
         _is("auto_pad", "SAME_LOWER")),
    Rule(("BatchNormalization",), "takes no part in training", _CV, _is("training_mode", 1)),
    Rule(("Dropout",), "takes no part in training", _CV, _training),
    Rule(("GridSample",), "gives other numbers when it is cubic", _CV, _is("mode", "cubic", "bicubic")),
    Rule(("GRU", "LSTM"), "gives other numbers in reverse", _CV, _is("direction", "reverse")),
    Rule(("MatMul",), "takes no vectors", _CV,
         lambda n: any(v is not None and v.shape is not None and len(v.shape) == 1 for v in n.inputs)),
    Rule(("NonMaxSuppression",), "takes no limit of scores below 0", _CV, _negative),
    Rule(("MaxUnpool",), "takes no size of the output", _CV, lambda n: _given(n, 2) is not None),
    Rule(("PRelu",), "takes a constant slope only", _CV, _computed(1)),
    Rule(("DequantizeLinear",), "before a pooling was seen to fail", _CV, _before_pooling, refuses=False),
    Rule(("Resize",), "brings 2 axes to another size, not 1 or 3", _CV,
         lambda n: _axes(n) in (1, 3) and _attribute(n, "mode", "nearest") != "nearest"),
    Rule(("Resize",), "does not smooth", _CV, _is("antialias", 1)),
    Rule(("Resize",), "stretches only", _CV, _beyond("keep_aspect_ratio_policy", "stretch", "stretch")),
    Rule(("Resize",), "gives other numbers with half_pixel_symmetric", _CV,
         _is("coordinate_transformation_mode", "half_pixel_symmetric")),
    Rule(("Attention",), "takes no keys and values of the past", _CV,
         lambda n: any(_given(n, place) is not None for place in (4, 5))),
    Rule(("SequenceInsert", "SequenceMap", "SplitToSequence", "Loop"), "is loaded in simple cases only", _CV,
         refuses=False),
)  # fmt: skip

_OV = "seen in OpenVINO 2026.4"
_OPENVINO = (
    Rule(
        ("Adagrad", "Adam", "Bernoulli", "BitCast", "CumProd", "DeformConv", "Det", "ImageDecoder", "MaxUnpool",
         "MelWeightMatrix", "Momentum", "OptionalGetElement", "OptionalHasElement", "RegexFullMatch"),
        "is not loaded", _OV,
    ),
    Rule(("MaxPool",), "with ceil_mode keeps a last window in the padding: sizes may differ", _OV, _is("ceil_mode", 1),
         refuses=False),
    Rule(("Celu",), "takes 32-bit floats only", _OV, _typed(*_HALVES)),
    Rule(("Dropout",), "takes no part in training", _OV, _training),
    Rule(("GridSample",), "takes pictures of 2 axes only", _OV, lambda n: _axes(n) != 2),
    Rule(("LSTM",), "gives other numbers with peepholes", _OV, lambda n: _given(n, 7) is not None),
    Rule(("LSTM",), "gives other numbers with layout 1", _OV, _beyond("layout", 0, 0)),
    Rule(("Mod",), "of floats follows the dividend only (fmod 1)", _OV,
         _both(_beyond("fmod", 0, 1), _typed(ir.DataType.FLOAT, ir.DataType.DOUBLE, *_HALVES))),
    Rule(("Pad",), "does not wrap", _OV, _is("mode", "wrap")),
    Rule(("QuantizeLinear",), "to signed 8 bits gave other numbers on a CPU: sums of products saturate", _OV,
         _typed(ir.DataType.INT8, outputs=True), refuses=False),
    Rule(("Resize",), "has neither tf_crop_and_resize nor half_pixel_symmetric", _OV,
         _is("coordinate_transformation_mode", "tf_crop_and_resize", "half_pixel_symmetric")),
    Rule(("Resize",), "does not smooth", _OV, _is("antialias", 1)),
    Rule(("Resize",), "stretches only", _OV, _beyond("keep_aspect_ratio_policy", "stretch", "stretch")),
    Rule(("Resize",), "counts what is outside of a picture", _OV, _is("exclude_outside", 1)),
    Rule(("RoiAlign",), "gives other numbers for the mode max", _OV, _is("mode", "max")),
    Rule(("NonMaxSuppression", "NonZero"), "gives as many rows as it finds: an output of open size", _OV,
         refuses=False),
)  # fmt: skip

# ONNX Runtime: what its CPU provider has no kernel for.

_ORT = "seen in ONNX Runtime 1.31 on the CPU"
_ORT_NO_BF16 = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LRN"),
    *("PRelu", "BatchNormalization", "InstanceNormalization", "Pow", "Max", "Relu", "LeakyRelu", "Elu", "Sigmoid"),
    *("Tanh", "Softplus", "HardSwish", "Exp", "Log", "Sqrt", "Abs", "Erf", "Softmax", "Add", "Mul", "Div", "Sub"),
    *("Greater", "ReduceMean", "ReduceSum", "ReduceMax"),
)
_ORT_NO_F64 = (
    *("Conv", "ConvTranspose", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LRN", "PRelu"),
    *("InstanceNormalization", "LeakyRelu", "Elu", "Softplus", "HardSwish", "Erf"),
)
_ONNXRUNTIME = (
    Rule(
        ("Adagrad", "Adam", "Bernoulli", "CausalConvWithState", "ImageDecoder", "LinearAttention", "Momentum"),
        "has no kernel", _ORT,
    ),
    Rule(_ORT_NO_BF16, "has no kernel for bfloat16", _ORT, _typed(ir.DataType.BFLOAT16)),
    Rule(_ORT_NO_F64, "has no kernel for 64-bit floats", _ORT, _typed(ir.DataType.DOUBLE)),
    Rule(("RoiAlign",), "has no kernel from opset 22 on", _ORT, lambda n: (n.version or 0) >= 22),
    Rule(("GRU", "LSTM", "RNN"), "has layout 0 only", _ORT, _beyond("layout", 0, 0)),
    Rule(("Attention",), "takes no number of keys that are no padding", _ORT, lambda n: _given(n, 6) is not None),
    Rule(("LRN",), "is slow: as a convolution the whole of GoogLeNet takes 0.7 of the time", _ORT, refuses=False),
    Rule((), "is no operator of ONNX and needs a library of its own", "ONNX Runtime's registry",
         lambda n: _foreign(n) and n.domain not in ("ai.onnx.ml", "com.microsoft")),
)  # fmt: skip

RULES = {"onnxruntime": _ONNXRUNTIME, "openvino": _OPENVINO, "opencv": _OPENCV, "tensorrt": _TENSORRT}
"""The rows of each target, by its name."""

VERSIONS = {
    "onnxruntime": (7, 26, _ORT),
    "openvino": (1, 28, _OV),
    "opencv": (1, 28, _CV),
    "tensorrt": (9, 25, "NVIDIA's guide to opsets for TensorRT 11"),
}
"""The least and the most opset of each, and where that was read or seen."""

BASIS = {
    "onnxruntime": "the list of what ONNX Runtime 1.31 lacks on the CPU",
    "openvino": "the list of what OpenVINO 2026.4 was seen to refuse",
    "opencv": "the list of what OpenCV 5.0.0 was seen to refuse",
    "tensorrt": "NVIDIA's published table for 10.15 and the names of 11.4",
}
"""What a lint for each rests on."""
