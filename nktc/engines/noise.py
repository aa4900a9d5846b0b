"""Inputs that a net can be tried on where there are none of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nktc.engines.agree import random_inputs
from nktc.ir import Graph, Layer, Shape, Value
from nktc.layers import LSTM, RNN, BatchReindex, Embed, LSTMUnit, Proposal, PSROIPooling, ROIPooling


def noise(graph: Graph, batch: int, seed: int, inputs: Sequence[Value] | None = None) -> dict[str, np.ndarray]:
    """`random_inputs` of a graph, or of its `inputs` as they are opened: words that there are where it takes words,
    sequences that begin, and regions inside of pictures. Raises NktcError where another size than the batch is open."""
    drawn = random_inputs(inputs or graph.inputs, graph.preprocessing, batch, seed)
    generator = np.random.default_rng(seed)
    for node in graph:
        shapes = [value.shape for value in node.inputs]
        for position, value in enumerate(node.inputs):
            if value.name in drawn:
                shape = drawn[value.name].shape
                chosen = _chosen(node.layer, position, shapes, shape, generator)
                if chosen is not None:
                    drawn[value.name] = chosen.astype(value.dtype.numpy)
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
            corners = generator.random((*shape[:-1], 2, 2)) * sides
            numbers = generator.integers(0, images, (*shape[:-1], 1))
            return np.concatenate([numbers, corners.min(-2), corners.max(-2)], -1)
        case Proposal(), 2:
            high, wide = shapes[0][2:]
            return np.broadcast_to([high * layer.stride, wide * layer.stride, *[1] * (shape[-1] - 2)], shape)
    return None
