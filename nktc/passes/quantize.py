"""Compute in 8 bits: what layers take is rounded to 256 steps, their weights to 255."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from nktc.ir import DType, Graph, Grid, Node, Value, infer, rewrite, size
from nktc.layers import (
    Cast,
    Clip,
    Concat,
    Convolution,
    Crop,
    Dropout,
    Eltwise,
    Flatten,
    Flip,
    GlobalPooling,
    InnerProduct,
    Pooling,
    Quantize,
    ReLU,
    ReLU6,
    Reorg,
    Reshape,
    Reverse,
    ShuffleChannel,
    Slice,
    Split,
    Transpose,
)
from nktc.schema import LayerParameter, QuantizeParameter

SAME = (Concat, Crop, Dropout, Flatten, Flip, Reorg, Reshape, Reverse, ShuffleChannel, Slice, Split, Transpose)
"""Types whose outputs are numbers of their inputs: both are rounded to the same steps. A MAX Pooling too."""

Range = tuple[float, float]


def quantizable(graph: Graph) -> list[str]:
    """The names of the layers that can run in 8 bits and have weights: those worth naming to `quantize`."""
    return [node.name for node in graph if _multiplies(node)]


def quantize(
    graph: Graph, ranges: Mapping[str, Range], signed: bool = False, most: int = 127, keep: Collection[str] = ()
) -> Graph:
    """Convolutions and InnerProducts in f32 => the same with inputs and weights of 8 bits, but for those `keep` names.

    `ranges` has the least and the largest number that a value is to hold, by name; a layer with an input or an output
    that is not there stays in f32, as does one that does the work of a layer in `keep`. `signed` activations are s8
    around 0, else u8 with a zero point. Weights have a step an output, and `most` of them on either side of 0.
    Poolings, sums and Concats between such layers run in 8 bits too. A value that is rounded keeps its name, and is
    NAME@raw before that; what the net takes and gives is never rounded.
    """
    kept = {node.name for node in graph if not {node.name, *node.works_for}.isdisjoint(keep)}
    chosen = _chosen(graph, ranges, signed, kept)
    if not chosen:
        return graph
    graph, ranges = _flat(graph, ranges, chosen)
    chosen = _chosen(graph, ranges, signed, kept)
    rounded = _rounded(graph, chosen)
    quantizers = _quantizers(graph, rounded, chosen, ranges, signed)
    weighty = [node for node in graph if node.name in chosen and _multiplies(node)]
    graph = _on_grids(graph, weighty, most, quantizers)
    return rewrite.with_nodes(graph, [*_with_quantizers(graph, quantizers, chosen)])


def _multiplies(node: Node) -> bool:
    """Whether a node is one of the layers that 8 bits are for."""
    match node.layer:
        case Convolution():
            spatial = len(node.inputs[0].shape) - 2
            return len(node.inputs) == 1 and node.layer.axis == 1 and spatial > 0 and _wide(node)
        case InnerProduct():
            return _wide(node)
    return False


def _wide(node: Node) -> bool:
    return all(value.dtype is DType.F32 for value in (*node.inputs, *node.outputs))


def _passes(node: Node, signed: bool) -> bool:
    """Whether a node without weights runs in 8 bits where its neighbours do."""
    match node.layer:
        case Pooling():
            means = signed and node.layer.method == "AVE"  # with zero points runtimes are slow at means
            return (node.layer.method == "MAX" or means) and not node.layer.where and _wide(node)
        case Eltwise():
            plain = node.layer.operation == "SUM" and not node.layer.coefficients
            return plain and len(node.inputs) == 2 and _wide(node)
    return isinstance(node.layer, (*SAME, GlobalPooling) if signed else SAME) and _wide(node)


def _chosen(graph: Graph, ranges: Mapping[str, Range], signed: bool, keep: Collection[str]) -> set[str]:
    """The nodes that run in 8 bits: those with weights, and those between them that have nothing but their values."""

    def known(node: Node) -> bool:
        return all(value.name in ranges for value in (*node.inputs, *_after(graph, node).outputs))

    chosen = {n.name for n in graph if _multiplies(n) and n.name not in keep and known(n)}
    if not chosen:
        return chosen
    for node in graph:
        if _passes(node, signed) and node.name not in keep and known(node):
            makers = [_before(graph, value).name in chosen for value in node.inputs]
            takers = [reader.name in chosen for value in node.outputs for reader in graph.readers[value.name]]
            # What comes in f32 is pooled in f32: runtimes are good at that, and change to 8 bits behind it.
            if all(makers) or (any(makers) and any(takers)):
                chosen.add(node.name)
    return chosen


def _flat(graph: Graph, ranges: Mapping[str, Range], chosen: Collection[str]) -> tuple[Graph, dict[str, Range]]:
    """The graph with a Flatten of its own before each chosen InnerProduct that takes pictures, so that rows are what is
    rounded: only so do runtimes multiply them in 8 bits."""
    known = dict(ranges)
    nodes: list[Node] = []
    for node in graph:
        rows = isinstance(node.layer, InnerProduct) and node.layer.axis == 1
        if not rows or node.name not in chosen or len(node.inputs[0].shape) == 2:
            nodes.append(node)
            continue
        x = node.inputs[0]
        flat = Value(f"{x.name}@{node.name}", (x.shape[0], size(x.shape[1:])), x.dtype)
        known[flat.name] = known[x.name]
        flatten = _node(f"{node.name}:flatten", Flatten(), x, flat, node.works_for, node)
        nodes += [flatten, dataclasses.replace(node, inputs=(flat,))]
    return rewrite.with_nodes(graph, nodes), known


def _before(graph: Graph, value: Value) -> Node:
    """The node that makes a value, or the one before where that is a ReLU which runs with it."""
    node = graph.producers[value.name]
    if isinstance(node.layer, ReLU | ReLU6 | Clip) and node.inputs:
        maker = graph.producers[node.inputs[0].name]
        if _after(graph, maker) is node:
            return maker
    return node


def _after(graph: Graph, node: Node) -> Node:
    """The ReLU that runs with a node, where it alone takes what the node makes; else the node itself."""
    if len(node.outputs) != 1 or not (_multiplies(node) or isinstance(node.layer, Eltwise)):
        return node
    reader = graph.only_reader(node.outputs[0].name)
    match reader.layer if reader else None:
        case ReLU(negative_slope=0) | ReLU6(negative_slope=0) | Clip(min=0):
            assert reader
            return reader
    return node


def _rounded(graph: Graph, chosen: Collection[str]) -> set[str]:
    """The values that are rounded: what chosen nodes take, and what they make, but for scores that nobody takes in 8
    bits. A convolution runs in 8 bits only where its output has them too."""
    found = set()
    for node in graph:
        if node.name in chosen:
            found |= {value.name for value in node.inputs}
            last = _after(graph, node)
            takers = [reader.name in chosen for value in last.outputs for reader in graph.readers[value.name]]
            if any(takers) or (isinstance(node.layer, Convolution) and takers):
                found |= {value.name for value in last.outputs}
    return found


def _quantizers(
    graph: Graph, rounded: Collection[str], chosen: Collection[str], ranges: Mapping[str, Range], signed: bool
) -> dict[str, Quantize]:
    """The rounding of each value, by its name: one for all values that are the same numbers."""
    group = {name: name for name in rounded}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for node in graph:
        largest = isinstance(node.layer, Pooling) and node.layer.method == "MAX"
        if node.name in chosen and (largest or isinstance(node.layer, SAME)):
            together = [value.name for value in (*node.inputs, *node.outputs) if value.name in group]
            for name in together[1:]:
                group[root(name)] = root(together[0])
    whole: dict[str, Range] = {}
    for name in sorted(rounded):
        low, high = whole.get(root(name), (0.0, 0.0))
        whole[root(name)] = (min(low, ranges[name][0]), max(high, ranges[name][1]))
    return {name: _quantizer(whole[root(name)], signed) for name in rounded}


def _quantizer(whole: Range, signed: bool) -> Quantize:
    """The steps that cover a range; 0 is one of them."""
    low, high = whole
    if signed:
        return Quantize(_step(max(-low, high) / 127), 0, True)
    scale = _step((high - low) / 255)
    return Quantize(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def _step(scale: float) -> float:
    """As f32 has it; 1 where there is nothing but zeros."""
    return float(np.float32(scale)) or 1.0


def _on_grids(graph: Graph, nodes: Sequence[Node], most: int, quantizers: Mapping[str, Quantize]) -> Graph:
    """The graph with the weights of these nodes on grids of 8 bits. One that others hold too is copied."""
    parameters, arrays, grids = dict(graph.parameters), dict(graph.arrays), dict(graph.grids)
    holders = [name for node in graph for name in node.weights.values()]
    changed = {}
    for node in nodes:
        shared = name = node.weights["weight"]
        weight = infer.weights(node.layer, [value.shape for value in node.inputs])["weight"]
        array = graph.arrays[name].reshape(weight.shape)  # of a share in another shape
        if holders.count(shared) > 1:
            name = f"{node.name}:s8.weight"
            changed[node.name] = dataclasses.replace(node, weights={**node.weights, "weight": name})
        parameters[name] = dataclasses.replace(graph.parameters[shared], name=name, weight=weight, layer=node.name)
        axis = 1 if isinstance(node.layer, InnerProduct) and node.layer.transpose else 0
        largest = np.abs(array).max(axis=tuple(i for i in range(array.ndim) if i != axis), initial=0)
        steps = (largest / most).astype(np.float32)
        if "bias" in node.weights:
            # Runtimes hold a bias in whole steps of the products, in 32 bits: beside it such small weights are nothing.
            bias = np.abs(graph.arrays[node.weights["bias"]]).reshape(steps.shape)
            steps = np.maximum(steps, bias / (quantizers[node.inputs[0].name].scale * 2**30)).astype(np.float32)
        grids[name] = Grid(np.where(steps > 0, steps, np.float32(1)), axis, most)
        arrays[name] = grids[name].nearest(array)
    graph = dataclasses.replace(graph, parameters=parameters, arrays=arrays, grids=grids)
    return rewrite.with_nodes(graph, [changed.get(node.name, node) for node in graph])


def _runs_with(graph: Graph, node: Node, chosen: Collection[str]) -> bool:
    """Whether a node runs in 8 bits, or as a part of one that does."""
    return node.name in chosen or _before(graph, node.outputs[0]).name in chosen


def _is_rounded_away(node: Node, quantizers: Mapping[str, Quantize], outputs: Collection[str]) -> bool:
    """Whether a node is a ReLU whose output is rounded to steps from 0 on: what is below 0 becomes 0 there anyway."""
    relu = isinstance(node.layer, ReLU) and node.layer.negative_slope == 0
    layer = quantizers.get(node.outputs[0].name) if relu and node.outputs[0].name not in outputs else None
    return layer is not None and not layer.signed and layer.zero == 0


def _with_quantizers(graph: Graph, quantizers: Mapping[str, Quantize], chosen: Collection[str]) -> Iterator[Node]:
    """The nodes, with a Quantize right behind each that makes a value to be rounded. The rounded value takes the name;
    what is fed or given keeps its own, and is rounded as NAME@s8 or NAME@u8. A layer in f32 between rounded values
    takes NAME@f32, a Cast of its input: so a runtime sees that it is meant to be in f32."""
    names: dict[str, Value] = {}
    wide: set[str] = set()
    given = {value.name for value in graph.outputs}
    for node in graph:
        if _is_rounded_away(node, quantizers, given):
            (x,), (y,) = node.inputs, node.outputs
            origins = (*graph.producers[x.name].works_for, *node.works_for)
            yield _node(f"{y.name}:quantize", quantizers[y.name], x, y, origins, node)
            continue
        inputs = tuple(names.get(value.name, value) for value in node.inputs)
        if any(value.name in quantizers for value in node.outputs) and not _runs_with(graph, node, chosen):
            for x in [value for value in node.inputs if value.name in quantizers]:
                own = dataclasses.replace(x, name=f"{x.name}@f32")
                inputs = tuple(own if value == names.get(x.name, x) else value for value in inputs)
                if own.name not in wide:
                    wide.add(own.name)
                    source = names.get(x.name, x)
                    yield _node(f"{x.name}:f32", Cast(), source, own, node.works_for, node)
        rounding = {value.name for value in node.outputs if value.name in quantizers}
        raw = set() if node.layer.source else rounding - given
        made = tuple(
            dataclasses.replace(value, name=f"{value.name}@raw") if value.name in raw else value
            for value in node.outputs
        )
        yield dataclasses.replace(node, inputs=inputs, outputs=made)
        for value, own in zip(node.outputs, made, strict=True):
            if value.name in rounding:
                layer = quantizers[value.name]
                target = value
                if value.name not in raw:
                    target = dataclasses.replace(value, name=f"{value.name}@{'s8' if layer.signed else 'u8'}")
                    names[value.name] = target
                yield _node(f"{value.name}:quantize", layer, own, target, node.works_for, node)


def _node(
    name: str, layer: Cast | Flatten | Quantize, x: Value, y: Value, origins: tuple[str, ...], near: Node
) -> Node:
    """A node of a pass's own, which says in prototxt what it is."""
    definition = LayerParameter(name=name, type=type(layer).__name__)
    match layer:
        case Quantize():
            definition.quantize_param.CopyFrom(
                QuantizeParameter(scale=layer.scale, zero_point=layer.zero, signed=layer.signed)
            )
    return Node(name, layer, (x,), (y,), definition=definition, origins=origins, locate=near.locate)
