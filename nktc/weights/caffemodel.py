"""Writes weight files as Caffe does: .caffemodel (binary NetParameter) and .caffemodel.h5."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from nktc.files import atomic
from nktc.ir import Graph, definition
from nktc.schema import LayerParameter, NetParameter, Phase
from nktc.weights.blob import PRODUCER, packed, write
from nktc.weights.contents import Blobs
from nktc.weights.match import kept
from nktc.wire import Part, field


def save(
    path: str | Path,
    graph: Graph,
    arrays: Mapping[str, np.ndarray],
    diffs: Mapping[str, np.ndarray] | None = None,
    hdf5: bool | None = None,
) -> None:
    """Write the weights with the net's definition: HDF5 where `path` ends in .h5, or where `hdf5` says so, else binary.
    With `diffs`, by the names of weights, also those; zeros for a weight that has none."""
    if str(path).endswith(".h5") if hdf5 is None else hdf5:
        _write_hdf5(Path(path), graph, arrays, diffs)
        return
    net = definition(graph)
    net.producer = PRODUCER
    layers: list[Part] = []
    for node, layer in zip(graph, net.layer, strict=True):
        layer.phase = Phase.Value(graph.phase.name)
        parts: list[Part] = [layer.SerializeToString()]
        for name in kept(graph, node):
            parts += field(LayerParameter.BLOBS_FIELD_NUMBER, packed(arrays[name], _diff(arrays[name], name, diffs)))
        layers += field(NetParameter.LAYER_FIELD_NUMBER, parts)
    net.ClearField("layer")
    write(Path(path), [net.SerializeToString(), *layers])


def stored(graph: Graph, arrays: Mapping[str, np.ndarray], hdf5: bool) -> Blobs:
    """What `read` finds in a file that `save` wrote."""
    found: Blobs = {}
    for node in graph:
        names = kept(graph, node)
        # Of shared weights Caffe puts into HDF5 those of their owner alone.
        held = [arrays[name] if graph.parameters[name].layer == node.name or not hdf5 else None for name in names]
        if any(array is not None for array in held):
            found[node.name] = held
    return found


def _diff(values: np.ndarray, name: str, diffs: Mapping[str, np.ndarray] | None) -> np.ndarray | None:
    if diffs is None:
        return None
    return diffs[name] if name in diffs else np.zeros_like(values)


def _write_hdf5(
    path: Path, graph: Graph, arrays: Mapping[str, np.ndarray], diffs: Mapping[str, np.ndarray] | None
) -> None:
    held = stored(graph, arrays, hdf5=True)
    # In memory first: HDF5 on a full disk prints traces of its own. Not closed here: the error of a write holds it.
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for node in graph:
            data = file.require_group(f"data/{node.name}")
            for index, values in enumerate(held.get(node.name, [])):
                if values is not None:
                    data.create_dataset(str(index), data=values)
            if diffs is not None:
                diff = file.require_group(f"diff/{node.name}")
                for index, name in enumerate(kept(graph, node)):
                    diff.create_dataset(str(index), data=_diff(arrays[name], name, diffs))
    with atomic(path) as temporary:
        temporary.write_bytes(memory.getbuffer())
