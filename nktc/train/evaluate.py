"""Evaluation of a test net: its outputs averaged over batches, or over every record of its data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nktc.errors import LayerError, NktcError
from nktc.ir import Graph, Shape, infer, times
from nktc.train.feeding import Feeding, batch_of
from nktc.train.ranks import ALONE, Ranks
from nktc.train.step import Objective


@torch.inference_mode()
def evaluate(
    objective: Objective,
    feeding: Feeding,
    iterations: int,
    ranks: Ranks = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, Tensor], Tensor] | None:
    """The mean of every output over `iterations` batches, and of the objective; None when `stop` said so.

    0 iterations take every record once, whatever the batch: the last one is cut, and a batch counts for the records it
    has. What has an axis for the records of a batch is averaged place by place, as Caffe does. The ranks share the
    batches out, call `stop` equally often, and all get the same result. Raises what `check_whole` raises.
    """
    graph, records, size = objective.net.graph, iterations, 1
    if not iterations:
        check_whole(graph, feeding)
        records, size = feeding.records, feeding.size_of_batch
    shapes = {value.name: value.shape for value in graph.outputs} | {"": ()}
    # Sums and how many batches are in them: a batch that is cut lacks the last places.
    sums = {name: torch.zeros(2, *shape, dtype=torch.float64, device=feeding.device) for name, shape in shapes.items()}
    batches = feeding.ahead(0)
    turns = math.ceil(records / size)
    for first in range(0, turns, ranks.size):
        if stop():  # all ranks ask, also one for which the last turn has no batch
            return None
        k = first + ranks.rank
        if k >= turns:
            break
        rows = min(size, records - k * size)
        inputs = next(batches)
        loss, outputs = objective(*(tuple(x[:rows] for x in inputs) if rows < size else inputs))
        for name, (total, count) in sums.items():
            value = outputs[name] if name else loss
            places = tuple(slice(n) for n in value.shape)
            total[places] += value.double() * (rows / size)
            count[places] += rows / size
    ranks.total(list(sums.values()))
    means = {name: (total / count.clamp(min=1e-9)).float() for name, (total, count) in sums.items()}
    return {name: mean for name, mean in means.items() if name}, means[""]


def check_whole(graph: Graph, feeding: Feeding) -> None:
    """Refuse a net that cannot take every record once: sources that do not end together, and layers that do not take
    the last batch where that is smaller. Raises an NktcError, located where a layer is to blame."""
    records, size = feeding.records, feeding.size_of_batch
    if not records:
        raise NktcError("the data has no end, so it cannot be tested whole", help="give test_iter")
    longest = next(n for n, s in zip(graph.sources, feeding.streams, strict=True) if s is feeding.longest)
    for node, stream in zip(graph.sources, feeding.streams, strict=True):
        with infer.place(node.type, node.name, node.locate):
            found = (stream.feed.records or records, batch_of(stream))
            if found != (records, size):
                problem = (
                    f'has {found[0]} records, {found[1]} in a batch, "{longest.name}" {records}, {size} in a batch:'
                    " there is no test of every record once"
                )
                raise LayerError(problem, field="batch_size", help="make them equal, or give test_iter")
    if rows := records % size:
        _check_last(graph, records, rows)


def _check_last(graph: Graph, records: int, rows: int) -> None:
    """Refuse layers that do not take a batch of `rows`."""
    shapes: dict[str, Shape] = {value.name: (rows, *value.shape[1:]) for value in graph.inputs}
    for node in graph:
        if node.layer.source:
            continue
        given = [shapes[value.name] for value in node.inputs]
        with infer.place(node.type, node.name, node.locate):
            try:
                made = infer.shapes(node.layer, given)
                whole = infer.weights(node.layer, [value.shape for value in node.inputs])
                for name, weight in infer.weights(node.layer, given).items():
                    if weight.shape != whole[name].shape:
                        raise LayerError(f"its {name} would be {times(weight.shape)}, not {times(whole[name].shape)}")
            except LayerError as error:
                problem = f"does not take the last {rows} of {records} records: {error.message}"
                help = f"choose a batch_size that divides {records}, or give test_iter"
                raise LayerError(problem, field=error.field, help=help) from None
        shapes |= {value.name: shape for value, shape in zip(node.outputs, made, strict=True)}
