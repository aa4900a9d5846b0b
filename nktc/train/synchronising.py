"""BatchNorm over the batches of all ranks."""

from __future__ import annotations

import dataclasses

from nktc.ir import Graph, Node, rewrite
from nktc.layers import BatchNorm


def synchronised(graph: Graph, wanted: bool) -> Graph:
    """The graph in which, where `wanted`, every BatchNorm that takes mean and variance from the batch does so over all
    ranks."""

    def change(node: Node) -> Node:
        if not isinstance(node.layer, BatchNorm) or node.layer.stored:
            return node
        return dataclasses.replace(node, layer=dataclasses.replace(node.layer, over_ranks=True))

    return rewrite.with_nodes(graph, [change(node) for node in graph]) if wanted else graph
