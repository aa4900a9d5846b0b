"""One large convolution instead of several small ones beside each other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from nktc.ir import Graph, Node, Phase, Value, rewrite
from nktc.layers import Convolution, Deconvolution, DepthwiseConvolution, ReLU, Slice
from nktc.passes.affine import known
from nktc.passes.definitions import changed, free, joined
from nktc.passes.eliminate_concat import cut


def merge_sibling_convolutions(graph: Graph) -> Graph:
    """y = Convolution(x), z = Convolution(x) of equal windows => y, z = Slice(Convolution(x)), with the ReLU that
    follows each of them before the Slice; in a TEST graph, with all weights known."""
    if graph.phase is not Phase.TEST:
        return graph
    families: dict[Any, list[str]] = {}
    for node in graph:
        if key := _key(graph, node):
            families.setdefault(key, []).append(node.name)
    for names in families.values():
        if len(names) > 1:
            graph = _merged(graph, [graph.node(name) for name in names])
    return graph


def _key(graph: Graph, node: Node) -> Any:
    """What siblings have in common; None for what is no convolution that can have one."""
    layer = node.layer
    if not isinstance(layer, Convolution) or type(layer) not in (Convolution, DepthwiseConvolution):
        return None  # a fork's type that is told apart by more than its settings
    if len(node.inputs) != 1 or layer.group != 1 or known(graph, node) is None:
        return None
    x = node.inputs[0]
    if layer.axis % len(x.shape) != 1:
        return None
    return x.name, layer.window(len(x.shape) - 2), layer.bias


def _merged(graph: Graph, convolutions: list[Node]) -> Graph:
    first = convolutions[0]
    behind = bends(graph, convolutions)
    held = [known(graph, node) or {} for node in convolutions]
    arrays = {local: np.concatenate([weights[local] for weights in held]) for local in held[0]}
    name = free(graph, "+".join(node.name for node in convolutions))
    shape = first.outputs[0].shape
    y = Value(name, (shape[0], arrays["weight"].shape[0], *shape[2:]), first.outputs[0].dtype)
    made = [restated(first, name, len(arrays["weight"]), 1, convolutions, y)]
    if behind:
        made = above(made[0], behind)
    ends = behind or convolutions
    cutter = Node(free(graph, f"{name}/slice"), Slice(1), made[-1].outputs, (), locate=first.locate)
    cutter = cut(cutter, [node.outputs[0] for node in ends], 1)
    cutter = dataclasses.replace(cutter, origins=joined(*ends))
    gone = {node.name for node in (*convolutions, *behind)}
    return rewrite.exchange(graph, gone, [*made, cutter], {name: arrays})


def restated(first: Node, name: str, outputs: int, group: int, parts: list[Node], output: Value) -> Node:
    """A convolution like the first of its parts under another name, with so many outputs and groups."""
    layer = first.layer
    assert isinstance(layer, Convolution | Deconvolution)
    definition = changed(first)
    if definition is not None:
        definition.convolution_param.num_output, definition.convolution_param.group = outputs, group
    layer = dataclasses.replace(layer, outputs=outputs, group=group)
    return dataclasses.replace(
        first, name=name, layer=layer, outputs=(output,), weights={}, definition=definition, origins=joined(*parts)
    )


def bends(graph: Graph, nodes: list[Node]) -> list[Node]:
    """The ReLU that alone reads each of these, where all have one and these are alike; else none."""
    found = [graph.only_reader(node.outputs[0].name) for node in nodes]
    relus = [node for node in found if node is not None and isinstance(node.layer, ReLU)]
    slopes = {node.layer.negative_slope for node in relus if isinstance(node.layer, ReLU)}
    return relus if len(relus) == len(nodes) and len(slopes) == 1 else []


def above(node: Node, behind: list[Node]) -> list[Node]:
    """The node, and one ReLU of its output that does the work of those behind its parts."""
    y = node.outputs[0]
    under = dataclasses.replace(y, name=f"{y.name}@{node.name}")
    relu = dataclasses.replace(
        behind[0],
        name="+".join(one.name for one in behind),
        inputs=(under,),
        outputs=(y,),
        definition=changed(behind[0]),
        origins=joined(*behind),
    )
    return [dataclasses.replace(node, outputs=(under,)), relu]
