"""A graph in the layers that BVLC Caffe has, or SSD's branch of it: for tools that read nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import Message

from nktc.convert.draft import Draft
from nktc.convert.rewriting import REWRITES, Layers
from nktc.convert.shuffles import recognise_shuffles
from nktc.errors import LayerError, NktcError, raise_all
from nktc.ir import Graph, Node, Phase, catalogue, definition, infer
from nktc.layers import ReLU6
from nktc.schema import LayerParameter, wire_fields

DIALECTS = {"bvlc": "BVLC", "ssd": "SSD"}
"""Dialects that can be written, with their names in nktc.schema."""

BOTH = (
    "AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Concat Convolution Crop Deconvolution Dropout DummyData"
    " ELU Eltwise Embed Exp Filter Flatten HDF5Data Im2col Input InnerProduct LRN LSTM Log MVN PReLU Parameter Pooling"
    " Power RNN ReLU Reduction Reshape SPP Scale Sigmoid Silence Slice Softmax Split TanH Threshold Tile"
)
TYPES = {
    "bvlc": {*BOTH.split(), "Clip", "Swish"},
    # It was branched off before Clip and Swish came.
    "ssd": {*BOTH.split(), "Permute", "Normalize", "PriorBox", "DetectionOutput"},
}
"""The layer types of each, as far as nets that infer have them."""

LATER = {"bvlc": (), "ssd": ("round_mode",)}
"""Settings that BVLC Caffe got after the dialect was branched off."""


def to_caffe(graph: Graph, dialect: str = "bvlc") -> Graph:
    """The same net in today's syntax with the types and settings of a dialect alone. Values keep their names.

    Raises an NktcError for each layer that cannot be said with those.
    """
    if any(value.dtype.value != "f32" for value in graph.values.values()) or graph.grids:
        raise NktcError(
            f"{graph.name} computes in fewer than 32 bits, which Caffe does not", help="convert the net itself"
        )
    graph = recognise_shuffles(graph)
    made = Layers(Draft(graph.name), dialect, graph)
    refused: list[NktcError] = []
    layers = definition(graph).layer
    _part(graph, layers, dialect)
    for node, layer in zip(graph, layers, strict=True):
        try:
            with infer.place(node.type, node.name, node.locate):
                _write(
                    made, node, layer, [graph.arrays[name] for name in node.weights.values() if name in graph.arrays]
                )
        except NktcError as error:
            refused.append(error)
    raise_all(refused)
    written = made.draft.graph(graph.name)
    return dataclasses.replace(written, preprocessing=graph.preprocessing, labels=graph.labels, wanted=graph.wanted)


def _write(made: Layers, node: Node, layer: LayerParameter, arrays: Sequence[np.ndarray]) -> None:
    """One layer, as it is or by others. Raises LayerError."""
    plain, foreign = _plain(node, layer, made.dialect)
    if plain:
        made.keep(plain, arrays)
        return
    called = DIALECTS[made.dialect]
    if node.type not in REWRITES and foreign:
        raise LayerError(f"its {' and '.join(foreign)} is nothing that {called} Caffe has", field=foreign[0])
    if node.type not in REWRITES:
        help = "give --caffe ssd" if node.type in TYPES["ssd"] else "write .onnx"
        raise LayerError(f"no layers of {called} Caffe do its work", help=help)
    made.begin(node, layer, arrays)
    REWRITES[node.type](made, node)


def _plain(node: Node, layer: LayerParameter, dialect: str) -> tuple[LayerParameter | None, list[str]]:
    """A layer without the settings that a dialect lacks, and these; None where they matter, or it lacks the type."""
    if node.type not in TYPES[dialect]:
        return None, []
    plain = LayerParameter()
    plain.CopyFrom(layer)
    plain.type = node.type  # a fork may call it otherwise
    foreign = _strip(plain, dialect)
    if node.layer.source and foreign:
        # What would be left of how pictures are prepared would mean something else.
        plain.ClearField("transform_param")
    elif foreign and not _same(node, plain):
        return None, foreign
    return plain, foreign


def _part(graph: Graph, layers: Sequence[LayerParameter], dialect: str) -> None:
    """Give what becomes several layers blobs of its own where it works in place, since not all of these do."""
    taken = {blob for layer in layers for blob in (*layer.bottom, *layer.top)} | {*graph.values}
    fed = {value.name for value in graph.inputs}
    for i, (node, own) in enumerate(zip(graph, layers, strict=True)):
        shared = set(own.top) & set(own.bottom)
        if not shared or _plain(node, own, dialect)[0] or (dialect == "bvlc" and node.layer == ReLU6()):
            continue
        for blob in shared:
            if blob in fed:
                # What is fed keeps its name, as in the graph.
                name = node.outputs[0].name
                own.top[:] = [name if top == blob else top for top in own.top]
                changed = layers[i + 1 :]
            else:
                name = f"{blob}/{own.name}"
                while name in taken:
                    name += "'"
                taken.add(name)
                own.bottom[:] = [name if bottom == blob else bottom for bottom in own.bottom]
                changed = layers[:i]
            for layer in changed:
                layer.top[:] = [name if top == blob else top for top in layer.top]
                layer.bottom[:] = [name if bottom == blob else bottom for bottom in layer.bottom]


def _same(node: Node, layer: LayerParameter) -> bool:
    """Whether a layer without the settings of forks is the same layer."""
    kind = catalogue()[layer.type]
    try:
        read = kind.read(*(getattr(layer, param) for param in kind.param), Phase.TEST).with_tops(len(layer.top))
    except LayerError:
        return False
    ours: Any = node.layer
    if getattr(ours, "overwrites", False):  # which says where it stands, not what it does
        ours = dataclasses.replace(ours, overwrites=False)
    return bool(ours == read)


def _strip(message: Message, dialect: str) -> list[str]:
    """Take out the fields that a dialect does not have; gives their paths."""
    known = {field.name for field in wire_fields(DIALECTS[dialect], message.DESCRIPTOR.name).values()}
    known.difference_update(LATER[dialect])
    found = []
    for field, value in message.ListFields():
        if field.name not in known:
            message.ClearField(field.name)
            found.append(field.name)
        elif isinstance(value, Message):
            found += [f"{field.name}.{inner}" for inner in _strip(value, dialect)]
    return found
