"""What every graph must satisfy; run after each rewrite. A failure is our bug, so these are assertions."""

from __future__ import annotations

from nktc.ir import infer
from nktc.ir.graph import Graph
from nktc.ir.value import Value


def verify(graph: Graph) -> None:
    """Names are unique, inputs are made before they are used, shapes are what the rules say, parameters exist."""
    made: dict[str, Value] = {}
    names = [node.name for node in graph]
    assert len(set(names)) == len(names), f"{graph.name}: two nodes of one name"
    for node in graph:
        for value in node.inputs:
            assert value.name in made, f"{node.name}: {value.name} is used before it is made"
            assert made[value.name] == value, f"{node.name}: {value} is made as {made[value.name]}"
        for value in node.outputs:
            assert value.name not in made, f"{value.name} is made twice"
            made[value.name] = value
        if not node.layer.source:
            shapes = infer.shapes(node.layer, [value.shape for value in node.inputs])
            assert shapes == [value.shape for value in node.outputs], f"{node.name}: shape rule says {shapes}"
            dtype = infer.precision(node.layer, [value.dtype for value in node.inputs])
            assert all(value.dtype is dtype for value in node.outputs), f"{node.name}: the rule says {dtype}"
        expected = infer.weights(node.layer, [value.shape for value in node.inputs])
        assert list(expected) == list(node.weights), f"{node.name}: holds {list(node.weights)}"
        for local, name in node.weights.items():
            assert name in graph.parameters, f"{node.name}: no parameter {name}"
            held, own = graph.parameters[name].weight, expected[local]
            assert not own.volatile or held == own, f"{node.name}: {name} is {held.shape}, the rule says {own.shape}"
    for name in graph.wanted:
        assert name in made, f"the output {name} is not made"
    for name, array in graph.arrays.items():
        shape = graph.parameters[name].weight.shape
        assert array.shape == shape, f"{name}: array {array.shape}, weight {shape}"
