"""Leave the choice among boxes to whoever runs the net."""

from __future__ import annotations

import dataclasses

from nktc.ir import Graph, Node, Value, infer, rewrite
from nktc.layers import DetectionBoxes, DetectionOutput
from nktc.schema import LayerParameter


def nms_outside(graph: Graph) -> Graph:
    """y = DetectionOutput(offsets, scores, priors) => y:boxes, y:scores = DetectionBoxes(offsets, scores, priors) where
    y is an output."""
    outputs = [value.name for value in graph.outputs]
    gone = {
        node.name: node
        for node in graph
        if isinstance(node.layer, DetectionOutput)
        and node.outputs[0].name in outputs
        and not graph.readers[node.outputs[0].name]
    }
    if not gone:
        return graph
    made = {name: _boxes(node, node.layer) for name, node in gone.items() if isinstance(node.layer, DetectionOutput)}
    names = {gone[name].outputs[0].name: [value.name for value in node.outputs] for name, node in made.items()}
    wanted = tuple(new for name in outputs for new in names.get(name, [name]))
    nodes = [made.get(node.name, node) for node in graph]
    return rewrite.with_nodes(dataclasses.replace(graph, wanted=wanted), nodes)


def _boxes(node: Node, layer: DetectionOutput) -> Node:
    first = DetectionBoxes(layer)
    shapes = infer.shapes(first, [value.shape for value in node.inputs])
    name = node.outputs[0].name
    outputs = tuple(Value(f"{name}:{what}", shape) for what, shape in zip(("boxes", "scores"), shapes, strict=True))
    definition = LayerParameter(name=node.name, type="DetectionBoxes")
    if node.definition:
        definition.detection_output_param.CopyFrom(node.definition.detection_output_param)
    return dataclasses.replace(node, layer=first, outputs=outputs, weights={}, definition=definition)
