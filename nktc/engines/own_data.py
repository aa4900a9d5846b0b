"""The records that a net's own data layers read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nktc import data, models, reader, runs, train
from nktc.engines.feeds import Feeds
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.layers import Input


@dataclass(frozen=True)
class OwnRecords:
    """Batches of inputs by name, as the net's data layers make them; `labels` has a row of class numbers a batch, or is
    empty. `about` says how many records of which part they are."""

    feeds: tuple[Feeds, ...]
    labels: tuple[np.ndarray, ...]
    about: str


def own_records(model: Path, taken: Collection[str], phase: Phase, most: int, places: data.Places) -> OwnRecords | None:
    """The first records that the data layers of a net, or of a run's net, read in a phase, for the inputs `taken` of
    its deployed form; None where it has no data layers that feed them. Raises NktcError where their data cannot be
    read."""
    net = model
    if model.is_dir():
        run = runs.open_run(model)
        net = run.net(None if phase is Phase.TRAIN else 0)
        net = net if net.exists() else run.net(None)
    file = reader.read_net(net)
    try:
        whole = reader.build(file, phase, feeds=models.feeds(file))
    except NktcError:
        return None
    fed = [value.name for value in whole.inputs]
    if not {*taken} <= {*fed} or any(isinstance(node.layer, Input) for node in whole.sources):
        return None
    feeding = train.open_feeding(whole, places, file.folder, seed=0, device=torch.device("cpu"))
    records = min(most, feeding.records or most)
    batches = feeding.ahead(0)
    label = next((n.outputs[1].name for n in whole.sources if len(n.outputs) > 1 and n.outputs[0].name in taken), "")
    feeds, labels, seen = [], [], 0
    while seen < records:
        values = dict(zip(fed, next(batches), strict=True))
        rows = min(records - seen, feeding.size_of_batch)
        feeds.append({name: values[name][:rows].float().numpy() for name in taken})
        if label and values[label].numel() == len(values[label]):
            labels.append(values[label][:rows].reshape(-1).long().numpy())
        seen += rows
    part = "training" if phase is Phase.TRAIN else "test"
    return OwnRecords(tuple(feeds), tuple(labels), f"{seen} records of the {part} data")
