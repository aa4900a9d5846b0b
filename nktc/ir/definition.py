"""A graph as the message it could have been read from."""

from __future__ import annotations

from nktc.ir.graph import Graph
from nktc.schema import LayerParameter, NetParameter


def definition(graph: Graph) -> NetParameter:
    """The net's layers as they were written or as a rewrite defined them, for this phase alone: rules of other phases
    are gone, and so are weights."""
    net = NetParameter(name=graph.name)
    if graph.force_backward:
        net.force_backward = True
    for node in graph:
        layer = net.layer.add()
        if node.definition is not None:
            layer.CopyFrom(node.definition)
            for field in ("include", "exclude", "blobs", "phase"):
                layer.ClearField(field)
        else:
            layer.CopyFrom(LayerParameter(type=node.type))
            layer.bottom.extend(value.name for value in node.inputs)
            layer.top.extend(value.name for value in node.outputs)
        layer.name = node.name
    return net
