"""Do once what is done twice."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nktc.ir import Filler, Graph, Node, Phase, rewrite
from nktc.passes.definitions import joined
from nktc.passes.deterministic import deterministic


def merge_equal_nodes(graph: Graph) -> Graph:
    """y = f(x), z = f(x) with equal weights => y, in a TEST graph. Two outputs of the net stay two."""
    if graph.phase is not Phase.TEST:
        return graph
    merged = rewrite.pinned(graph)
    changes = False
    seen: dict[Any, list[str]] = {}
    for name in [node.name for node in graph]:
        node = merged.node(name)
        if node.layer.source or not node.outputs or any(node.loss_weights) or not deterministic(node.layer):
            continue
        key = _key(node)
        for twin in map(merged.node, seen.get(key, [])):
            if _same_weights(merged, twin, node) and (both := _merged(merged, twin, node)):
                merged, changes = both, True
                break
        else:
            seen.setdefault(key, []).append(name)
    return merged if changes else graph


def _key(node: Node) -> tuple[Any, ...]:
    """What equal nodes have in common: type, inputs, settings but how weights start and what only a gradient asks."""
    fields = dataclasses.fields(node.layer)  # type: ignore[arg-type]
    settings = tuple(
        value
        for field in fields
        if not isinstance(value := getattr(node.layer, field.name), Filler) and field.name != "overwrites"
    )
    return node.type, repr(settings), tuple(value.name for value in node.inputs), len(node.outputs)


def _same_weights(graph: Graph, one: Node, other: Node) -> bool:
    for local, name in one.weights.items():
        second = other.weights[local]
        if name != second:
            a, b = graph.arrays.get(name), graph.arrays.get(second)
            if a is None or b is None or {name, second} & graph.grids.keys() or not np.array_equal(a, b):
                return False
    return True


def _merged(graph: Graph, twin: Node, node: Node) -> Graph | None:
    """The graph in which a node does its twin's work too; None where an output would lose its name."""
    names = {}
    for mine, other in zip(twin.outputs, node.outputs, strict=True):
        if mine.name in graph.wanted and other.name in graph.wanted:
            return None
        names[mine.name] = names[other.name] = other if other.name in graph.wanted else mine
    kept = dataclasses.replace(twin, origins=joined(twin, node))
    rest = [kept if one.name == twin.name else one for one in graph if one.name != node.name]
    return rewrite.renamed(rewrite.with_nodes(graph, rest), names)
