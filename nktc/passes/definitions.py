"""What a rewritten node says of itself: its prototxt, whose work it does, names that are free."""

from __future__ import annotations

from nktc.ir import Graph, Node
from nktc.schema import LayerParameter


def changed(node: Node) -> LayerParameter | None:
    """A copy of a node's definition to change, without what it says of single weights."""
    if node.definition is None:
        return None
    copy = LayerParameter()
    copy.CopyFrom(node.definition)
    copy.ClearField("param")
    copy.ClearField("blobs")
    return copy


def joined(*nodes: Node) -> tuple[str, ...]:
    """The layers of the net whose work these nodes do, each once."""
    return tuple(dict.fromkeys(name for node in nodes for name in node.works_for))


def free(graph: Graph, name: str) -> str:
    """That name, or one like it, that no node and no value has."""
    taken = {node.name for node in graph} | set(graph.values)
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found
