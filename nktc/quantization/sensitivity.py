"""Which layers suffer from fewer bits, and which must keep theirs for the net to stay as right as is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nktc import module
from nktc.errors import Span
from nktc.ir import Graph

Feeds = Mapping[str, np.ndarray]
Lower = Callable[[Collection[str]], Graph]
"""The graph in fewer bits, but for the layers of these names."""


@dataclass(frozen=True)
class Sensitivity:
    """What happens when this layer alone has fewer bits: `error` is the distance of the outputs from those in f32, over
    their size, by their Euclidean norms; `at` is its place in the prototxt."""

    layer: str
    type: str
    error: float
    at: Span | None


def sensitivities(
    graph: Graph, lower: Lower, layers: Sequence[str], samples: Sequence[Feeds], told: Callable[[str], object] = str
) -> list[Sensitivity]:
    """The layers, the worst first. `told` hears the name of each layer before its turn."""
    expected = answers(graph, samples)
    found = []
    for name in layers:
        told(name)
        others = [other for other in layers if other != name]
        node = graph.node(name)
        found.append(Sensitivity(name, node.type, _distance(expected, answers(lower(others), samples)), node.at))
    return sorted(found, key=lambda one: -one.error)


def fall_back(ranked: Sequence[str], good: Callable[[Collection[str]], bool]) -> list[str]:
    """The fewest layers, the worst first, that have to keep f32 for the net to be `good`; found by halving, so `good`
    is asked about log2 of their number of times. All where nothing less will do."""
    if good(()):
        return []
    below, above = 0, len(ranked)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if good(ranked[:middle]) else (middle, above)
    return list(ranked[:above])


@torch.inference_mode()
def answers(graph: Graph, samples: Sequence[Feeds]) -> list[np.ndarray]:
    """The graph's outputs for each of the samples, side by side in f64."""
    net = module.compile(graph)
    return [_row(net(*(torch.from_numpy(feeds[v.name]) for v in graph.inputs)).values()) for feeds in samples]


def _row(outputs: Iterator[torch.Tensor]) -> np.ndarray:
    return np.concatenate([y.double().numpy().ravel() for y in outputs])


def _distance(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    apart = sum(float(((a - b) ** 2).sum()) for a, b in zip(expected, found, strict=True))
    return (apart / max(sum(float((a**2).sum()) for a in expected), 1e-300)) ** 0.5
