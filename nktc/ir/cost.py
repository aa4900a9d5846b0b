"""What a graph costs, counted from its shapes: parameters, multiply-accumulates, memory, the batch that fits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from nktc.errors import LayerError, NktcError
from nktc.ir import rewrite
from nktc.ir.graph import Graph, Node
from nktc.ir.value import Phase, Shape, size


@dataclass(frozen=True)
class LayerCost:
    """One layer. `formula` tells how a window makes the size of its output.

    `parameters` are the numbers it learns, at the first layer that has them; `flops` is its own rule's count, with a
    multiply-add as 2; `macs` is half of that for layers whose work is multiply-adds (Convolution, InnerProduct, MatMul
    and their like) and 0 for others, biases are not in it; `values` are the numbers it makes; `saved` those that it
    keeps for its backward, of what it takes or makes, and that no layer before it keeps already.
    """

    name: str
    type: str
    outputs: tuple[Shape, ...]
    formula: str
    parameters: int
    flops: int
    macs: int
    values: int
    saved: int


@dataclass(frozen=True)
class Fit:
    """The largest batch in `memory` bytes; 0 where not even one item fits, None where the net keeps its batch."""

    memory: int
    fp32: int | None
    fp16: int | None


@dataclass(frozen=True)
class Cost:
    """A graph with its batch. All are counts of numbers.

    `trained` of the `parameters` have a rate; `state` is held but never learned. `inference` is the most that is alive
    at once in a forward: what is fed stays, any other value goes after its last use, none is overwritten (a layer may
    work in place by name only), and a view counts as a copy. `training` is the most over a forward and a
    backward: what layers save stays until their backward, a gradient goes once the maker of its value has used it. It
    is 0 in TEST, and where nothing learns from a loss. Scratch that a layer's own work needs is not counted.
    """

    name: str
    phase: Phase
    batch: int
    layers: tuple[LayerCost, ...]
    parameters: int
    trained: int
    state: int
    inference: int
    training: int
    fit: Fit | None = None

    @property
    def flops(self) -> int:
        return sum(layer.flops for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def inference_bytes(self, half: bool = False) -> int:
        """Weights and values, in fp32 or in fp16."""
        return (self.parameters + self.state + self.inference) * (2 if half else 4)

    def training_bytes(self, half: bool = False) -> int:
        """Weights, their gradients, one history as SGD with momentum has it, and values with their gradients: in fp32,
        or with values in fp16 and an fp16 copy of the weights beside fp32 weights, gradients and history."""
        held = 4 * (self.parameters + self.state + 2 * self.trained)
        return held + (2 * (self.parameters + self.training) if half else 4 * self.training)

    def bytes(self, half: bool = False) -> int:
        """What it needs for what it is: a net to train, or to infer with."""
        return self.training_bytes(half) if self.training else self.inference_bytes(half)


def cost(graph: Graph, batch: int | None = None, memory: int | None = None) -> Cost:
    """What the graph costs with its batch, or with another in axis 0 of all that is fed; and the largest batch within
    so many bytes. Raises LayerError, located, where a layer does not take the batch asked for."""
    found = _count(rewrite.with_batch(graph, batch) if batch else graph)
    return replace(found, fit=_fit(graph, memory)) if memory else found


def memory_size(text: str) -> int:
    """Bytes of "8GB", "512MiB" or "8000000000". Raises NktcError."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?) *([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not found or float(found[1]) == 0:
        raise NktcError(f'"{text}" is no amount of memory', help="say 8GB, 512MiB or a number of bytes")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** " KMGT".index(found[2].upper() or " "))


def _count(graph: Graph) -> Cost:
    sizes = {value.name: size(value.shape) for value in graph.values.values()}
    sizes |= {_aside(node): sum(node.layer.aside(*shapes) for shapes in _calls(node)) for node in graph}
    flowing = _flowing(graph) if graph.phase is Phase.TRAIN else set()
    running = rewrite.joined(graph)
    savers = _savers(running, flowing)
    saved: Counter[str] = Counter()
    for name, saver in savers.items():
        saved[saver] += sizes[name]
    learned = [p for p in graph.parameters.values() if p.weight.learns]
    return Cost(
        graph.name,
        graph.phase,
        next((value.shape[0] for value in graph.inputs if value.shape), 1),
        tuple(_layer(graph, node, saved[node.name]) for node in graph),
        sum(size(p.weight.shape) for p in learned),
        sum(size(p.weight.shape) for p in learned if p.learns),
        sum(size(p.weight.shape) for p in graph.parameters.values() if not p.weight.learns),
        _forward(running, sizes, ()),
        max(_forward(running, sizes, savers), _backward(running, sizes, savers, flowing)) if flowing else 0,
    )


def _fit(graph: Graph, memory: int) -> Fit:
    """The largest batches with which `Cost.bytes` is within so many bytes. Every batch tried is built: a net need not
    grow evenly with it."""

    def fits(batch: int, half: bool) -> bool:
        try:
            return _count(rewrite.with_batch(graph, batch)).bytes(half) <= memory
        except LayerError:
            return False

    def largest(half: bool) -> int:
        below, above = 0, 1
        while fits(above, half):
            below, above = above, 2 * above
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if fits(middle, half) else (below, middle)
        return below

    try:
        for batch in (1, 2):
            rewrite.with_batch(graph, batch)
    except LayerError:
        return Fit(memory, None, None)
    if not any(value.shape for value in graph.inputs):
        return Fit(memory, None, None)
    return Fit(memory, largest(False), largest(True))


def _layer(graph: Graph, node: Node, saved: int) -> LayerCost:
    calls = _calls(node)
    outputs = tuple(value.shape for value in node.outputs)
    taken = 1 if node.layer.each else len(node.inputs)
    formulas = dict.fromkeys(node.layer.formula(*shapes[:taken]) for shapes in calls)
    flops = sum(node.layer.flops(*shapes) for shapes in calls)
    return LayerCost(
        node.name,
        node.type,
        outputs,
        ", ".join(filter(None, formulas)),
        sum(size(p.weight.shape) for p in graph.parameters.values() if p.layer == node.name and p.weight.learns),
        flops,
        flops // 2 if node.layer.multiplies else 0,
        sum(map(size, outputs)),
        saved,
    )


def _calls(node: Node) -> list[tuple[Shape, ...]]:
    """The shapes of what a layer takes and makes, once for each time it runs."""
    inputs, outputs = ([value.shape for value in values] for values in (node.inputs, node.outputs))
    if node.layer.source:
        return []
    return [*zip(inputs, outputs, strict=True)] if node.layer.each else [(*inputs, *outputs)]


def _flowing(graph: Graph) -> set[str]:
    """The values that a gradient reaches: between a weight that learns and a loss."""
    learning: set[str] = set()
    for node in graph:
        if any(graph.parameters[name].learns for name in node.weights.values()) or _goes_on(node) & learning:
            learning.update(value.name for value in node.outputs)
    lowering = {name for name, _ in graph.losses}
    for node in reversed(graph.nodes):
        if any(value.name in lowering for value in node.outputs):
            lowering |= _goes_on(node)
    return learning & lowering


def _goes_on(node: Node) -> set[str]:
    """The inputs that a node sends a gradient to, where it has one."""
    propagate = node.propagate or (True,) * len(node.inputs)
    return {value.name for value, goes in zip(node.inputs, propagate, strict=True) if goes}


def _aside(node: Node) -> str:
    """The name of what a node makes beside its outputs, which no blob has."""
    return f"{node.name}\n"


def _savers(graph: Graph, flowing: set[str]) -> dict[str, str]:
    """The values that are kept for the backward, each with the first node that keeps it."""
    savers: dict[str, str] = {}
    for node in graph:
        if any(value.name in flowing for value in node.outputs):
            kept = {"inputs": node.inputs, "outputs": node.outputs, "nothing": ()}[node.layer.saves]
            for name in (*(value.name for value in kept), _aside(node)):
                savers.setdefault(name, node.name)
    return savers


def _held(graph: Graph) -> set[str]:
    """What lives from its making to the end: what is fed, the outputs, the losses."""
    return {value.name for value in (*graph.inputs, *graph.outputs)} | {name for name, _ in graph.losses}


def _forward(graph: Graph, sizes: Mapping[str, int], kept: Collection[str]) -> int:
    """The most numbers alive at once in a forward, after which what is `kept` is still there."""
    touched = {node.name: {_aside(node), *(v.name for v in (*node.inputs, *node.outputs))} for node in graph}
    last = {name: node for node, names in touched.items() for name in names}
    stays = _held(graph).union(kept)
    alive = {value.name: sizes[value.name] for value in graph.inputs}
    most = 0
    for node, names in touched.items():
        alive |= {name: sizes[name] for name in names}
        most = max(most, sum(alive.values()))
        for name in names:
            if last[name] == node and name not in stays:
                del alive[name]
    return most


def _backward(graph: Graph, sizes: Mapping[str, int], savers: Mapping[str, str], flowing: set[str]) -> int:
    """The most numbers alive at once in a backward, gradients of weights left out."""
    held = _held(graph)
    alive = {name: sizes[name] for name in held.union(savers)}
    gradients: dict[str, int] = {}
    most = 0
    for node in reversed(graph.nodes):
        if not any(value.name in flowing for value in node.outputs):
            continue
        gradients |= {v.name: sizes[v.name] for v in (*node.inputs, *node.outputs) if v.name in flowing}
        most = max(most, sum(alive.values()) + sum(gradients.values()))
        for value in node.outputs:
            gradients.pop(value.name, None)
        for name, saver in savers.items():
            if saver == node.name and name not in held:
                del alive[name]
    return most
