"""An ONNX model made ready for rules: functions inlined, the batch fixed, shapes known, constants worked out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import inliner, numpy_helper
from onnx.reference import ReferenceEvaluator

from nktc.errors import NktcError, near
from nktc.ir import Shape, infer

SMALL = 1 << 12  # numbers of a constant that shapes may be computed from
MOST_FOLDED = 1 << 26  # numbers of a constant that is worked out
ROUNDS = 8  # of shapes and constants, each of which may tell more of the other
NEVER = ("Random", "Bernoulli", "Multinomial", "Dropout")  # beginnings of operators that are no constants


@dataclass(frozen=True)
class Call:
    """A node: `inputs` are names of values, "" for one left out."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int


@dataclass
class OnnxGraph:
    """What is left of a model: the calls that its outputs need, in order; `constants` has weights and all that can be
    worked out beforehand, `shapes` the shape of every value that has a known one."""

    name: str
    inputs: dict[str, Shape]
    outputs: tuple[str, ...]
    calls: list[Call]
    constants: dict[str, np.ndarray]
    shapes: dict[str, Shape]
    readers: dict[str, list[Call]] = field(default_factory=dict)


def prepare(model: onnx.ModelProto, shapes: Mapping[str, Shape], batch: int = 1) -> OnnxGraph:
    """The graph of a model whose inputs have a batch of `batch` where that is open, and the sizes in `shapes` where
    they are given: by the input's name, "" for the first, the batch in front or left out. Raises NktcError."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    if graph.sparse_initializer:
        raise NktcError("its sparse initializers are not read", help="store them as plain tensors")
    inputs = _inputs(graph, constants, shapes, batch)
    nodes = [*graph.node]
    for _ in range(ROUNDS):
        known = _infer(model, nodes, inputs, constants)
        left = [node for node in nodes if not _folded(node, opset, known, constants)]
        if len(left) == len(nodes):
            break
        nodes = left
    outputs = tuple(value.name for value in graph.output)
    nodes = _needed(nodes, outputs)
    calls = [_call(node, opset) for node in nodes]
    readers: dict[str, list[Call]] = {}
    for call in calls:
        for name in call.inputs:
            readers.setdefault(name, []).append(call)
    return OnnxGraph(graph.name or "net", inputs, outputs, calls, constants, known, readers)


def _inputs(
    graph: onnx.GraphProto, constants: Mapping[str, np.ndarray], shapes: Mapping[str, Shape], batch: int
) -> dict[str, Shape]:
    """The shapes of what is fed, all sizes known. Raises NktcError."""
    fed = [value for value in graph.input if value.name not in constants]
    for name in shapes:
        if name and name not in [value.name for value in fed]:
            help = near(name, [value.name for value in fed]) or f"it takes {', '.join(v.name for v in fed)}"
            raise NktcError(f'--input-shape names "{name}", which is no input of the model', help=help)
    found = {}
    for position, value in enumerate(fed):
        tensor = value.type.tensor_type
        if tensor.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
            kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
            raise NktcError(f'its input "{value.name}" holds {kind}, a blob of Caffe floats')
        dims = [dim.dim_value for dim in tensor.shape.dim]
        given = shapes.get(value.name, shapes.get("", ()) if position == 0 else ())
        if given and len(given) not in (len(dims), len(dims) - 1):
            raise NktcError(f'--input-shape gives "{value.name}" {len(given)} sizes, it has {len(dims)} axes')
        if given:
            dims = [*([dims[0]] if len(given) < len(dims) else []), *given]
        dims[:1] = [dims[0] or batch] if dims else []
        if not all(dim > 0 for dim in dims):
            told = "x".join(str(dim) if dim > 0 else "?" for dim in dims)
            help = f"give --input-shape {value.name}=CxHxW"
            raise NktcError(f'the size of its input "{value.name}" is open: {told}', help=help)
        if prod(dims) > infer.LARGEST:
            raise NktcError(f'its input "{value.name}" would have {prod(dims)} numbers, more than {infer.LARGEST}')
        found[value.name] = tuple(dims)
    if not found:
        raise NktcError("the model takes no inputs")
    return found


def _infer(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    constants: Mapping[str, np.ndarray],
) -> dict[str, Shape]:
    """The shapes that can be inferred. Weights take part by their shapes alone, which copies none."""
    small, large = [], []
    for name, array in constants.items():
        if array.size <= SMALL:
            small.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        else:
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            large.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    fed = [onnx.helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in inputs.items()]
    # Outputs without shapes: those that the file tells may be of another batch.
    outputs = [_untold(value) for value in model.graph.output]
    graph = onnx.helper.make_graph(nodes, model.graph.name or "net", [*fed, *large], outputs, small)
    skeleton = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))
    # What cannot be inferred stays unknown, and its rule says so.
    with suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        skeleton = onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
    found = {name: tuple(array.shape) for name, array in constants.items()} | dict(inputs)
    for value in (*skeleton.graph.value_info, *skeleton.graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.dim_value > 0 for dim in tensor.shape.dim):
            found[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return found


def _untold(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    bare = onnx.ValueInfoProto(name=value.name)
    bare.type.tensor_type.elem_type = value.type.tensor_type.elem_type
    return bare


def _folded(node: onnx.NodeProto, opset: int, shapes: Mapping[str, Shape], constants: dict[str, np.ndarray]) -> bool:
    """Whether a node is worked out now; `constants` has what it makes then."""
    if node.domain not in ("", "ai.onnx") or node.op_type.startswith(NEVER) or not all(node.output):
        return False
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
        held = shapes[node.input[0]]
        start, end = (_number(node, name) for name in ("start", "end"))
        told = prod(held) if node.op_type == "Size" else held[start:end]
        constants[node.output[0]] = np.asarray(told, np.int64)
        return True
    given = {name: constants[name] for name in node.input if name in constants}
    if any(name and name not in given for name in node.input) or any(a.type == a.GRAPH for a in node.attribute):
        return False
    # What nobody knows the size of may be of any.
    if node.op_type != "Constant" and not all(
        prod(shapes.get(n, (infer.LARGEST,))) <= MOST_FOLDED for n in node.output
    ):
        return False
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in given.items()
    ]
    graph = onnx.helper.make_graph([node], "constant", values, [onnx.ValueInfoProto(name=n) for n in node.output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        made = ReferenceEvaluator(model).run(None, given)
    except Exception:  # whatever is wrong with the node, its rule says it
        return False
    if not all(isinstance(one, np.ndarray | np.generic) for one in made):
        return False
    constants |= {name: np.asarray(one) for name, one in zip(node.output, made, strict=True)}
    return True


def _number(node: onnx.NodeProto, name: str) -> int | None:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), None)


def _needed(nodes: list[onnx.NodeProto], outputs: tuple[str, ...]) -> list[onnx.NodeProto]:
    """The nodes that the outputs are computed from."""
    needed, found = {*outputs}, []
    for node in reversed(nodes):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]


def _call(node: onnx.NodeProto, opset: int) -> Call:
    attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
    op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    name = node.name or next(filter(None, node.output), op)
    return Call(op, name, tuple(node.input), tuple(node.output), attributes, opset)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return _array(value) if isinstance(value, onnx.TensorProto) else value


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    """Raises NktcError for a tensor that is damaged."""
    try:
        # A copy that may be written to, which torch asks for.
        return np.array(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise NktcError(f'its tensor "{tensor.name}" cannot be read: {str(error).splitlines()[0]}') from None
