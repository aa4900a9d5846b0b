"""A graph as the message it could have been read from."""

from __future__ import annotations

from nktc.ir.graph import Graph, Node
from nktc.ir.value import Value
from nktc.schema import LayerParameter, NetParameter


def definition(graph: Graph) -> NetParameter:
    """The net's layers as they were written or as a rewrite defined them, for this phase alone: rules of other phases
    are gone, and so are weights."""
    net = NetParameter(name=graph.name)
    if graph.force_backward:
        net.force_backward = True
    blobs = _blobs(graph)
    for node in graph:
        layer = net.layer.add()
        layer.CopyFrom(node.definition or LayerParameter(type=node.type))
        for field in ("include", "exclude", "blobs", "phase"):
            layer.ClearField(field)
        # A rewrite may have connected it otherwise.
        layer.bottom[:] = [blobs[value.name] for value in node.inputs]
        layer.top[:] = [blobs[value.name] for value in node.outputs]
        layer.name = node.name
    return net


def _blobs(graph: Graph) -> dict[str, str]:
    """The blob of each value by name. Versions of a blob share it where each is written over the one before in place,
    once nobody reads that any more; others get blobs of their own."""
    place = {node.name: i for i, node in enumerate(graph)}
    base = {value.name: _base(node, value) for node in graph for value in node.outputs}
    chains: list[list[str]] = []
    chain_of: dict[str, list[str]] = {}
    for node in graph:
        for position, value in enumerate(node.outputs):
            under = _overwritten(graph, node, position, place)
            chain = chain_of[under] if under and base[under] == base[value.name] else []
            if not chain:
                chains.append(chain)
            chain.append(value.name)
            chain_of[value.name] = chain
    # The version that is called as the blob keeps it.
    chains.sort(key=lambda chain: base[chain[0]] not in chain)
    blobs: dict[str, str] = {}
    for chain in chains:
        name = blob = base[chain[0]]
        number = 2
        while blob in blobs.values():
            blob, number = f"{name}_{number}", number + 1
        blobs |= dict.fromkeys(chain, blob)
    return blobs


def _base(node: Node, value: Value) -> str:
    """The blob that a value is or is a version of; one that the layer makes already stays, whatever is in its name."""
    for blob in node.definition.top if node.definition else ():
        if value.name == blob or value.name.startswith(f"{blob}@"):
            return blob
    return value.name.partition("@")[0]


def _overwritten(graph: Graph, node: Node, position: int, place: dict[str, int]) -> str:
    """The input that a node may write an output over, since nobody reads it later; empty where there is none."""
    if not node.layer.in_place or position >= len(node.inputs):
        return ""
    under = node.inputs[position].name
    last = max(place[reader.name] for reader in graph.readers[under])
    return under if last == place[node.name] and under not in graph.wanted else ""
