"""Join once, cut once, and not at all what is only cut again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from nktc.ir import Graph, Node, Phase, Value, rewrite
from nktc.layers import Concat, Slice
from nktc.passes.definitions import free, joined
from nktc.schema import LayerParameter


def eliminate_concat(graph: Graph) -> Graph:
    """Concat(Concat(a, b), c) => Concat(a, b, c), Slice(Concat(a, b)) => a, b, Concat(Slice(x)) => x, Slice(Slice(x))
    => Slice(x), a Concat of one and a Slice into one => nothing; all along one axis, in a TEST graph. Cuts of the batch
    stay: they are elsewhere for another one."""
    if graph.phase is not Phase.TEST:
        return graph
    found = pinned = rewrite.pinned(graph)
    while (simpler := _step(found)) is not None:
        found = simpler
    return graph if found is pinned else found


def _step(graph: Graph) -> Graph | None:
    """The graph with one join or cut less; None where there is none to save."""
    alone = [n for n in graph if isinstance(n.layer, Concat | Slice) and len(n.inputs) == len(n.outputs) == 1]
    less: Graph | None = rewrite.bypass(graph, alone)
    if less is not graph:
        return less
    rules: Sequence[tuple[type, Callable[[Graph, Node], Graph | None]]] = (
        (Concat, _flat),
        (Concat, _whole),
        (Slice, _one_cut),
        (Slice, _uncut),
    )
    for node in graph:
        for kind, rule in rules:
            if isinstance(node.layer, kind) and (less := rule(graph, node)):
                return rewrite.living(less)
    return None


def _flat(graph: Graph, outer: Node) -> Graph | None:
    """Concat of a Concat that nobody else reads."""
    for i, value in enumerate(outer.inputs):
        inner = graph.producers[value.name]
        if isinstance(inner.layer, Concat) and _axis(inner) == _axis(outer) and graph.only_reader(value.name):
            inputs = (*outer.inputs[:i], *inner.inputs, *outer.inputs[i + 1 :])
            made = dataclasses.replace(outer, inputs=inputs, origins=joined(inner, outer))
            return rewrite.exchange(graph, {inner.name, outer.name}, [made], at=outer.name)
    return None


def _whole(graph: Graph, concat: Node) -> Graph | None:
    """Concat of all parts of a Slice in their order, with others or without."""
    for i, value in enumerate(concat.inputs):
        cut = graph.producers[value.name]
        count = len(cut.outputs)
        if not isinstance(cut.layer, Slice) or concat.inputs[i : i + count] != cut.outputs:
            continue
        if _axis(cut) == _axis(concat):
            inputs = (*concat.inputs[:i], cut.inputs[0], *concat.inputs[i + count :])
            goes = all(graph.only_reader(part.name) for part in cut.outputs)
            origins = joined(cut, concat) if goes else concat.origins
            made = dataclasses.replace(concat, inputs=inputs, origins=origins)
            return rewrite.exchange(graph, {concat.name}, [made])
    return None


def _one_cut(graph: Graph, outer: Node) -> Graph | None:
    """Slice of a part of a Slice that nobody else reads."""
    for i, part in enumerate(outer.outputs):
        inner = graph.only_reader(part.name)
        if inner is not None and isinstance(inner.layer, Slice) and _axis(inner) == _axis(outer) > 0:
            made = cut(outer, (*outer.outputs[:i], *inner.outputs, *outer.outputs[i + 1 :]), _axis(outer))
            made = dataclasses.replace(made, origins=joined(outer, inner))
            return rewrite.exchange(graph, {outer.name, inner.name}, [made])
    return None


def _uncut(graph: Graph, node: Node) -> Graph | None:
    """Slice of a Concat where it was joined: each part is an input, or some of them joined."""
    whole = graph.producers[node.inputs[0].name]
    axis = _axis(node)
    if not isinstance(whole.layer, Concat) or _axis(whole) != axis or axis == 0:
        return None
    seams = list(accumulate((value.shape[axis] for value in whole.inputs), initial=0))
    cuts = list(accumulate((value.shape[axis] for value in node.outputs), initial=0))
    if not set(cuts) <= set(seams):
        return None
    made = []
    for part, (start, end) in zip(node.outputs, pairwise(cuts), strict=True):
        inputs = whole.inputs[seams.index(start) : seams.index(end)]
        name = free(graph, f"{node.name}/{part.name}")
        definition = LayerParameter(name=name, type="Concat")
        definition.concat_param.axis = axis
        origins = joined(whole, node)
        made.append(Node(name, Concat(axis), inputs, (part,), {}, (), (), definition, origins, node.locate))
    return rewrite.exchange(graph, {node.name}, made)


def cut(node: Node, outputs: Sequence[Value], axis: int) -> Node:
    """A Slice of that node's input into those outputs, in their order."""
    points = tuple(accumulate(value.shape[axis] for value in outputs))[:-1]
    definition = LayerParameter(name=node.name, type="Slice")
    definition.slice_param.axis = axis
    definition.slice_param.slice_point.extend(points)
    return dataclasses.replace(node, layer=Slice(axis, points), outputs=tuple(outputs), definition=definition)


def _axis(node: Node) -> int:
    layer = node.layer
    assert isinstance(layer, Concat | Slice)
    return layer.axis % len(node.inputs[0].shape)
