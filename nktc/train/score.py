"""`nktc test`: a trained net's outputs over its test data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from nktc import data, module, reader, weights
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.train.feeding import open_feeding
from nktc.train.hooks import numbers


@torch.inference_mode()
def score(model: Path, files: Sequence[str], iterations: int | None, device: str, places: data.Places) -> Iterator[str]:
    """The lines of `caffe test`: every batch's outputs, then the means. Without `iterations` the whole test set once,
    rounded up to whole batches. Raises NktcError."""
    net_file = reader.read_net(model)
    graph = reader.build(net_file, Phase.TEST, feeds=lambda layer: data.describe(layer, net_file.folder))
    if not graph:
        raise NktcError(f"{model} has nothing to report in the TEST phase", help="end it in a loss or an Accuracy")
    for file in files:
        graph, _ = weights.attach(graph, file)
    missing = dict.fromkeys(
        p.layer for name, p in graph.parameters.items() if p.weight.kept and name not in graph.arrays
    )
    if missing:
        raise NktcError(f"{' and '.join(files)} has no weights for {', '.join(missing)}")
    chosen, _ = module.choose(device, gpu_wanted=torch.cuda.is_available())
    feeding = open_feeding(graph, places, net_file.folder, seed=0, device=chosen)
    for stream in feeding.streams:
        if stream.stand_in:
            yield f"STAND-IN DATA: {stream.missing}; tested on {stream.stand_in} instead"
    net = module.compile(graph).to(chosen)
    weight = dict(graph.losses)
    count = iterations or _whole(
        [
            (stream.feed.records, node.outputs[0].shape[0])
            for stream, node in zip(feeding.streams, graph.sources, strict=True)
        ]
    )
    totals: list[float] = []
    names: list[str] = []
    objective = 0.0
    batches = feeding.ahead(0)
    for batch in range(count):
        values = net(*next(batches))
        objective += net.loss(values).item() / count
        found = list(numbers(values, graph))
        names = [name for name, _ in found]
        totals = [a + b for a, (_, b) in zip(totals or [0.0] * len(found), found, strict=True)]
        for name, value in found:
            yield f"Batch {batch}, {name} = {value:g}"
    yield f"Loss: {objective:g}"
    for name, total in zip(names, totals, strict=True):
        mean, factor = total / count, weight.get(name, 0.0)
        yield f"{name} = {mean:g}" + (f" (* {factor:g} = {factor * mean:g} loss)" if factor else "")


def _whole(sources: Sequence[tuple[int | None, int]]) -> int:
    """Batches that cover the largest source; Caffe's 50 where the sources have no end."""
    return max((math.ceil(records / batch) for records, batch in sources if records), default=50)
