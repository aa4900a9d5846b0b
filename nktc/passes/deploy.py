"""The net to infer with, made from the net to test with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from nktc.errors import LayerError, NktcError
from nktc.ir import Graph, Node, Preprocessing, Shape, Value, rewrite
from nktc.layers import Accuracy, EuclideanLoss, Input, Softmax, SoftmaxWithLoss
from nktc.schema import BlobShape, InputParameter, LayerParameter


def deploy(graph: Graph, preprocessing: dict[str, Preprocessing] | None = None) -> Graph:
    """data -> Input of one item, SoftmaxWithLoss(x, label) -> Softmax(x), other losses and accuracies -> nothing.

    A net that is written for its batch, as by a Reshape, keeps it. `preprocessing` says by input value what a picture
    goes through. What is computed from labels alone goes too. A graph that is deployed already comes back as it is.
    Raises NktcError where nothing would be left.
    """
    fed = [node for node in graph.sources if not isinstance(node.layer, Input)]
    ends = [node for node in graph if node.layer.loss or isinstance(node.layer, Accuracy)]
    if not fed and not ends:
        return graph
    try:
        return _deployed(graph, fed, ends, preprocessing or {}, batch=1)
    except LayerError:
        return _deployed(graph, fed, ends, preprocessing or {}, batch=None)


def _deployed(
    graph: Graph, fed: list[Node], ends: list[Node], known: Mapping[str, Preprocessing], batch: int | None
) -> Graph:
    """The deployed graph with that batch, or with its own. Raises LayerError where a layer does not take the batch."""
    nodes: list[Node] = []
    wanted: list[str] = []
    dropped: set[str] = {value.name for node in fed for value in node.outputs}
    for node in graph:
        if node in fed:
            nodes += [_input(value, node, batch) for value in node.outputs]
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
    return rewrite.with_batch(smaller, batch) if batch else smaller


def _input(value: Value, source: Node, batch: int | None) -> Node:
    """An Input in the place of one top of a data layer, of that batch, or of its own."""
    shape: Shape = (batch, *value.shape[1:]) if batch and value.shape else value.shape
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
