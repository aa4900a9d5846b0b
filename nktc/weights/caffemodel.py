"""Weight files: .caffemodel (binary NetParameter) and .caffemodel.h5, read by layer name with Caffe's rules."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from google.protobuf.message import DecodeError

from nktc.errors import NktcError, near
from nktc.files import atomic, read_bytes
from nktc.ir import Graph, Node, array, definition, times
from nktc.schema import LayerParameter, NetParameter, Phase
from nktc.weights.blob import Part, field, fit, packed, write

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
MOST_BLOBS = 1 << 16  # of a layer


@dataclass(frozen=True)
class Match:
    """What became of a weight file: layers that took weights from it, layers of the net that found none there, and
    layers of the file that the net does not have."""

    taken: tuple[str, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]


Blobs = dict[str, list[np.ndarray | None]]
"""The blobs of layers by their names, f32; None for a weight that the file holds with the layer that owns it."""


def read(path: str | Path) -> Blobs:
    """The blobs of every layer that has some. The kind of file is told by its first bytes."""
    data = read_bytes(path, "weights")
    if data.startswith(HDF5_MAGIC):
        return _read_hdf5(Path(path))
    message = NetParameter()
    try:
        message.ParseFromString(data)
        del data  # of a large net there is one copy too many
        # The oldest files have each layer inside a connection.
        old = [layer.layer if layer.HasField("layer") else layer for layer in message.layers]
        layers: list[Any] = [*message.layer, *old]
        found: Blobs = {layer.name: [array(b) for b in layer.blobs] for layer in layers if layer.blobs}
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
    return match(graph, read(path), path)


def match(graph: Graph, found: Blobs, path: str | Path) -> tuple[Graph, Match]:
    """`attach`, with what `read` found at the path."""
    arrays = dict(graph.arrays)
    taken, missing = [], []
    for node in graph:
        names = _kept(graph, node)
        owned = [graph.parameters[name].layer == node.name for name in names]
        blobs = found.get(node.name, [])
        if not blobs:
            missing += [node.name] * any(owned)
            continue
        if not names:
            continue
        rest = owned[len(blobs) :]
        if len(blobs) > len(names) or any(rest):
            raise NktcError(
                f'layer "{node.name}" has {len(names)} weights, {path} has {len(blobs)} of that name',
                at=node.at,
            )
        for index, (name, values) in enumerate(zip(names, blobs, strict=False)):
            shape = graph.parameters[name].weight.shape
            if values is None and owned[index]:
                raise NktcError(f'{path} lacks weight {index} of layer "{node.name}"', at=node.at)
            fitted = None if values is None else fit(values, shape)
            if values is not None and fitted is None and owned[index]:
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


def save(
    path: str | Path,
    graph: Graph,
    arrays: Mapping[str, np.ndarray],
    diffs: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the weights with the net's definition: HDF5 where `path` ends in .h5, else binary. With `diffs`, by the
    names of weights, also those; zeros for a weight that has none."""
    if str(path).endswith(".h5"):
        _write_hdf5(Path(path), graph, arrays, diffs)
        return
    net = definition(graph)
    layers: list[Part] = []
    for node, layer in zip(graph, net.layer, strict=True):
        layer.phase = Phase.Value(graph.phase.name)
        parts: list[Part] = [layer.SerializeToString()]
        for name in _kept(graph, node):
            parts += field(LayerParameter.BLOBS_FIELD_NUMBER, packed(arrays[name], _diff(arrays[name], name, diffs)))
        layers += field(NetParameter.LAYER_FIELD_NUMBER, parts)
    net.ClearField("layer")
    write(Path(path), [net.SerializeToString(), *layers])


def stored(graph: Graph, arrays: Mapping[str, np.ndarray], hdf5: bool) -> Blobs:
    """What `read` finds in a file that `save` wrote."""
    found: Blobs = {}
    for node in graph:
        names = _kept(graph, node)
        # Of shared weights Caffe puts into HDF5 those of their owner alone.
        held = [arrays[name] if graph.parameters[name].layer == node.name or not hdf5 else None for name in names]
        if any(array is not None for array in held):
            found[node.name] = held
    return found


def _diff(values: np.ndarray, name: str, diffs: Mapping[str, np.ndarray] | None) -> np.ndarray | None:
    if diffs is None:
        return None
    return diffs[name] if name in diffs else np.zeros_like(values)


def _kept(graph: Graph, node: Node) -> list[str]:
    """The weights of a layer that weight files hold, by their names in the graph."""
    return [name for name in node.weights.values() if graph.parameters[name].weight.kept]


def _read_hdf5(path: Path) -> Blobs:
    try:
        with h5py.File(path) as file:
            layers = file.get("data")
            if not isinstance(layers, h5py.Group):
                raise NktcError(f"{path} has no group /data, so it is no .caffemodel.h5")
            return _blobs(layers, "")
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise NktcError(f"{path} is not a whole .caffemodel.h5: {error}") from None


def _blobs(group: h5py.Group, prefix: str) -> Blobs:
    """A layer's group has datasets 0, 1, …; a layer name with slashes is a path of groups."""
    found: Blobs = {}
    numbered = {int(key): value for key, value in group.items() if isinstance(value, h5py.Dataset)}
    if numbered:
        count = max(numbered) + 1
        if not 0 < count <= MOST_BLOBS:
            raise ValueError(f"{prefix} has a blob {count - 1}")
        found[prefix] = [np.asarray(numbered[i], np.float32) if i in numbered else None for i in range(count)]
    for key, inner in group.items():
        if isinstance(inner, h5py.Group):
            name = os.fsdecode(key)  # a key that is not UTF-8 comes as bytes
            found.update(_blobs(inner, f"{prefix}/{name}" if prefix else name))
    return found


def _write_hdf5(
    path: Path, graph: Graph, arrays: Mapping[str, np.ndarray], diffs: Mapping[str, np.ndarray] | None
) -> None:
    held = stored(graph, arrays, hdf5=True)
    # In memory first: HDF5 on a full disk prints traces of its own.
    with io.BytesIO() as memory:
        with h5py.File(memory, "w") as file:
            for node in graph:
                data = file.require_group(f"data/{node.name}")
                for index, values in enumerate(held.get(node.name, [])):
                    if values is not None:
                        data.create_dataset(str(index), data=values)
                if diffs is not None:
                    diff = file.require_group(f"diff/{node.name}")
                    for index, name in enumerate(_kept(graph, node)):
                        diff.create_dataset(str(index), data=_diff(arrays[name], name, diffs))
        with atomic(path) as temporary:
            temporary.write_bytes(memory.getbuffer())
