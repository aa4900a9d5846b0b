"""Convolutions in groups that are not written as such."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from nktc.ir import Graph, Node, Phase, rewrite
from nktc.layers import Concat, Convolution, Deconvolution, Slice
from nktc.passes.affine import known
from nktc.passes.definitions import changed, joined
from nktc.passes.merge_sibling_convolutions import above, bends, restated


def recognise_depthwise(graph: Graph) -> Graph:
    """A Convolution whose weights between groups of channels are 0 => one of those groups, Concat of a Convolution of
    each part of a Slice => one in groups; in a TEST graph, with all weights known."""
    if graph.phase is not Phase.TEST:
        return graph
    for name in [node.name for node in graph]:
        node = next((node for node in graph if node.name == name), None)
        if node is not None and isinstance(node.layer, Convolution | Deconvolution) and _may_group(node.layer):
            graph = _in_groups(graph, node) or graph
        elif node is not None and isinstance(node.layer, Slice):
            graph = _one_for_all(graph, node) or graph
    return graph


def _in_groups(graph: Graph, node: Node) -> Graph | None:
    """The graph in which a convolution has as many groups as its weights allow."""
    layer = node.layer
    assert isinstance(layer, Convolution | Deconvolution)
    weights = known(graph, node)
    # Of two groups half of the weights are 0, of more groups more.
    if weights is None or 2 * np.count_nonzero(weights["weight"]) > weights["weight"].size:
        return None
    weight, group = weights["weight"], layer.group
    channels = node.inputs[0].shape[layer.axis % len(node.inputs[0].shape)]
    most = math.gcd(channels, layer.outputs) // group
    for parts in range(most, 1, -1):
        if most % parts:
            continue
        # Both axes of a group's matrix, cut into so many parts: only those on the diagonal may have numbers.
        rows, columns = weight.shape[0] // (group * parts), weight.shape[1] // parts
        blocks = weight.reshape(group, parts, rows, parts, columns, *weight.shape[2:])
        apart = ~np.eye(parts, dtype=bool)
        if blocks.swapaxes(2, 3)[:, apart].any():
            continue
        kept = np.stack([blocks[:, part, :, part] for part in range(parts)], axis=1)
        arrays = {**weights, "weight": kept.reshape(weight.shape[0], columns, *weight.shape[2:])}
        definition = changed(node)
        if definition is not None:
            definition.convolution_param.group = group * parts
        made = dataclasses.replace(
            node,
            layer=dataclasses.replace(layer, group=group * parts),
            definition=definition,
            origins=node.works_for,
        )
        return rewrite.exchange(graph, {node.name}, [made], {node.name: arrays})
    return None


def _one_for_all(graph: Graph, node: Node) -> Graph | None:
    """The graph in which one convolution does what those of the parts of a Slice do that are joined again."""
    parts = [graph.only_reader(value.name) for value in node.outputs]
    convolutions = [part for part in parts if part is not None and len(part.inputs) == 1]
    first = convolutions[0] if convolutions else None
    if first is None or len(convolutions) != len(parts) or len(parts) < 2:
        return None
    assert isinstance(node.layer, Slice)
    layer, axis = first.layer, node.layer.axis % len(node.inputs[0].shape)
    if (
        not isinstance(layer, Convolution | Deconvolution)
        or not _may_group(layer)
        or layer.axis % len(first.inputs[0].shape) != axis
    ):
        return None
    held = [known(graph, one) for one in convolutions]
    if any(
        weights is None or _settings(one) != _settings(first) for one, weights in zip(convolutions, held, strict=True)
    ):
        return None
    behind = bends(graph, convolutions)
    ends = behind or convolutions
    concat = graph.only_reader(ends[0].outputs[0].name)
    if concat is None or not isinstance(concat.layer, Concat) or concat.layer.axis % len(first.inputs[0].shape) != axis:
        return None
    if concat.inputs != tuple(end.outputs[0] for end in ends) or not all(
        graph.only_reader(value.name) for value in concat.inputs
    ):
        return None
    arrays = {local: np.concatenate([weights[local] for weights in held if weights]) for local in held[0] or {}}
    whole, count = concat.outputs[0], len(convolutions)
    one = restated(first, first.name, count * layer.outputs, count * layer.group, convolutions, whole)
    one = dataclasses.replace(one, inputs=node.inputs, origins=joined(node, *convolutions, concat))
    made = above(one, behind) if behind else [one]
    gone = {each.name for each in (node, *convolutions, *behind, concat)}
    return rewrite.exchange(graph, gone, made, {one.name: arrays}, at=concat.name)


def _may_group(layer: Convolution | Deconvolution) -> bool:
    """Whether a layer is of a type that has groups: C3D's have none."""
    return "convolution_param" in layer.param


def _settings(node: Node) -> object:
    """What convolutions that become one have in common."""
    layer = node.layer
    if not isinstance(layer, Convolution | Deconvolution):
        return None
    x = node.inputs[0].shape
    axis = layer.axis % len(x)
    return node.type, x, axis, layer.outputs, layer.group, layer.bias, layer.window(len(x) - axis - 1)
