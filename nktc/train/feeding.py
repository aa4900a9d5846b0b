"""The batches of a net: every data layer's stream, in the order of the graph's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from nktc import data
from nktc.ir import Graph, Node, infer
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

    def skipped(self, graph: Graph) -> Iterator[tuple[Node, Mapping[int, str]]]:
        """The sources of `graph` with records that could not be used, and what was wrong with each."""
        for node, stream in zip(graph.sources, self.streams, strict=True):
            if stream.skipped:
                yield node, stream.skipped

    def ahead(self, start: int) -> Iterator[tuple[Tensor, ...]]:
        """Batches from `start` on; streams that read files read ahead."""
        return data.read_ahead(self, start)


def skips(node: Node, skipped: Mapping[int, str]) -> str:
    """What is said of the records that a layer passed over."""
    count = len(skipped)
    records = "1 record was" if count == 1 else f"{count} records were"
    return f"layer {node.name}: {records} skipped, others took their places"


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
    opening = data.Opening(places, folder, seed, device, resident=resident, cache=cache, workers=workers)
    streams = []
    for node in graph.sources:
        with infer.place(node.type, node.name, node.locate):
            streams.append(data.open_stream(node.layer, replace(opening, tops=len(node.outputs))))
    return Feeding(streams, ranks.rank, ranks.size)
