"""Whether engines agree: the same inputs through each, outputs compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nktc.engines.engine import Options, Session, engine
from nktc.ir import Graph


@dataclass(frozen=True)
class Difference:
    """How far an output of `engine` is from that of the first engine: the largest absolute difference, and that
    divided by the largest value of the first."""

    engine: str
    output: str
    absolute: float
    relative: float


def agree(graph: Graph, engines: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[Difference]:
    """Run `feeds` on every engine and compare each with the first, output by output."""
    first, *others = (_run(engine(name).build(graph, Options("cpu")), feeds) for name in engines)
    return [
        Difference(name, output, *_distance(first[output], found[output]))
        for name, found in zip(engines[1:], others, strict=True)
        for output in first
    ]


def random_feeds(graph: Graph, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Normal inputs by name, with `batch` in axis 0."""
    generator = np.random.default_rng(seed)
    return {value.name: generator.standard_normal((batch, *value.shape[1:]), np.float32) for value in graph.inputs}


def _run(session: Session, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return session.run(feeds)


def _distance(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    if a.shape != b.shape:
        return float("inf"), float("inf")
    absolute = float(np.abs(a - b).max(initial=0))
    return absolute, absolute / max(float(np.abs(a).max(initial=0)), 1e-30)
