"""A graph as the message it could have been read from."""

from __future__ import annotations

from collections.abc import Sequence

from nktc.ir.graph import Graph
from nktc.ir.value import Value
from nktc.schema import LayerParameter, NetParameter


def definition(graph: Graph) -> NetParameter:
    """The net's layers as they were written or as a rewrite defined them, for this phase alone: rules of other phases
    are gone, and so are weights."""
    net = NetParameter(name=graph.name)
    if graph.force_backward:
        net.force_backward = True
    for node in graph:
        layer = net.layer.add()
        layer.CopyFrom(node.definition or LayerParameter(type=node.type))
        for field in ("include", "exclude", "blobs", "phase"):
            layer.ClearField(field)
        # A rewrite may have connected it otherwise.
        layer.bottom[:] = _blobs(node.inputs, layer.bottom)
        layer.top[:] = _blobs(node.outputs, layer.top)
        layer.name = node.name
    return net


def _blobs(values: Sequence[Value], said: Sequence[str]) -> list[str]:
    """The blobs that values are or are versions of; those that are `said` already stay, whatever is in their names."""
    kept = [*said, *[""] * (len(values) - len(said))]
    return [
        blob if value.name == blob or value.name.startswith(f"{blob}@") else value.name.partition("@")[0]
        for value, blob in zip(values, kept, strict=True)
    ]
