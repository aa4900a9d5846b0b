"""The batches of a net: every data layer's stream, in the order of the graph's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from nktc import data
from nktc.ir import Graph, Node, infer
from nktc.layers import SoftmaxWithLoss
from nktc.train.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Feeding:
    """The streams that feed a graph, in the order of its sources; of the batches, every `size`-th from `rank` on."""

    streams: Sequence[data.Stream]
    rank: int = 0
    size: int = 1

    @property
    def resident(self) -> bool:
        """Whether every batch is made from memory on the device, so that reading ahead gains nothing."""
        return all(stream.resident for stream in self.streams)

    @property
    def device(self) -> torch.device:
        """Where the batches are."""
        return self.streams[0].device if self.streams else torch.device("cpu")

    @property
    def size_of_batch(self) -> int:
        """Records in a batch, of the source that takes most batches to its end; 1 where there is no source."""
        return batch_of(self.longest) if self.streams else 1

    @property
    def records(self) -> int:
        """Records in an epoch, which ends when every source has been through; of the same source, 0 where none has an
        end."""
        return self.longest.feed.records or 0 if self.streams else 0

    @property
    def longest(self) -> data.Stream:
        """The source that takes most batches to its end."""
        return max(self.streams, key=lambda stream: ((stream.feed.records or 0) / batch_of(stream), batch_of(stream)))

    def batch(self, k: int) -> tuple[Tensor, ...]:
        """The graph's inputs for its k-th forward in this rank."""
        return tuple(tensor for stream in self.streams for tensor in stream.batch(k * self.size + self.rank))

    def expect(self, k: int) -> None:
        """Told before batch `k` is asked for."""
        for stream in self.streams:
            stream.expect(k * self.size + self.rank)

    def forget(self) -> None:
        """Batches that were expected will not be asked for."""
        for stream in self.streams:
            stream.forget()

    def skipped(self, graph: Graph, ranks: Ranks = ALONE) -> Iterator[tuple[Node, Mapping[int, str]]]:
        """The sources of `graph` with records that could not be used, in any of the ranks, which all have to ask, and
        what was wrong with each."""
        found = ranks.gather([dict(stream.skipped) for stream in self.streams])
        for node, each in zip(graph.sources, zip(*found, strict=True), strict=True):
            if skipped := {place: what for one in each for place, what in one.items()}:
                yield node, dict(sorted(skipped.items()))

    def ahead(self, start: int) -> Iterator[tuple[Tensor, ...]]:
        """Batches from `start` on; streams that read files read ahead."""
        return data.read_ahead(self, start)


def skips(node: Node, skipped: Mapping[int, str]) -> str:
    """What is said of the records that a layer passed over."""
    count = len(skipped)
    records = "1 record was" if count == 1 else f"{count} records were"
    return f"layer {node.name}: {records} skipped, others took their places"


def _classes(graph: Graph, source: Node) -> tuple[int, int | None]:
    """How many classes the loss tells apart that takes a source's label, and the label that it ignores; 0 where there
    is no such loss."""
    for node in graph:
        if isinstance(node.layer, SoftmaxWithLoss) and node.inputs[1] in source.outputs[1:2]:
            return node.inputs[0].shape[node.layer.axis], node.layer.ignore
    return 0, None


def batch_of(stream: data.Stream) -> int:
    """Records in a batch of one source."""
    first = next(iter(stream.feed.shapes), ())
    return first[0] if first else 1


def open_feeding(
    graph: Graph,
    places: data.Places,
    folder: Path,
    seed: int,
    device: torch.device,
    ranks: Ranks = ALONE,
    resident: bool = False,
    cache: int | None = None,
    workers: int | None = 0,
) -> Feeding:
    """Open every data layer of a graph; with `resident`, what was read stays on the device where it takes up to `cache`
    bytes, None for a quarter of what is free. `workers` processes read for each, None for as many as the machine
    suggests. Raises located LayerErrors, for an Input layer too: nobody feeds it here."""
    sharers = ranks.size if device.type == "cpu" else 1
    opening = data.Opening(
        places, folder, seed, device, resident=resident, cache=cache, workers=workers, sharers=sharers
    )
    streams = []
    for node in graph.sources:
        with infer.place(node.type, node.name, node.locate):
            classes, ignored = _classes(graph, node)
            asked = replace(opening, tops=len(node.outputs), classes=classes, ignored=ignored)
            streams.append(data.open_stream(node.layer, asked))
    return Feeding(streams, ranks.rank, ranks.size)
