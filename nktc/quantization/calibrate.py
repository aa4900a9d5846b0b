"""A net run over samples: the range of every blob."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from nktc import module
from nktc.errors import NktcError
from nktc.ir import DType, Graph
from nktc.quantization.histogram import Histogram
from nktc.quantization.table import Entry, Table
from nktc.quantization.thresholds import method

Feeds = Mapping[str, np.ndarray]


def calibrate(graph: Graph, samples: Iterable[Feeds], rule: str = "entropy") -> Table:
    """The table of a graph in f32, by what its blobs hold for `samples`: inputs by name, batch in axis 0.

    Raises NktcError where there are none, and where a blob is not finite.
    """
    cut = method(rule)
    histograms, records = observe(graph, samples)
    if not records:
        raise NktcError(
            "there is nothing to calibrate with", help="give --calibrate PICTURES, or a net with data layers"
        )
    wrong = [name for name, histogram in histograms.items() if not histogram.finite]
    if wrong:
        at = graph.producers[wrong[0]].at
        raise NktcError(
            f'the blob "{wrong[0]}" holds numbers that are not finite', at=at, help="8 bits cannot hold them"
        )
    return Table(graph.name, rule, records, {name: _entry(found, cut(found)) for name, found in histograms.items()})


@torch.inference_mode()
def observe(graph: Graph, samples: Iterable[Feeds]) -> tuple[dict[str, Histogram], int]:
    """A histogram of every f32 blob over the samples, and how many records they were."""
    net = module.compile(graph)
    histograms = {value.name: Histogram() for value in graph.values.values() if value.dtype is DType.F32}
    records = 0
    for feeds in samples:
        values = net.values(*(torch.from_numpy(feeds[value.name]) for value in graph.inputs))
        for name, histogram in histograms.items():
            histogram.add(values[name])
        records += len(next(iter(feeds.values())))
    return histograms, records


def _entry(found: Histogram, cut: float) -> Entry:
    return Entry(max(found.low, -cut), min(found.high, cut), found.low, found.high)
