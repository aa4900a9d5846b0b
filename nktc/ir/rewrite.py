"""The only place that builds one graph from another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from nktc.errors import LayerError
from nktc.ir import infer
from nktc.ir.graph import Graph, Node
from nktc.ir.value import Parameter, Shape, Value, times


def with_nodes(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """The graph with these nodes instead; parameters and arrays that no node holds any more are dropped."""
    held = {name for node in nodes for name in node.weights.values()}
    values = {value.name for node in nodes for value in node.outputs}
    return dataclasses.replace(
        graph,
        nodes=tuple(nodes),
        parameters={name: p for name, p in graph.parameters.items() if name in held},
        arrays={name: a for name, a in graph.arrays.items() if name in held},
        grids={name: g for name, g in graph.grids.items() if name in held},
        preprocessing={name: p for name, p in graph.preprocessing.items() if name in values},
    )


def renamed(graph: Graph, names: Mapping[str, Value]) -> Graph:
    """Every use of a value in `names` becomes a use of the value it maps to."""

    def swap(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(names.get(value.name, value) for value in values)

    return with_nodes(
        graph,
        [dataclasses.replace(n, inputs=swap(n.inputs), outputs=swap(n.outputs)) for n in graph],
    )


def bypass(graph: Graph, nodes: Collection[Node]) -> Graph:
    """Without these nodes, each of whose outputs is a copy of its one input: their consumers read the input.

    A net's outputs keep their names: where a copy is one, its input takes that name, unless the input is fed from
    outside, is an output itself, or would be none any more because others read it; then the node stays.
    """
    gone = {node.name for node in nodes}
    outputs = {value.name for value in graph.outputs}
    fed = {value.name for value in graph.inputs}
    for name in [node.name for node in graph if node.name in gone]:
        node = graph.node(name)
        source = node.inputs[0]
        kept = [value for value in node.outputs if value.name in outputs]
        others = len(graph.readers[source.name]) > 1 or len(node.outputs) > 1
        if kept and (len(kept) > 1 or source.name in fed | outputs or (others and not graph.wanted)):
            continue
        later = "@" in source.name and source.name not in outputs and len(node.outputs) == 1
        final = kept[0] if kept else node.outputs[0] if later else source
        rest = with_nodes(graph, [n for n in graph if n.name != name])
        graph = renamed(rest, {source.name: final, **{value.name: final for value in node.outputs}})
    return graph


def pinned(graph: Graph) -> Graph:
    """The graph with its outputs wanted, so that what nobody reads after a rewrite is none."""
    return graph if graph.wanted else dataclasses.replace(graph, wanted=tuple(v.name for v in graph.outputs))


def living(graph: Graph) -> Graph:
    """Without what neither an output nor a loss is computed from, but with all that is fed; layers without outputs
    stay. The same graph where nothing goes."""
    needed = {value.name for value in graph.outputs} | {name for name, _ in graph.losses}
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if node.layer.source or not node.outputs or any(value.name in needed for value in node.outputs):
            needed.update(value.name for value in node.inputs)
            nodes.append(node)
    return with_nodes(graph, nodes[::-1]) if len(nodes) < len(graph) else graph


def exchange(
    graph: Graph,
    gone: Collection[str],
    made: Sequence[Node],
    arrays: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    at: str = "",
) -> Graph:
    """The graph with the nodes `made` instead of those named in `gone`, in the place of the node `at`, or of the first
    that goes.

    `arrays` says by node and by the layer's own name of the weight what a made node holds; these are parameters of its
    own, whoever shares what it had before. Its other weights it keeps.
    """
    stays = [node for node in graph if node.name not in gone]
    held = {name for node in stays for name in node.weights.values()}
    known = {value.name: value for node in (*graph, *made) for value in node.outputs}
    parameters = {name: p for name, p in graph.parameters.items() if name in held}
    numbers = {name: array for name, array in graph.arrays.items() if name in held}
    finished = []
    for node in made:
        inputs = tuple(known[value.name] for value in node.inputs)
        weights = {}
        for index, (local, weight) in enumerate(infer.weights(node.layer, [v.shape for v in inputs]).items()):
            array = (arrays or {}).get(node.name, {}).get(local)
            if array is None:
                weights[local] = name = node.weights[local]
                parameters[name] = graph.parameters[name]
                numbers |= {name: graph.arrays[name]} if name in graph.arrays else {}
                continue
            weights[local] = name = _fresh(node.name, local, parameters)
            parameters[name] = Parameter(name, weight, node.name, index)
            numbers[name] = array.astype(np.float32).reshape(weight.shape)
        finished.append(dataclasses.replace(node, inputs=inputs, weights=weights))
    place = next(i for i, node in enumerate(graph) if (node.name == at if at else node.name in gone))
    before = [node for node in graph.nodes[:place] if node.name not in gone]
    nodes = [*before, *finished, *stays[len(before) :]]
    return with_nodes(dataclasses.replace(graph, parameters=_in_order(nodes, parameters), arrays=numbers), nodes)


def _fresh(node: str, local: str, taken: Collection[str]) -> str:
    """A name for a parameter of a node that no other has."""
    name, number = f"{node}.{local}", 2
    while name in taken:
        name, number = f"{node}_{number}.{local}", number + 1
    return name


def _in_order(nodes: Sequence[Node], parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters in the order in which nodes hold them first, each owned by a node that is there."""
    names = {node.name for node in nodes}
    found: dict[str, Parameter] = {}
    for node in nodes:
        for name in node.weights.values():
            own = parameters[name]
            found.setdefault(name, own if own.layer in names else dataclasses.replace(own, layer=node.name))
    return found


def wanting(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with the values of these names as its outputs, and only what they are computed from. Raises KeyError
    where there is no such value."""
    for name in names:
        graph.values[name]
    return keep(dataclasses.replace(graph, wanted=tuple(dict.fromkeys(names))), names)


def keep(graph: Graph, wanted: Collection[str]) -> Graph:
    """Only the nodes that the values `wanted` are computed from."""
    needed = set(wanted)
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if any(value.name in needed for value in node.outputs):
            needed.update(value.name for value in node.inputs)
            nodes.append(node)
    return with_nodes(graph, nodes[::-1])


def frozen(graph: Graph, names: Collection[str]) -> Graph:
    """The parameters of these names do not learn."""
    parameters = {n: dataclasses.replace(p, lr_mult=0.0) if n in names else p for n, p in graph.parameters.items()}
    return dataclasses.replace(graph, parameters=parameters)


def joined(graph: Graph) -> Graph:
    """The graph as it runs where only its outputs and losses are wanted: a layer that can do the work of the one behind
    does, if nobody else wants what it makes."""
    behind: dict[str, Node] = {}
    for node in graph:
        reader = graph.only_reader(node.outputs[0].name) if len(node.outputs) == 1 else None
        if reader is None or len(reader.inputs) > 1 or not all(reader.propagate):
            continue
        if node.layer.joins(reader.layer, node.outputs[0].shape) and _own_shapes(graph, reader):
            behind[node.name] = reader
    gone = {node.name for node in behind.values()}
    return with_nodes(graph, [_with(node, behind.get(node.name)) for node in graph if node.name not in gone])


def _with(node: Node, behind: Node | None) -> Node:
    """A node that does the work of the one behind it too."""
    if behind is None:
        return node
    weights = {**node.weights, **behind.weights}
    return dataclasses.replace(node, outputs=behind.outputs, weights=weights, loss_weights=behind.loss_weights)


def _own_shapes(graph: Graph, node: Node) -> bool:
    """Whether none of a node's weights is one shared in another shape."""
    own = infer.weights(node.layer, [value.shape for value in node.inputs])
    return all(graph.parameters[name].weight.shape == own[local].shape for local, name in node.weights.items())


def reshaped(graph: Graph, change: Callable[[Node], Node]) -> Graph:
    """Every node passed through `change`, then all shapes inferred again, those of volatile state too. Raises
    LayerError where one does not fit."""
    known: dict[str, Value] = {}
    parameters = dict(graph.parameters)
    nodes = []
    for old in graph:
        node = change(old)
        inputs = tuple(known[value.name] for value in node.inputs)
        shapes = [value.shape for value in node.outputs] if node.layer.source else _shapes(node, inputs)
        parameters |= _state(node, inputs, parameters)
        outputs = tuple(
            dataclasses.replace(value, shape=shape) for value, shape in zip(node.outputs, shapes, strict=True)
        )
        known.update((value.name, value) for value in outputs)
        nodes.append(dataclasses.replace(node, inputs=inputs, outputs=outputs))
    return with_nodes(dataclasses.replace(graph, parameters=parameters), nodes)


def _shapes(node: Node, inputs: Sequence[Value]) -> list[Shape]:
    with infer.place(node.type, node.name, node.locate):
        if node.layer.sequence and inputs[0].shape[:1] != node.inputs[0].shape[:1]:
            steps, other = node.inputs[0].shape[0], times(inputs[0].shape[:1])
            raise LayerError(f"axis 0 of its input is time, {steps} steps, not a batch of {other}", field="bottom[0]")
        return infer.shapes(node.layer, [value.shape for value in inputs])


def _state(node: Node, inputs: Sequence[Value], parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The volatile state of a node, in the shapes that it has with these inputs."""
    held = {local: parameters[name] for local, name in node.weights.items() if parameters[name].weight.volatile}
    own = infer.weights(node.layer, [value.shape for value in inputs]) if held else {}
    return {parameter.name: dataclasses.replace(parameter, weight=own[local]) for local, parameter in held.items()}


def with_batch(graph: Graph, batch: int) -> Graph:
    """The graph whose inputs have `batch` in axis 0."""

    def change(node: Node) -> Node:
        if not node.layer.source:
            return node
        outputs = (dataclasses.replace(v, shape=(batch, *v.shape[1:])) if v.shape else v for v in node.outputs)
        return dataclasses.replace(node, outputs=tuple(outputs))

    return reshaped(graph, change)
