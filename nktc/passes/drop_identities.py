"""Remove layers that copy their input."""

from __future__ import annotations

import dataclasses

from nktc.errors import LayerError
from nktc.ir import Graph, Node, Phase, Shape, infer, rewrite
from nktc.layers import (
    Bias,
    Cast,
    Dropout,
    Flatten,
    InnerProduct,
    Pooling,
    Power,
    Reshape,
    Scale,
    Split,
    Tile,
)
from nktc.passes.affine import affine
from nktc.passes.definitions import changed, joined


def drop_identities(graph: Graph) -> Graph:
    """y = Dropout(x), Split(x), Power, Scale, Reshape, Pooling … that change nothing => x; InnerProduct(Flatten(x)) =>
    InnerProduct(x); in a TEST graph; outputs keep their names."""
    if graph.phase is not Phase.TEST:
        return graph
    for name in [node.name for node in graph if isinstance(node.layer, InnerProduct)]:
        graph = _unflattened(graph, graph.node(name)) or graph
    copies = [node for node in graph if _copies(graph, node)]
    return rewrite.bypass(graph, copies) if copies else graph


def _copies(graph: Graph, node: Node) -> bool:
    """Whether all that a node makes is its first input, in a batch of any size."""
    x = node.inputs[0].shape if node.inputs else ()
    match node.layer:
        case Dropout(active=active):
            return not active
        case Split():
            return True
        case Cast(to=to):
            return to is node.inputs[0].dtype
        case Tile(tiles=tiles):
            return tiles == 1
        case Pooling(method="MAX" | "AVE", kernel=kernel, stride=stride, pad=pad, draws=False):
            # A window of one value sees it, whatever lies around.
            alone = bool(kernel) and max(kernel) == max(stride) == 1 and not any(pad)
            return alone and len(node.outputs) == 1 and node.outputs[0].shape == x
        case Flatten() | Reshape():
            return all(_shape(node, size) == size for size in _batches(x))
        case Power() | Scale() | Bias():
            found = affine(graph, node) if len(node.inputs) == 1 else None
            return found is not None and found.copies
    return False


def _unflattened(graph: Graph, node: Node) -> Graph | None:
    """The graph in which an InnerProduct takes what is before its Flatten or Reshape, where it flattens that itself."""
    flat = node.inputs[0]
    before = graph.producers[flat.name]
    if not isinstance(before.layer, Flatten | Reshape) or graph.only_reader(flat.name) is not node:
        return None
    layer = node.layer
    assert isinstance(layer, InnerProduct)
    axis, x = layer.axis % len(flat.shape), before.inputs[0].shape
    if axis >= len(x) or not all((_shape(before, size) or ())[:axis] == size[:axis] for size in _batches(x)):
        return None
    if axis == 0 and flat.shape != x:
        return None  # the batch would be flattened with the rest, and then no other batch can be run
    definition = changed(node)
    if definition is not None and node.definition is not None:
        definition.param.extend(node.definition.param)
        definition.inner_product_param.axis = axis
    made = dataclasses.replace(
        node,
        layer=dataclasses.replace(layer, axis=axis),
        inputs=before.inputs,
        definition=definition,
        origins=joined(before, node),
    )
    return rewrite.exchange(graph, {before.name, node.name}, [made])


def _batches(x: Shape) -> list[Shape]:
    """A shape with its own batch and two others."""
    return [x, (x[0] + 1, *x[1:]), (2 * x[0], *x[1:])] if x else [x]


def _shape(node: Node, x: Shape) -> Shape | None:
    """What a node makes of an input of that shape, None where it refuses it."""
    try:
        return infer.shapes(node.layer, [x])[0]
    except LayerError:
        return None
