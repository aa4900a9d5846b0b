"""What the tests of passes share: nets with weights, and a check that a rewritten net is the same net."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from big_nets import random_inputs, random_weights

from nktc import ir, module, reader, text
from nktc.errors import LayerError
from nktc.ir import Graph, Shape, Weight, infer, rewrite


@pytest.fixture
def weighted(read) -> Callable[..., Graph]:
    """The TEST graph of a text with all weights known: random but for those given by name."""

    def build(text: str, arrays: Mapping[str, object] | None = None) -> Graph:
        graph = random_weights(read(text))
        for name, numbers in (arrays or {}).items():
            graph.arrays[name][...] = numbers  # type: ignore[index]
        return graph

    return build


@pytest.fixture
def preserved() -> Callable[[Graph, Graph], None]:
    return check_preserved


def check_preserved(before: Graph, after: Graph) -> None:
    """The graph after a pass is whole, says in prototxt what it is, and makes of two inputs, and of a batch of another
    size, what the one before made."""
    ir.verify(after)
    assert after.arrays.keys() == {n for n, p in after.parameters.items() if not p.weight.volatile}
    assert {p.layer for p in after.parameters.values()} <= {node.name for node in after}
    known = {node.name for node in before}
    assert all(set(node.works_for) <= known for node in after)
    assert [v.name for v in after.outputs] == [v.name for v in before.outputs]
    again = reader.build(reader.parse_net(text.print_message(ir.definition(after))), after.phase)
    assert written(again) == written(after)
    compare(before, after, 0)
    compare(before, after, 1)
    if wider := enlarged(before):
        compare(wider, rewrite.with_batch(after, wider.inputs[0].shape[0]), 2)


def enlarged(graph: Graph) -> Graph | None:
    """The graph with a larger batch; None where something in it is made for the one it has."""
    try:
        wider = rewrite.with_batch(graph, graph.inputs[0].shape[0] + 2)
    except LayerError:
        return None
    own = [infer.weights(node.layer, [value.shape for value in node.inputs]) for node in wider]
    held = [{local: wider.parameters[name].weight for local, name in node.weights.items()} for node in wider]
    return wider if [*map(shapes, own)] == [*map(shapes, held)] else None


def shapes(weights: Mapping[str, Weight]) -> dict[str, Shape]:
    return {local: weight.shape for local, weight in weights.items()}


def compare(before: Graph, after: Graph, seed: int) -> None:
    inputs = random_inputs(before, seed)
    with torch.no_grad():
        expected, found = (module.compile(graph)(*inputs) for graph in (before, after))
    for name, y in expected.items():
        both = y.detach().numpy(), found[name].detach().numpy()
        largest = np.abs(both[0][np.isfinite(both[0])]).max(initial=1)
        np.testing.assert_allclose(both[1], both[0], rtol=0, atol=1e-5 * largest, err_msg=name)


def written(graph: Graph) -> list[str]:
    """The layers in their order with types, settings, shapes and whose outputs they read: what a prototxt tells of a
    net but for the names of values that are overwritten."""
    makers = {value.name: f"{node.name}:{i}" for node in graph for i, value in enumerate(node.outputs)}
    return [
        f"{node.name} {node.type} {ir.settings(node)} {[makers[value.name] for value in node.inputs]}"
        f" {[value.shape for value in node.outputs]}"
        for node in graph
    ]
