"""Put BatchNorm, BN, Scale and Bias into the weights of the layer beside them."""

from __future__ import annotations

from nktc.ir import Graph, Phase
from nktc.layers import BN, BatchNorm, Bias, Scale
from nktc.passes.affine import MATRIX, fold_before, fold_behind

KINDS = (BatchNorm, BN, Scale, Bias)


def fold_batch_norm(graph: Graph) -> Graph:
    """y = BatchNorm, BN, Scale or Bias(Convolution, Deconvolution or InnerProduct(x)) => that layer(x), and so where
    they stand before it and are exact at its border; in a TEST graph, with all weights known."""
    if graph.phase is not Phase.TEST:
        return graph
    for name in [node.name for node in graph if isinstance(node.layer, MATRIX)]:
        for fold in (fold_behind, fold_before):
            while (folded := fold(graph, graph.node(name), KINDS)) is not None:
                graph = folded
    return graph
