"""Small ONNX models, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from nktc.ir import Graph
from nktc.module import compile

Node = tuple[str, Sequence[str], Sequence[str], dict[str, Any]]


def model(
    nodes: Sequence[Node],
    inputs: dict[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: dict[str, Any] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model of nodes (operator, inputs, outputs, attributes)."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, i, o, name=f"{op.lower()}_{n}", **a) for n, (op, i, o, a) in enumerate(nodes)],
        "small",
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def run(made: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime makes of it."""
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, feeds), strict=True))


def feeds(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal inputs."""
    draw = np.random.default_rng(seed)
    return {value.name: draw.standard_normal(value.shape).astype(np.float32) for value in graph.inputs}


def answers(graph: Graph, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a graph gives in torch."""
    with torch.inference_mode():
        found = compile(graph).eval()(*(torch.from_numpy(given[value.name]) for value in graph.inputs))
    return {value.name: found[value.name].numpy() for value in graph.outputs}
