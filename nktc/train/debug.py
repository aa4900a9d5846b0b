"""debug_info: the mean magnitude of every blob and weight, and of their gradients, as Caffe prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from nktc.ir import Graph, Node, Value, rewrite
from nktc.layers import Split
from nktc.module import Net
from nktc.train import precision
from nktc.train.step import Batches, Outputs, Parts, Rate, Step, gradients, numbers_of, rate_of, update

Say = Callable[[str, str], None]
"""Takes a line and the source file that Caffe prints it from."""


def debug_step(parts: Parts, say: Say) -> Step:
    """The plain step; `say` hears of every forward, backward and update of each iteration that `display` shows. Tests
    are silent, unlike Caffe's."""
    told = _Told(parts, say)
    objective = parts.ranks.wrap(told)
    s = parts.settings.message

    def step(batches: Batches, rate: Rate, iteration: int) -> tuple[Tensor, Outputs]:
        taken = [next(batches) for _ in range(s.iter_size)]
        told.loud = s.display > 0 and iteration % s.display == 0
        parts.guard.begin()
        loss, outputs = gradients(parts, objective, taken, parts.guard.record)
        told.backward_done()
        parts.guard.check(taken)
        if parts.scale is None or parts.scale.unscale(parts.optimizer.gradients()):
            before = told.weights()
            update(parts, numbers_of(parts, rate_of(rate, loss), iteration))
            told.update_done(before)
        return loss, outputs

    return step


class _Told(nn.Module):
    """The objective of a net with Caffe's splits in it, over the same tensors; while `loud` it says what passes."""

    def __init__(self, parts: Parts, say: Say) -> None:
        super().__init__()
        self.net = Net(with_splits(parts.net.graph))
        self.net.share(parts.net, state=True)
        self.loud = False
        self._parts, self._say = parts, say
        self._values: dict[str, Tensor] = {}
        self._backward = _backward(self.net.graph)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with precision.autocast(self._parts.settings.message.precision, self._parts.device):
            if not self.loud:
                outputs = self.net(*inputs)
                return self.net.loss(outputs), outputs
            self.backward_done()  # of the batch before, with iter_size
            self._values = self.net.values(*inputs)
            loss = self.net.loss(self._values)
        for tensor in self._values.values():
            if tensor.requires_grad:
                tensor.retain_grad()
        for node in self.net.graph:
            for value in node.outputs:
                self._tell("Forward", node, f"top blob {_blob(value)} data: {_mean(self._values[value.name])}")
            for i, name in _blobs(self.net.graph, node):
                shown = _display_name(node, i)
                self._tell("Forward", node, f"param blob {shown} data: {_mean(self.net.tensor(name))}")
        graph = self._parts.net.graph
        names = dict.fromkeys([*(value.name for value in graph.outputs), *(name for name, _ in graph.losses)])
        return loss, {name: self._values[name] for name in names}

    def backward_done(self) -> None:
        """Say what the last forward's backward left, from the last layer to the first."""
        if not self._values:
            return
        scale = 1.0 if self._parts.scale is None else 1 / self._parts.scale.scale.item()
        for node, inputs, weights in self._backward:
            for value in inputs:
                self._tell("Backward", node, f"bottom blob {_blob(value)} diff: {self._diff(value.name, scale)}")
            for i, name in weights:
                diff = _mean(self.net.tensor(name).grad, scale)
                self._tell("Backward", node, f"param blob {i} diff: {diff}")
        self._values = {}
        params = [self.net.tensor(p.name) for p in self.net.graph.parameters.values() if p.weight.kept]
        diffs = [tensor.grad for tensor in params if tensor.grad is not None]
        norms = "; ".join(
            f"L{order} norm = ({_norm(params, order):g}, {_norm(diffs, order) * scale:g})" for order in (1, 2)
        )
        self._say(f"    [Backward] All net params (data, diff): {norms}", "net.cpp")

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights, while `loud`."""
        kept = [p.name for p in self.net.graph.parameters.values() if p.weight.kept and self.loud]
        return {name: self.net.tensor(name).detach().clone() for name in kept}

    def update_done(self, before: Mapping[str, Tensor]) -> None:
        """Say how far the weights went from `before`."""
        for name, old in before.items():
            parameter = self.net.graph.parameters[name]
            node = self.net.graph.node(parameter.layer)
            shown, moved = _display_name(node, parameter.index), old - self.net.tensor(name).detach()
            self._tell("Update", node, f"param {shown} data: {_mean(old)}; diff: {_mean(moved)}")

    def _diff(self, name: str, scale: float) -> str:
        return _mean(self._values[name].grad, scale)

    def _tell(self, what: str, node: Node, rest: str) -> None:
        self._say(f"    [{what}] Layer {node.name}, {rest}", "net.cpp")


def with_splits(graph: Graph) -> Graph:
    """y = f(x), z = g(x) => x0, x1 = Split(x), y = f(x0), z = g(x1), with the names that Caffe gives: a loss_weight
    that is written out takes the first copy."""
    uses = {value.name: 0 for value in graph.values.values()}
    for node in graph:
        for value in node.inputs:
            uses[value.name] += 1
        for value, weight in zip(node.outputs, _written(node), strict=False):
            uses[value.name] += weight != 0
    copies: dict[str, Iterator[Value]] = {}
    nodes: list[Node] = []
    for node in graph:
        taken = tuple(next(copies[v.name]) if v.name in copies else v for v in node.inputs)
        node = replace(node, inputs=taken)
        weights, splits = list(node.loss_weights), []
        for i, value in enumerate(node.outputs):
            if uses[value.name] < 2:
                continue
            name = f"{_blob(value)}_{node.name}_{i}_split"
            tops = tuple(replace(value, name=f"{name}_{k}") for k in range(uses[value.name]))
            moved = i < len(_written(node)) and weights[i] != 0
            splits.append(Node(name, Split(len(tops)), (value,), tops, loss_weights=(weights[i],) if moved else ()))
            copies[value.name] = iter(tops[moved:])
            if moved:
                weights[i] = 0.0
        nodes += [replace(node, loss_weights=tuple(weights)), *splits]
    return rewrite.with_nodes(graph, nodes) if len(nodes) > len(graph) else graph


def _backward(graph: Graph) -> list[tuple[Node, list[Value], list[tuple[int, str]]]]:
    """The layers that Caffe runs backward, the last first: with the inputs and the weights that get a gradient."""
    found = []
    learning: set[str] = set()
    for node in graph:
        propagate = node.propagate or (True,) * len(node.inputs)
        inputs = [v for v, goes_on in zip(node.inputs, propagate, strict=True) if goes_on and v.name in learning]
        weights = [(i, name) for i, name in _blobs(graph, node) if _rate(graph, node, i, name)]
        if inputs or weights:
            learning |= {value.name for value in node.outputs}
            found.append((node, inputs, weights))
    wanted = {name for name, _ in graph.losses}
    reached = []
    for node, inputs, weights in reversed(found):
        if any(value.name in wanted for value in node.outputs):
            wanted |= {value.name for value in inputs}
            reached.append((node, inputs, weights))
    return reached


def _blobs(graph: Graph, node: Node) -> list[tuple[int, str]]:
    """The weights that Caffe's layer has, with their places."""
    return [(i, name) for i, name in enumerate(node.weights.values()) if graph.parameters[name].weight.kept]


def _rate(graph: Graph, node: Node, index: int, name: str) -> float:
    """The lr_mult of a weight; of BatchNorm's sums too, which Caffe takes for weights with a gradient of 0."""
    parameter = graph.parameters[name]
    specs = node.definition.param if node.definition else ()
    if parameter.weight.learns or index >= len(specs):
        return parameter.lr_mult
    return specs[index].lr_mult


def _written(node: Node) -> tuple[float, ...]:
    """The loss weights that the net says."""
    return tuple(node.definition.loss_weight) if node.definition else node.loss_weights


def _display_name(node: Node, index: int) -> str:
    """The name of a shared weight, else its place."""
    specs = node.definition.param if node.definition else ()
    return (specs[index].name if index < len(specs) else "") or str(index)


def _blob(value: Value) -> str:
    return value.name.partition("@")[0]


@torch.no_grad()
def _mean(tensor: Tensor | None, scale: float = 1.0) -> str:
    """The mean magnitude as a C++ stream writes it; 0 for a gradient that never came."""
    return "0" if tensor is None else f"{tensor.float().abs().mean().item() * scale:g}"


@torch.no_grad()
def _norm(tensors: list[Tensor], order: int) -> float:
    """The norm of all of them together."""
    norms = [torch.linalg.vector_norm(tensor.float(), order) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(norms), order).item() if norms else 0.0
