"""Put what a picture goes through into the layer that takes it."""

from __future__ import annotations

import dataclasses

import numpy as np

from nktc.ir import Graph, Node, Phase, Preprocessing, Shape, rewrite
from nktc.layers import Input
from nktc.passes.affine import MATRIX, Affine, known, rebuilt, scaled_inputs
from nktc.passes.definitions import changed


def fold_input_scale(graph: Graph) -> Graph:
    """y = Convolution or InnerProduct((pixels - mean) * scale / std) => y = that layer(pixels), in a TEST graph. The
    mean stays where it is not exact at a padded border; the input is another then, and `preprocessing` says so."""
    if graph.phase is not Phase.TEST:
        return graph
    for name, told in graph.preprocessing.items():
        node = graph.only_reader(name)
        if node is not None and isinstance(node.layer, MATRIX) and len(node.inputs) == 1:
            graph = _folded(graph, node, told) or graph
    return graph


def _folded(graph: Graph, node: Node, told: Preprocessing) -> Graph | None:
    weights = known(graph, node)
    x = node.inputs[0].shape
    if weights is None or len(x) != 4:
        return None
    ones = np.ones((1, 1, 1, 1))
    factor = ones * told.scale / (1.0 if told.std is None else told.std.astype(np.float64))
    mean = _middle(told.mean, x) if told.mean is not None else None
    # Both, or else the factor alone: a mean that is not in it is taken off before.
    for shift in [ones * 0] if mean is None else [-mean * factor, ones * 0]:
        if (factor == 1).all() and not shift.any():
            continue
        arrays = scaled_inputs(node, weights, Affine(factor, shift))
        made = rebuilt(node, arrays) if arrays else None
        if made is None or arrays is None:
            continue
        left = dataclasses.replace(told, scale=1.0, std=None, mean=None if shift.any() else told.mean)
        graph = rewrite.exchange(
            graph, {node.name}, [dataclasses.replace(made, origins=node.works_for)], {node.name: arrays}
        )
        fed = graph.producers[node.inputs[0].name]
        graph = rewrite.with_nodes(graph, [_plain(one, left) if one.name == fed.name else one for one in graph])
        return dataclasses.replace(graph, preprocessing={**graph.preprocessing, node.inputs[0].name: left})
    return None


def _middle(mean: np.ndarray, x: Shape) -> np.ndarray:
    """The mean of the pixels that are left of a picture, f64[1 c h w] or [1 c 1 1]."""
    wide = mean.astype(np.float64)[None]
    if wide.shape[2:] == (1, 1):
        return wide
    top, left = ((there - kept) // 2 for there, kept in zip(wide.shape[2:], x[2:], strict=True))
    return wide[..., top : top + x[2], left : left + x[3]]


def _plain(node: Node, left: Preprocessing) -> Node:
    """An Input that asks for what is left of its transform_param."""
    if not isinstance(node.layer, Input) or node.layer.transform is None:
        return node
    settings = dataclasses.replace(node.layer.transform, scale=1.0, std_values=())
    definition = changed(node)
    if definition is not None:
        definition.transform_param.scale = 1.0  # said, for an empty one would tell nothing of pictures
        definition.transform_param.ClearField("std_value")
    if left.mean is None:
        settings = dataclasses.replace(settings, mean_file="", mean_values=())
        if definition is not None:
            definition.transform_param.ClearField("mean_file")
            definition.transform_param.ClearField("mean_value")
    return dataclasses.replace(node, layer=dataclasses.replace(node.layer, transform=settings), definition=definition)
