"""The net to infer with, made from the net to test with."""

from __future__ import annotations

import dataclasses

from nktc.errors import NktcError
from nktc.ir import Graph, Node, Preprocessing, Shape, Value, rewrite
from nktc.layers import Accuracy, EuclideanLoss, Input, Softmax, SoftmaxWithLoss
from nktc.schema import BlobShape, InputParameter, LayerParameter


def deploy(graph: Graph, preprocessing: dict[str, Preprocessing] | None = None) -> Graph:
    """data -> Input of one item, SoftmaxWithLoss(x, label) -> Softmax(x), other losses and accuracies -> nothing.

    `preprocessing` says by input value what a picture goes through. What is computed from labels alone goes too. A
    graph that is deployed already comes back as it is. Raises NktcError where nothing would be left.
    """
    fed = [node for node in graph.sources if not isinstance(node.layer, Input)]
    ends = [node for node in graph if node.layer.loss or isinstance(node.layer, Accuracy)]
    if not fed and not ends:
        return graph
    known = dict(preprocessing or {})
    nodes: list[Node] = []
    wanted: list[str] = []
    dropped: set[str] = {value.name for node in fed for value in node.outputs}
    for node in graph:
        if node in fed:
            nodes += [_input(value, node) for value in node.outputs]
        elif isinstance(node.layer, SoftmaxWithLoss):
            softmax = _softmax(node, graph)
            if softmax.inputs[0] not in {n.inputs[0] for n in nodes if isinstance(n.layer, Softmax)}:
                nodes.append(softmax)
                wanted.append(softmax.outputs[0].name)
        elif node in ends:
            if isinstance(node.layer, EuclideanLoss):
                wanted.append(node.inputs[0].name)
        else:
            nodes.append(node)
    removed = {node.name for node in ends}
    wanted += [
        value.name
        for value in graph.outputs
        if graph.producers[value.name].name not in removed and value.name not in dropped
    ]
    if not wanted:
        raise NktcError(f"nothing of {graph.name} is left to infer with: it computes no value but losses")
    smaller = rewrite.keep(rewrite.with_nodes(graph, nodes), wanted)
    smaller = dataclasses.replace(
        smaller, preprocessing={v.name: known[v.name] for v in smaller.inputs if v.name in known}
    )
    return rewrite.with_batch(smaller, 1)


def _input(value: Value, source: Node) -> Node:
    """An Input in the place of one top of a data layer."""
    shape: Shape = (1, *value.shape[1:])
    definition = LayerParameter(name=value.name, type="Input", top=[value.name])
    definition.input_param.CopyFrom(InputParameter(shape=[BlobShape(dim=shape)]))
    return Node(value.name, Input((shape,)), (), (value,), definition=definition, locate=source.locate)


def _softmax(loss: Node, graph: Graph) -> Node:
    """The Softmax inside a SoftmaxWithLoss, called prob as in Caffe's own deploy nets."""
    layer = loss.layer
    assert isinstance(layer, SoftmaxWithLoss)
    taken = {node.name for node in graph} | set(graph.values)
    losses = [node for node in graph if isinstance(node.layer, SoftmaxWithLoss)]
    name = "prob" if "prob" not in taken and len(losses) == 1 else f"{loss.name}_prob"
    scores = loss.inputs[0]
    definition = LayerParameter(name=name, type="Softmax", bottom=[scores.name.partition("@")[0]], top=[name])
    if layer.axis != 1:
        definition.softmax_param.axis = layer.axis
    output = Value(name, scores.shape, scores.dtype)
    return Node(name, Softmax(layer.axis), (scores,), (output,), definition=definition, locate=loss.locate)
