"""Weight files: .caffemodel (binary NetParameter) and .caffemodel.h5, read by layer name with Caffe's rules."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from google.protobuf.message import DecodeError

from nktc.errors import NktcError, near
from nktc.files import read_bytes, write_bytes
from nktc.ir import Graph, Node, array, definition, times
from nktc.schema import NetParameter, Phase
from nktc.weights.blob import blob, fit

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Match:
    """What became of a weight file: layers that took weights from it, layers of the net that found none there, and
    layers of the file that the net does not have."""

    taken: tuple[str, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]


def read(path: str | Path) -> dict[str, list[np.ndarray]]:
    """The blobs of every layer that has some, by layer name, f32. The kind of file is told by its first bytes."""
    data = read_bytes(path, "weights")
    if data.startswith(HDF5_MAGIC):
        return _read_hdf5(Path(path))
    message = NetParameter()
    try:
        message.ParseFromString(data)
        # The oldest files have each layer inside a connection.
        old = [layer.layer if layer.HasField("layer") else layer for layer in message.layers]
        layers: list[Any] = [*message.layer, *old]
        found = {layer.name: [array(b) for b in layer.blobs] for layer in layers if layer.blobs}
    except (DecodeError, NktcError) as error:
        reason = error.message if isinstance(error, NktcError) else "its bytes are no NetParameter"
        raise NktcError(f"{path} is not a whole .caffemodel: {reason}") from None
    if not found:
        raise NktcError(f"{path} holds no weights", help="give a .caffemodel or .caffemodel.h5 that a solver wrote")
    return found


def attach(graph: Graph, path: str | Path) -> tuple[Graph, Match]:
    """The graph with the weights of a file, matched by layer name.

    As in Caffe, layers of the file that the net lacks are passed over and layers that the file lacks keep what they
    have; a matched layer must agree in the number and the shapes of its weights. Raises NktcError.
    """
    found = read(path)
    arrays = dict(graph.arrays)
    taken, missing = [], []
    for node in graph:
        names = _kept(graph, node)
        if not names:
            continue
        if node.name not in found:
            missing.append(node.name)
            continue
        blobs = found[node.name]
        if len(blobs) != len(names):
            raise NktcError(
                f'layer "{node.name}" has {len(names)} weights, {path} has {len(blobs)} of that name',
                at=node.at,
            )
        for index, (name, values) in enumerate(zip(names, blobs, strict=True)):
            shape = graph.parameters[name].weight.shape
            fitted = fit(values, shape)
            if fitted is None and graph.parameters[name].layer == node.name:
                raise NktcError(
                    f'weight {index} of layer "{node.name}" is {times(shape)}, in {path} it is {times(values.shape)}',
                    at=node.at,
                    help="rename the layer to train it afresh",
                )
            if fitted is not None:
                arrays[name] = fitted
        taken.append(node.name)
    if not taken and missing:
        help = near(missing[0], found)
        raise NktcError(f"{path} has weights for no layer of the net; it has {', '.join(list(found)[:5])}", help=help)
    layers = {node.name for node in graph}
    ignored = tuple(name for name in found if name not in layers)
    return dataclasses.replace(graph, arrays=arrays), Match(tuple(taken), tuple(missing), ignored)


def save(path: str | Path, graph: Graph, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the weights with the net's definition: HDF5 where `path` ends in .h5, else binary."""
    if str(path).endswith(".h5"):
        _write_hdf5(Path(path), graph, arrays)
        return
    message = definition(graph)
    for node, layer in zip(graph, message.layer, strict=True):
        layer.phase = Phase.Value(graph.phase.name)
        layer.blobs.extend(blob(arrays[name]) for name in _kept(graph, node))
    write_bytes(path, message.SerializeToString())


def _kept(graph: Graph, node: Node) -> list[str]:
    """The weights of a layer that weight files hold, by their names in the graph."""
    return [name for name in node.weights.values() if graph.parameters[name].weight.kept]


def _read_hdf5(path: Path) -> dict[str, list[np.ndarray]]:
    try:
        with h5py.File(path) as file:
            layers = file.get("data")
            if not isinstance(layers, h5py.Group):
                raise NktcError(f"{path} has no group /data, so it is no .caffemodel.h5")
            return _blobs(layers, "")
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise NktcError(f"{path} is not a whole .caffemodel.h5: {error}") from None


def _blobs(group: h5py.Group, prefix: str) -> dict[str, list[np.ndarray]]:
    """A layer's group has datasets 0, 1, …; a layer name with slashes is a path of groups."""
    found: dict[str, list[np.ndarray]] = {}
    numbered: Sequence[str] = sorted((k for k, v in group.items() if isinstance(v, h5py.Dataset)), key=_number)
    if numbered:
        found[prefix] = [np.asarray(group[key], np.float32) for key in numbered]
    for key, inner in group.items():
        if isinstance(inner, h5py.Group):
            name = os.fsdecode(key)  # a key that is not UTF-8 comes as bytes
            found.update(_blobs(inner, f"{prefix}/{name}" if prefix else name))
    return found


def _number(key: str) -> int:
    return int(key) if key.isdigit() else 1 << 30


def _write_hdf5(path: Path, graph: Graph, arrays: Mapping[str, np.ndarray]) -> None:
    # In memory first: HDF5 on a full disk prints traces of its own.
    with io.BytesIO() as memory:
        with h5py.File(memory, "w") as file:
            for node in graph:
                group = file.require_group(f"data/{node.name}")
                for index, name in enumerate(_kept(graph, node)):
                    group.create_dataset(str(index), data=arrays[name])
        write_bytes(path, memory.getvalue())
