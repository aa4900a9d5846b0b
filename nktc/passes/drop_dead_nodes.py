"""Remove layers whose work nobody sees."""

from __future__ import annotations

from nktc.ir import Graph, Phase, rewrite
from nktc.layers import Silence


def drop_dead_nodes(graph: Graph) -> Graph:
    """Silence, and what neither an output nor a loss is computed from => nothing, in a TEST graph; inputs stay."""
    if graph.phase is not Phase.TEST:
        return graph
    heard = [node for node in graph if not isinstance(node.layer, Silence)]
    pinned = rewrite.pinned(graph)
    smaller = rewrite.living(rewrite.with_nodes(pinned, heard) if len(heard) < len(graph) else pinned)
    return graph if smaller is pinned else smaller
