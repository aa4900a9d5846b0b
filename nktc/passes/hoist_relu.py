"""A ReLU right behind the layer that it can run with."""

from __future__ import annotations

import dataclasses

from nktc.ir import Graph, Node, Phase, rewrite
from nktc.layers import Convolution, Deconvolution, Eltwise, Pooling, ReLU, ReLU6
from nktc.passes.definitions import changed, free


def hoist_relu(graph: Graph) -> Graph:
    """ReLU(MAX Pooling(Convolution(x))) => MAX Pooling(ReLU(Convolution(x))), in a TEST graph.

    The largest value is the same before and after a ReLU, and runtimes run a ReLU with the Convolution before it. A
    Deconvolution or a sum may be in the Convolution's place, a ReLU6 in the ReLU's.
    """
    if graph.phase is not Phase.TEST:
        return graph
    found = graph
    for node in graph:
        if (pool := _behind(found, node)) is not None:
            found = _swapped(found, pool, found.node(node.name))
    return found


def _behind(graph: Graph, relu: Node) -> Node | None:
    """The pooling that a ReLU is to change places with."""
    if not isinstance(relu.layer, ReLU | ReLU6) or relu.layer.negative_slope < 0 or any(relu.loss_weights):
        return None
    pool = graph.producers[relu.inputs[0].name]
    if not isinstance(pool.layer, Pooling) or pool.layer.method != "MAX" or pool.layer.where:
        return None
    size = pool.inputs[0].shape[2:]
    if pool.layer.seeing(size) != pool.layer.positions(size):
        return None  # a window that sees nothing gives the lowest number there is
    maker = graph.producers[pool.inputs[0].name]
    alone = graph.only_reader(pool.outputs[0].name) and graph.only_reader(pool.inputs[0].name)
    plain = isinstance(maker.layer, Convolution | Deconvolution | Eltwise) and len(maker.outputs) == 1
    return pool if alone and plain else None


def _swapped(graph: Graph, pool: Node, relu: Node) -> Graph:
    """The graph with the ReLU before the pooling; what is behind both keeps its name."""
    (x,), (last,) = pool.inputs, relu.outputs
    between = dataclasses.replace(x, name=free(graph, f"{x.name}@{relu.name}"))
    first = dataclasses.replace(relu, inputs=(x,), outputs=(between,), definition=changed(relu))
    second = dataclasses.replace(pool, inputs=(between,), outputs=(last,), definition=changed(pool))
    return rewrite.exchange(graph, {pool.name, relu.name}, [first, second], at=pool.name)
