"""Compute what nothing fed has a part in."""

from __future__ import annotations

import numpy as np
import torch

from nktc.ir import DType, Graph, Node, Phase, Value, infer, rewrite
from nktc.layers import DummyData, Parameter
from nktc.passes.definitions import free
from nktc.passes.deterministic import deterministic
from nktc.schema import LayerParameter


def fold_constants(graph: Graph) -> Graph:
    """y = a layer of Parameters and of DummyData that is constant, or one that hangs on shapes alone => y = Parameter,
    in a TEST graph, with all weights known."""
    if graph.phase is not Phase.TEST:
        return graph
    known: dict[str, np.ndarray] = {}
    folded: dict[str, Node] = {}
    for node in graph:
        if _constant(graph, node, known):
            known.update(zip((value.name for value in node.outputs), _run(graph, node, known), strict=True))
            if not isinstance(node.layer, Parameter):
                folded[node.name] = node
    if not folded:
        return graph
    graph = rewrite.pinned(graph)
    stays = {value.name for node in graph if node.name not in folded for value in node.inputs} | {*graph.wanted}
    for node in reversed(folded.values()):
        seen = [value for value in node.outputs if value.name in stays]
        made = [_parameter(graph, node, value, alone=len(seen) == 1) for value in seen]
        arrays = {one.name: {"value": known[one.outputs[0].name]} for one in made}
        graph = rewrite.exchange(graph, {node.name}, made, arrays)
    return rewrite.living(graph)


def _constant(graph: Graph, node: Node, known: dict[str, np.ndarray]) -> bool:
    layer = node.layer
    made_here = isinstance(layer, Parameter | DummyData) if not node.inputs else True
    return (
        made_here
        and not layer.source
        and bool(node.outputs)
        and not any(node.loss_weights)
        and deterministic(layer)
        and layer.open_axis is None
        and (layer.by_shape or all(value.name in known for value in node.inputs))
        and all(name in graph.arrays and name not in graph.grids for name in node.weights.values())
        and all(value.dtype is DType.F32 for value in (*node.inputs, *node.outputs))
    )


def _run(graph: Graph, node: Node, known: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a node, f32."""
    own = infer.weights(node.layer, [value.shape for value in node.inputs])
    given = [
        torch.from_numpy(known[value.name].copy()) if value.name in known else torch.zeros(()).expand(value.shape)
        for value in node.inputs
    ]
    weights = {
        local: torch.from_numpy(graph.arrays[name].astype(np.float32).reshape(own[local].shape))
        for local, name in node.weights.items()
    }
    with torch.no_grad():
        if node.layer.each:
            return [node.layer.forward(x, **weights).numpy() for x in given]
        made = node.layer.forward(*given, **weights)
    return [y.numpy() for y in (made if isinstance(made, tuple) else (made,))]


def _parameter(graph: Graph, node: Node, value: Value, alone: bool) -> Node:
    name = node.name if alone else free(graph, f"{node.name}_{value.name}")
    definition = LayerParameter(name=name, type="Parameter")
    definition.parameter_param.shape.SetInParent()
    definition.parameter_param.shape.dim.extend(value.shape)
    layer = Parameter(value.shape)
    return Node(name, layer, (), (value,), definition=definition, origins=node.works_for, locate=node.locate)
