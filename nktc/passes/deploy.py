"""The net to infer with, made from the net to test with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from nktc.errors import LayerError, NktcError
from nktc.ir import Graph, Layer, Node, Preprocessing, Shape, Value, rewrite
from nktc.layers import (
    Accuracy,
    ContrastiveLoss,
    EuclideanLoss,
    HingeLoss,
    InfogainLoss,
    Input,
    MultinomialLogisticLoss,
    R2Score,
    Sigmoid,
    SigmoidCrossEntropyLoss,
    Softmax,
    SoftmaxWithLoss,
    Split,
)
from nktc.schema import BlobShape, InputParameter, LayerParameter


def deploy(graph: Graph, preprocessing: dict[str, Preprocessing] | None = None) -> Graph:
    """data -> Input of one item, a loss -> its predictions (SoftmaxWithLoss -> Softmax), scores and sinks -> nothing.

    A net that is written for its batch, as by a Reshape, keeps it. `preprocessing` says by input value what a picture
    goes through. What is computed from labels alone goes too, or from what is gone. A graph that is deployed already
    comes back as it is. Raises NktcError where nothing would be left.
    """
    fed = [node for node in graph.sources if not isinstance(node.layer, Input)]
    ends = [node for node in graph if node.layer.loss or isinstance(node.layer, Accuracy | R2Score) or not node.outputs]
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
    fresh = {value.name for value in graph.inputs}
    gone: set[str] = set()
    for node in graph:
        if node in fed:
            nodes += [_input(value, node, batch) for value in node.outputs]
        elif node in ends:
            predictions = _predictions(node, fresh)
            inner = _inner(node.layer)
            same = [n for n in (*graph, *nodes) if n.layer == inner and n.inputs == node.inputs[:1]]
            if inner and (len(node.outputs) > 1 or not same):
                same = [_probabilities(node, inner, graph)]
                nodes += same
            if same:
                predictions = same[0].outputs
            wanted += [value.name for value in predictions]
            gone.update({value.name for value in node.outputs} - set(wanted))
        elif any(value.name in gone for value in node.inputs):
            gone.update(value.name for value in node.outputs)
        else:
            nodes.append(node)
    wanted += [value.name for value in graph.outputs if value.name not in gone | fresh]
    if not wanted:
        raise NktcError(f"nothing of {graph.name} is left to infer with: it computes no value but losses")
    smaller = rewrite.keep(rewrite.with_nodes(graph, nodes), wanted)
    taken = set(wanted).union(value.name for node in smaller for value in node.inputs)
    nodes = [_narrower(node, taken) if isinstance(node.layer, Split) else node for node in smaller]
    smaller = rewrite.with_nodes(smaller, nodes)
    smaller = dataclasses.replace(
        smaller, preprocessing={v.name: known[v.name] for v in smaller.inputs if v.name in known}
    )
    return rewrite.with_batch(smaller, batch) if batch else smaller


def _narrower(split: Node, taken: set[str]) -> Node:
    """A Split without the tops that were for what is gone, as Caffe writes one into the net of a snapshot."""
    outputs = tuple(value for value in split.outputs if value.name in taken)
    return dataclasses.replace(split, layer=split.layer.with_tops(len(outputs)), outputs=outputs)


def _inner(loss: Layer) -> Layer | None:
    """The layer of probabilities that a loss has inside."""
    match loss:
        case SoftmaxWithLoss() | InfogainLoss():
            return Softmax(loss.axis)
        case SigmoidCrossEntropyLoss():
            return Sigmoid()
    return None


def _predictions(end: Node, fresh: set[str]) -> tuple[Value, ...]:
    """The inputs of a loss that it compares with labels, or with each other."""
    match end.layer:
        case HingeLoss() | MultinomialLogisticLoss():
            return end.inputs[:1]
        case EuclideanLoss():
            # Either input may be the label: it is the one that is data, or else the second.
            return tuple(value for value in end.inputs if value.name not in fresh)[:1]
        case ContrastiveLoss():
            return end.inputs[:2]
    return ()


def _input(value: Value, source: Node, batch: int | None) -> Node:
    """An Input in the place of one top of a data layer, of that batch, or of its own."""
    shape: Shape = (batch, *value.shape[1:]) if batch and value.shape else value.shape
    definition = LayerParameter(name=value.name, type="Input", top=[value.name])
    definition.input_param.CopyFrom(InputParameter(shape=[BlobShape(dim=shape)]))
    return Node(value.name, Input((shape,)), (), (value,), definition=definition, locate=source.locate)


def _probabilities(loss: Node, layer: Layer, graph: Graph) -> Node:
    """The layer inside a loss; it makes the loss's second top, or prob, as in Caffe's own deploy nets."""
    taken = {node.name for node in graph} | set(graph.values)
    losses = [node for node in graph if _inner(node.layer)]
    name = "prob" if "prob" not in taken and len(losses) == 1 else f"{loss.name}_prob"
    scores = loss.inputs[0]
    output = loss.outputs[1] if len(loss.outputs) > 1 else Value(name, scores.shape, scores.dtype)
    bottom, top = (value.name.partition("@")[0] for value in (scores, output))
    definition = LayerParameter(name=name, type=type(layer).__name__, bottom=[bottom], top=[top])
    if isinstance(layer, Softmax) and layer.axis != 1:
        definition.softmax_param.axis = layer.axis
    return Node(name, layer, (scores,), (output,), definition=definition, locate=loss.locate)
