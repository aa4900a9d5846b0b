"""Put factors and shifts together."""

from __future__ import annotations

import math

import numpy as np

from nktc.ir import Graph, Layer, Node, Phase, Shape, rewrite
from nktc.layers import BN, BatchNorm, Bias, Power, Scale
from nktc.passes.affine import MATRIX, Affine, affine, fold_before, fold_behind
from nktc.passes.definitions import joined
from nktc.schema import LayerParameter

KINDS = (BatchNorm, BN, Bias, Power, Scale)


def fold_power(graph: Graph) -> Graph:
    """y = Power(Convolution(x)), Convolution(Power(x)) => Convolution(x); y = a Power, Scale, Bias, BN or BatchNorm
    of another => one Scale(x), or one Power(x) of two; in a TEST graph, with all weights known."""
    if graph.phase is not Phase.TEST:
        return graph
    for name in [node.name for node in graph if isinstance(node.layer, MATRIX)]:
        for fold in (fold_behind, fold_before):
            while (folded := fold(graph, graph.node(name), (Power,))) is not None:
                graph = folded
    for node in graph:
        if isinstance(node.layer, KINDS) and (both := _together(graph, node.name)):
            graph = both
    return graph


def _together(graph: Graph, name: str) -> Graph | None:
    """The graph in which the affine layer of that name and the affine ones that follow it are one."""
    found = None
    while any(node.name == name for node in graph):
        first = graph.node(name)
        second = graph.only_reader(first.outputs[0].name) if len(first.outputs) == 1 else None
        if second is None or not isinstance(second.layer, KINDS) or second.inputs[0] != first.outputs[0]:
            break
        made = _one(graph, first, second)
        if made is None:
            break
        node, arrays = made
        extra = len(first.inputs) + len(second.inputs) > 2
        graph = rewrite.exchange(
            rewrite.pinned(graph) if extra else graph, {first.name, second.name}, [node], {node.name: arrays}
        )
        found = graph = rewrite.living(graph) if extra else graph
        name = node.name
    return found


def _one(graph: Graph, first: Node, second: Node) -> tuple[Node, dict[str, np.ndarray]] | None:
    """One node for two that follow each other, with what it holds; None where that would hold more than they do."""
    one, two = affine(graph, first), affine(graph, second)
    if one is None or two is None:
        return None
    main = second if isinstance(second.layer, Scale) and not isinstance(first.layer, Scale) else first
    both, x = one.then(two), first.inputs[0].shape
    spread = np.broadcast_shapes(both.factor.shape, both.shift.shape)
    kept = {array.shape for each in (one, two) for array in (each.factor, each.shift)}
    layer: Layer
    arrays: dict[str, np.ndarray] = {}
    definition = LayerParameter(name=main.name)
    if math.prod(spread) == 1:
        with np.errstate(over="ignore", under="ignore"):
            scale, shift = (float(np.float32(array.item())) for array in (both.factor, both.shift))
        if scale == 0 or not math.isfinite(scale) or not math.isfinite(shift):
            return None
        layer = Power(1.0, scale, shift)
        definition.type = "Power"
        definition.power_param.scale, definition.power_param.shift = layer.scale, layer.shift
    elif spread in kept and (run := _run(spread, x)):
        axis, count = run
        arrays = _arrays(both, spread)
        with np.errstate(over="ignore"):
            if not all(np.isfinite(array.astype(np.float32)).all() for array in arrays.values()):
                return None
        layer = Scale(axis, count, "bias" in arrays)
        definition.type = "Scale"
        definition.scale_param.axis, definition.scale_param.num_axes = axis, count
        definition.scale_param.bias_term = layer.bias
    else:
        return None
    origins = joined(first, second)
    made = Node(main.name, layer, first.inputs[:1], second.outputs, {}, (), (), definition, origins, main.locate)
    return made, arrays


def _run(spread: Shape, x: Shape) -> tuple[int, int] | None:
    """The first axis of x that a factor of that shape runs along and their number; None where it leaves one out."""
    axes = [axis for axis, size in enumerate(spread) if size > 1]
    first, last = axes[0], axes[-1]
    return (first, last - first + 1) if spread[first : last + 1] == x[first : last + 1] else None


def _arrays(both: Affine, spread: Shape) -> dict[str, np.ndarray]:
    arrays = {"weight": np.broadcast_to(both.factor, spread)}
    return arrays | {"bias": np.broadcast_to(both.shift, spread)} if both.shift.any() else arrays
