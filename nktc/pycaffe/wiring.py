"""A graph as Caffe's layers and blobs: in-place tops are their bottoms, and a blob for several layers is split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nktc import layers, module
from nktc.ir import Graph, Node, Phase, Value
from nktc.pycaffe.blob import Blob, Memory
from nktc.pycaffe.feed import FeedStep
from nktc.pycaffe.step import DummyStep, NodeStep, PythonStep, SplitStep, Step

UNFORCED = {"EuclideanLoss": 2, "ContrastiveLoss": 2, "L1Loss": 2, "SmoothL1Loss": 2}
"""Bottoms of losses whose gradient force_backward asks for; of others it is that of the first alone."""


@dataclass
class Wiring:
    """`names` are those of the blobs, `bottom_ids` and `top_ids` each layer's blobs by their numbers. `inputs` are what
    Input layers make, `outputs` what nobody takes, in the order of their names."""

    steps: list[Step] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    bottom_ids: list[list[int]] = field(default_factory=list)
    top_ids: list[list[int]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


def wire(graph: Graph, holder: module.Net, memories: dict[str, tuple[Memory, Memory]], folder: Path) -> Wiring:
    """The layers of a graph with their blobs. `memories` has numbers and gradient of each weight that files keep, by
    its name in the graph."""
    wiring = Wiring()
    sources: dict[str, list[int]] = {}  # of each value: the blobs that its takers get, first come first served
    whole: dict[str, int] = {}  # of each value that has one taker at most: its blob
    for node in graph:
        bottoms = [sources[value.name].pop(0) if value.name in sources else whole[value.name] for value in node.inputs]
        tops = [_top(wiring, node, position, bottoms, sources) for position in range(len(node.outputs))]
        step = _step(node, [wiring.blobs[i] for i in bottoms], [wiring.blobs[i] for i in tops], holder, folder)
        for name in node.weights.values():
            if name in memories:
                parameter = graph.parameters[name]
                shape = step._own[_local(node, name)].shape if isinstance(step, NodeStep) else parameter.weight.shape
                step.blobs.append(Blob(shape, *memories[name]))
        step.unbind()
        step.loss_weights = [*node.loss_weights] or [0.0] * len(tops)
        _add(wiring, step, bottoms, tops)
        if isinstance(node.layer, layers.Input):
            wiring.inputs += tops
        for position, (value, top) in enumerate(zip(node.outputs, tops, strict=True)):
            whole[value.name] = top
            weight = _said_weight(node, position)
            takers = len(graph.readers[value.name]) + bool(weight)
            if takers > 1:
                step.loss_weights[position] = 0.0 if weight else step.loss_weights[position]
                made = _split(wiring, node, position, top, takers, weight)
                sources[value.name] = made[1:] if weight else [*made]
    spent = _spent(wiring)
    last = {name: i for i, name in enumerate(wiring.names)}
    free = {i for ids in wiring.top_ids for i in ids if i not in spent and last[wiring.names[i]] == i}
    wiring.outputs = sorted(free, key=wiring.names.__getitem__)
    _set_backward(wiring, graph)
    return wiring


def _spent(wiring: Wiring) -> set[int]:
    """The blobs that some layer takes, and none overwrites after that."""
    spent: set[int] = set()
    for bottoms, tops in zip(wiring.bottom_ids, wiring.top_ids, strict=True):
        spent |= set(bottoms)
        spent -= set(tops)
    return spent


def _top(wiring: Wiring, node: Node, position: int, bottoms: Sequence[int], sources: dict[str, list[int]]) -> int:
    """The blob of a top: the bottom itself where the layer works in place on a blob that nobody else takes."""
    name = _blob_name(node, position)
    said = node.definition.bottom if node.definition else [_base(value) for value in node.inputs]
    if position < len(bottoms) and name == said[position] and node.inputs[position].name not in sources:
        return bottoms[position]
    return _new(wiring, name, Blob(node.outputs[position].shape))


def _split(wiring: Wiring, node: Node, position: int, top: int, takers: int, weight: float) -> list[int]:
    """Add the layer that Caffe puts behind a blob for several: its blobs."""
    layer = node.definition.name if node.definition else node.name
    name = f"{wiring.names[top]}_{layer}_{position}_split"
    source = wiring.blobs[top]
    made = [_new(wiring, f"{name}_{i}", Blob(source.shape, source.memory)) for i in range(takers)]
    step = SplitStep(name, "Split", [source], [wiring.blobs[i] for i in made])
    step.loss_weights[0] = weight
    _add(wiring, step, [top], made)
    return made


def _add(wiring: Wiring, step: Step, bottoms: list[int], tops: list[int]) -> None:
    wiring.steps.append(step)
    wiring.bottom_ids.append(bottoms)
    wiring.top_ids.append(tops)


def _new(wiring: Wiring, name: str, blob: Blob) -> int:
    wiring.blobs.append(blob)
    wiring.names.append(name)
    return len(wiring.blobs) - 1


def _step(node: Node, bottoms: list[Blob], tops: list[Blob], holder: module.Net, folder: Path) -> Step:
    layer = node.layer
    if layer.source:
        return FeedStep(node, tops, holder, folder)
    if isinstance(layer, layers.DummyData):
        return DummyStep(node, bottoms, tops, holder)
    if isinstance(layer, layers.Python) and isinstance(layer.form, layers.CaffeForm):
        return PythonStep(node, bottoms, tops, layer.form)
    return NodeStep(node, bottoms, tops, holder)


def _set_backward(wiring: Wiring, graph: Graph) -> None:
    """Decide which layers have a backward, and which bottoms get a gradient, as Caffe does: what learns nothing and has
    nothing below that learns is passed over, and so is what no loss depends on; force_backward takes them all."""
    needs: set[int] = set()  # blobs with a weight that learns somewhere below
    for step, bottoms, tops in zip(wiring.steps, wiring.bottom_ids, wiring.top_ids, strict=True):
        step.propagates = [i in needs for i in bottoms]
        learns = any(i in needs for i in bottoms)
        if node := step.node:
            said = [*node.definition.propagate_down] if node.definition else []
            step.propagates = said or step.propagates
            learns |= any(graph.parameters[name].learns for name in node.weights.values())
        step.goes_back = learns
        needs |= set(tops) if learns else set()
    under_loss: set[int] = set()
    skipped: set[int] = set()
    for step, bottoms, tops in reversed([*zip(wiring.steps, wiring.bottom_ids, wiring.top_ids, strict=True)]):
        contributes = any(w or i in under_loss for i, w in zip(tops, step.loss_weights, strict=True))
        if all(i in skipped for i in tops) or not contributes:
            step.goes_back, step.propagates = False, [False] * len(bottoms)
        under_loss |= set(bottoms) if contributes else set()
        skipped |= {i for i, goes in zip(bottoms, step.propagates, strict=True) if not goes}
    for step in wiring.steps if graph.force_backward else ():
        step.goes_back = True
        loss = isinstance(step, NodeStep) and step.node.layer.loss
        most = UNFORCED.get(step.type, 1) if loss else len(step.bottoms)
        step.propagates = [goes or i < most for i, goes in enumerate(step.propagates)]
    for step in wiring.steps:
        if isinstance(step, NodeStep):
            held = (graph.parameters[name].weight for name in step.node.weights.values())
            # What is gone after forward cannot be worked out again.
            moves = step.overwrites or any(weight.volatile for weight in held)
            step.records = step.goes_back and (moves or graph.phase is Phase.TRAIN)


def _said_weight(node: Node, position: int) -> float:
    """The loss_weight that the net says of a top; 0 where it says none."""
    said = node.definition.loss_weight if node.definition else ()
    return said[position] if position < len(said) else 0.0


def _blob_name(node: Node, position: int) -> str:
    if node.definition and position < len(node.definition.top):
        return node.definition.top[position]
    return _base(node.outputs[position])


def _base(value: Value) -> str:
    """The name of the blob that a value is a version of."""
    return value.name.partition("@")[0]


def _local(node: Node, name: str) -> str:
    return next(local for local, held in node.weights.items() if held == name)
