"""The batches of a net: every data layer's stream, in the order of the graph's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nktc import data
from nktc.ir import Graph, infer


@dataclass(frozen=True)
class Feeding:
    """The streams that feed a graph, in the order of its sources."""

    streams: Sequence[data.Stream]

    @property
    def resident(self) -> bool:
        """Whether every batch is made from memory on the device, so that reading ahead gains nothing."""
        return all(stream.resident for stream in self.streams)

    def batch(self, k: int) -> tuple[Tensor, ...]:
        """The graph's inputs for its k-th forward."""
        return tuple(tensor for stream in self.streams for tensor in stream.batch(k))

    def ahead(self, start: int) -> Iterator[tuple[Tensor, ...]]:
        """Batches from `start` on; streams that read files read ahead."""
        return data.read_ahead(self, start)


def open_feeding(graph: Graph, places: data.Places, folder: Path, seed: int, device: torch.device) -> Feeding:
    """Open every data layer of a graph. Raises located LayerErrors, for an Input layer too: nobody feeds it here."""
    streams = []
    for node in graph.sources:
        with infer.place(node.type, node.name, node.locate):
            streams.append(
                data.open_stream(
                    node.layer, places=places, folder=folder, seed=seed, device=device, tops=len(node.outputs)
                )
            )
    return Feeding(streams)
