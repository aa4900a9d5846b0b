"""`nktc test`: a trained net's outputs over its test data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nktc import data, module, reader, weights
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.train.evaluate import check_whole
from nktc.train.feeding import open_feeding, skips
from nktc.train.hooks import numbers

CAFFES = 50  # batches where the data has no end


@torch.inference_mode()
def score(
    model: Path,
    files: Sequence[str],
    iterations: int | None,
    device: str,
    places: data.Places,
    level: int | None = None,
    stages: Sequence[str] = (),
) -> Iterator[str]:
    """The lines of `caffe test`: every batch's outputs, then the means. Without `iterations` every record once; a
    batch counts for the records it has, and a net that takes no smaller batch begins anew in its last. Raises
    NktcError."""
    net_file = reader.read_net(model)
    graph = reader.build(
        net_file,
        Phase.TEST,
        level=level,
        stages=stages,
        feeds=lambda layer: data.describe(layer, net_file.folder),
    )
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
    if chosen.type == "cpu":
        module.keep_freed()
    feeding = open_feeding(graph, places, net_file.folder, seed=0, device=chosen)
    for stream in feeding.streams:
        if stream.stand_in:
            yield f"STAND-IN DATA: {stream.missing}; tested on {stream.stand_in} instead"
    net = module.compile(graph).to(chosen)
    weight = dict(graph.losses)
    size = feeding.size_of_batch
    records = iterations * size if iterations else feeding.records or CAFFES * size
    try:
        if not iterations and feeding.records:
            check_whole(graph, feeding)
    except NktcError:
        records = math.ceil(records / size) * size  # the last batch goes around
    # Sums and how many records are in them, place by place: a batch that is cut may lack the last places.
    sums: dict[str, Tensor] = {}
    objective = 0.0
    batches = feeding.ahead(0)
    for batch in range(math.ceil(records / size)):
        rows = min(size, records - batch * size)
        inputs = next(batches)
        values = net(*(tuple(x[:rows] for x in inputs) if rows < size else inputs))
        objective += net.loss(values).item() * rows / records
        for output in graph.outputs:
            value = values[output.name].double().cpu()
            total, count = sums.setdefault(output.name, torch.zeros(2, *value.shape, dtype=torch.float64))
            within = tuple(slice(n) for n in value.shape)
            total[within] += value * rows
            count[within] += rows
        for name, number in numbers(values, graph):
            yield f"Batch {batch}, {name} = {number:g}"
    for node, skipped in feeding.skipped(graph):
        yield skips(node, skipped)
    yield f"Loss: {objective:g}"
    for name, mean in numbers({name: total / count for name, (total, count) in sums.items()}, graph):
        factor = weight.get(name, 0.0)
        yield f"{name} = {mean:g}" + (f" (* {factor:g} = {factor * mean:g} loss)" if factor else "")
