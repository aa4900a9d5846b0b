"""Numbers that 16 bits cannot hold, found on samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nktc.errors import Span
from nktc.ir import Graph
from nktc.quantization.calibrate import observe

LARGEST = 65504.0  # of fp16


@dataclass(frozen=True)
class Overflow:
    """A layer that must stay in f32: its blob reaches `largest`, or its weight does."""

    layer: str
    blob: str
    largest: float
    at: Span | None

    def __str__(self) -> str:
        place = f"{self.at}: " if self.at else ""
        return f'{place}"{self.layer}" stays in fp32: {self.blob} reaches {self.largest:g}, fp16 ends at {LARGEST:g}'


def overflows(graph: Graph, samples: Iterable[Mapping[str, np.ndarray]]) -> list[Overflow]:
    """The layers that make or take a blob beyond fp16, or hold such a weight, in order."""
    histograms, _ = observe(graph, samples)
    sizes = {name: max(-found.low, found.high) if found.finite else float("inf") for name, found in histograms.items()}
    found = []
    for node in graph:
        if node.layer.source:
            continue
        held = {
            name: float(np.abs(graph.arrays[name]).max(initial=0))
            for name in node.weights.values()
            if name in graph.arrays
        }
        seen = {f'its blob "{v.name}"': sizes.get(v.name, 0.0) for v in (*node.inputs, *node.outputs)}
        seen |= {f'its weight "{name}"': size for name, size in held.items()}
        worst = max(seen, key=lambda name: seen[name], default="")
        if worst and seen[worst] > LARGEST:
            found.append(Overflow(node.name, worst, seen[worst], node.at))
    return found
