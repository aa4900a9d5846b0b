"""Inputs that a net can be tried on where there are none of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nktc.engines.agree import random_inputs
from nktc.ir import Graph, Layer, Shape, Value
from nktc.layers import LSTM, RNN, BatchReindex, Embed, LSTMUnit, Proposal, PSROIPooling, ROIPooling, Split


def noise(graph: Graph, batch: int, seed: int, inputs: Sequence[Value] | None = None) -> dict[str, np.ndarray]:
    """`random_inputs` of a graph, or of its `inputs` as they are opened: words that there are where it takes words,
    sequences that begin, and regions inside of pictures. Raises NktcError where another size than the batch is open."""
    drawn = random_inputs(inputs or graph.inputs, graph.preprocessing, batch, seed)
    generator = np.random.default_rng(seed)
    whole = {name: name for name in drawn}  # what a Split makes is fed by the name of what it copies
    for node in graph:
        shapes = [value.shape for value in node.inputs]
        if isinstance(node.layer, Split) and node.inputs[0].name in whole:
            whole |= {value.name: whole[node.inputs[0].name] for value in node.outputs}
        for position, value in enumerate(node.inputs):
            if name := whole.get(value.name):
                shape = drawn[name].shape
                chosen = _chosen(node.layer, position, shapes, shape, generator)
                if chosen is not None:
                    drawn[name] = chosen.reshape(shape).astype(value.dtype.numpy)
    return drawn


def _chosen(
    layer: Layer, position: int, shapes: Sequence[Shape], shape: Shape, generator: np.random.Generator
) -> np.ndarray | None:
    """What an input of a layer is to hold, of that shape; None where any numbers will do."""
    match layer, position:
        case Embed(), 0:
            return generator.integers(0, layer.rows, shape)
        case ((RNN() | LSTM()), 1):
            goes_on = generator.integers(0, 2, shape)
            goes_on[0] = 0  # some runtimes keep the state of the last run, others begin anew
            return goes_on
        case LSTMUnit(), 2:
            return generator.integers(0, 2, shape)
        case BatchReindex(), 1:
            return generator.integers(0, shapes[0][0], shape)
        case ((ROIPooling() | PSROIPooling()), 1):
            images, _, high, wide = shapes[0]
            sides = (np.array([wide, high]) - 1) / layer.scale
            corners = generator.random((shape[0], 2, 2)) * sides
            numbers = generator.integers(0, images, (shape[0], 1))
            return np.concatenate([numbers, corners.min(1), corners.max(1)], 1)
        case Proposal(), 2:
            high, wide = shapes[0][2:]
            return np.array([high * layer.stride, wide * layer.stride, *[1] * (math.prod(shape) - 2)])
    return None
