"""The parts that a source file is written of: each layer's trace, and what of it is weights alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Graph, Node, Value, infer, rewrite, size
from nktc.module import idioms
from nktc.module.expression import Text, write
from nktc.module.trace import Call, Leaf, Made, Operand, Rows, Stored, Trace, trace

FEW = 16
"""Numbers that may stand in the text; more of them are stored with the weights."""
_Batches = Sequence[Mapping[str, Value]]


class Part:
    """One forward of one layer. `weights` are the graph's names of what it holds."""

    def __init__(
        self,
        node: Node,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        weights: Mapping[str, str],
        trace: Trace,
    ) -> None:
        self.node, self.inputs, self.outputs, self.weights, self.trace = node, inputs, outputs, weights, trace
        self.share(set())

    def share(self, shared: set[str]) -> None:
        """Tell which weights other parts use in other ways, so that they are to stay as they are."""
        self.shared = shared
        self._constant: dict[Operand, bool] = {}
        numbered = {i: self.trace.calls[i] for i in self.trace.live()}
        # The calls that are to be made at every forward, by their number, and how often each tensor is used.
        self.live = {i: call for i, call in numbered.items() if not self.constant(Made(i))}
        self.used = Counter(one for call in self.live.values() for one in call.operands())
        self.used.update(self.trace.results)
        # Whether it asks its first input for the batch or the device.
        self.follows = any(_asks([call.args, call.kwargs]) for call in self.live.values())
        self.plain = self._plain()

    def _plain(self) -> bool:
        """Whether it reads well as an expression: nothing is used twice, and nothing changes in place."""
        calls = [*self.live.values()]
        return (
            len(calls) <= 8
            and len({call.function for call in calls}) <= 3
            and all(call.changes is None for call in calls)
            and all(not call.several for call in calls[:-1])
            and all(n == 1 or not isinstance(one, Made) or self.constant(one) for one, n in self.used.items())
        )

    def leaves(self) -> dict[str, Value]:
        """The inputs that it reads, by forward's names of them."""
        found = dict(zip(self.trace.shapes, self.inputs, strict=False))
        first = next(iter(found), "") if self.follows else ""
        return {name: value for name, value in found.items() if self.used[Leaf(name)] or name == first}

    def constant(self, operand: Operand) -> bool:
        """Whether it is made of nothing but weights that this part has to itself, or is a long table."""
        if operand not in self._constant:
            self._constant[operand] = self._is_constant(operand)
        return self._constant[operand]

    def _is_constant(self, operand: Operand) -> bool:
        match operand:
            case Leaf(name):
                return name in self.weights and self.weights[name] not in self.shared
            case Stored(numbers):
                return numbers.numel() > FEW
        call = self.trace.calls[operand.call]
        if call.changes is not None or _asks([call.args, call.kwargs]):
            return False
        given = list(call.operands())
        if not given:
            return call.function == "torch.tensor" and size(call.shapes[0]) > FEW
        return any(map(self.constant, given)) and all(self.constant(one) or isinstance(one, Stored) for one in given)

    def owned(self, operand: Operand) -> list[str]:
        """The graph's names of the weights in a constant."""
        if isinstance(operand, Leaf):
            return [self.weights[operand.name]] if operand.name in self.weights else []
        if isinstance(operand, Stored) or not self.constant(operand):
            return []
        return [name for one in self.trace.calls[operand.call].operands() for name in self.owned(one)]

    def key(self, operand: Operand) -> str:
        """What a constant is, the same wherever it is the same."""
        match operand:
            case Leaf(name):
                return self.weights.get(name, name)
            case Stored(numbers):
                return str(numbers.tolist())
        text = write(self.trace.calls[operand.call], lambda one: Text(self.key(one)), "").text
        return f"{text}[{operand.part}]"

    def local(self, operand: Operand) -> str:
        """What the layer calls a constant."""
        own = self.owned(operand)
        leaves = [name for name, weight in self.weights.items() if weight in own]
        named = self.trace.calls[operand.call].names.get(operand.part) if isinstance(operand, Made) else None
        return leaves[0] if len(leaves) == 1 else named or "table"

    def module(self, call: Call) -> idioms.Module | None:
        """The module of torch.nn that a call is, if it is one."""
        return idioms.module(call, self.trace, self.constant)

    def module_key(self, module: idioms.Module) -> str:
        holds = ", ".join(f"{name}={self.key(one)}" for name, one in module.holds.items())
        return f"{module.kind}({module.settings}, {holds})"

    def uses(self) -> Iterator[tuple[str, str]]:
        """Each weight with the key of what it is used in."""
        for call in self.live.values():
            module = self.module(call) if self.plain else None
            for one in module.holds.values() if module else call.operands():
                for name in self.owned(one):
                    yield name, self.module_key(module) if module else self.key(one)
        for one in self.trace.results:
            for name in self.owned(one):
                yield name, self.key(one)

    def value(self, operand: Any, known: Mapping[str, Tensor]) -> Any:
        """The numbers of a constant, from those of the weights."""
        match operand:
            case Leaf(name):
                return known[self.weights[name]]
            case Stored(numbers):
                return numbers
            case Made(at, part):
                call = self.trace.calls[at]
                made = _run(call.function, self.value(call.args, known), self.value(call.kwargs, known))
                return made[part] if call.several else made
            case list():
                return [self.value(one, known) for one in operand]
            case tuple():
                return tuple(self.value(one, known) for one in operand)
            case dict():
                return {key: self.value(one, known) for key, one in operand.items()}
        return operand


def parts(graph: Graph) -> list[Part]:
    """The parts of a graph, in order. Raises located NktcErrors for a layer that is more than torch calls."""
    found: list[Part] = []
    batches = _two_batches(graph)
    merged: set[str] = set()
    for node in graph:
        if node.layer.source or not node.outputs or node.name in merged:
            continue
        with infer.place(node.type, node.name, node.locate):
            if node.type == "Python":
                raise LayerError("runs Python code of your own, which has no PyTorch source", field="type")
            scale = idioms.affine(node, graph)
            if scale:
                merged.add(scale.name)
                forward = idioms.normalized(node.layer)
                found.append(
                    _part(graph, node, forward, node.inputs, scale.outputs, {**node.weights, **scale.weights}, batches)
                )
            elif node.layer.each:
                pairs = zip(node.inputs, node.outputs, strict=True)
                found += [_part(graph, node, node.layer.forward, (x,), (y,), node.weights, batches) for x, y in pairs]
            else:
                forward = idioms.forward(node.layer)
                found.append(_part(graph, node, forward, node.inputs, node.outputs, node.weights, batches))
    _share(found)
    return found


def _part(
    graph: Graph,
    node: Node,
    forward: Callable[..., Any],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    weights: Mapping[str, str],
    batches: _Batches,
) -> Part:
    held = {k: w.shape for k, name in weights.items() if not (w := graph.parameters[name].weight).volatile}
    own = infer.weights(node.layer, [value.shape for value in node.inputs])
    other = {local: own[local].shape for local in own.keys() & held if own[local].shape != held[local]}

    @wraps(forward)
    def run(*given: Tensor, **tensors: Tensor) -> Any:
        # PERMISSIVE sharing: the same numbers in another shape.
        return forward(*given, **{k: t.view(other[k]) if k in other else t for k, t in tensors.items()})

    shapes = [[values[value.name].shape for value in inputs] for values in batches]
    return Part(node, inputs, outputs, weights, trace(run, [value.shape for value in inputs], held, shapes))


def _two_batches(graph: Graph) -> _Batches:
    """The graph's values with a batch of 2 and with one of 3; nothing where it is written for its batch."""
    if not graph.inputs or not all(value.shape for value in graph.inputs):
        return ()
    try:
        larger = [rewrite.with_batch(graph, batch) for batch in (2, 3)]
    except LayerError:
        return ()
    held = [[infer.weights(n.layer, [v.shape for v in n.inputs]) for n in one] for one in (graph, *larger)]
    return [one.values for one in larger] if held[0] == held[1] == held[2] else ()


def _share(found: Sequence[Part]) -> None:
    """Tell each part which weights are used in more than one way."""
    keys: dict[str, set[str]] = defaultdict(set)
    for part in found:
        for name, key in part.uses():
            keys[name].add(key)
    shared = {name for name, several in keys.items() if len(several) > 1}
    for part in found:
        part.share(shared)


def _asks(value: Any) -> bool:
    """Whether a number that follows the batch, or a device, is among arguments."""
    match value:
        case tuple() | list():
            return any(map(_asks, value))
        case dict():
            return any(map(_asks, value.values()))
        case slice():
            return _asks([value.start, value.stop, value.step])
    return isinstance(value, Rows | torch.device)


def _run(function: str, args: Any, kwargs: Any) -> Any:
    """A traced call, made."""
    room, _, name = function.partition(".")
    if name.endswith(".__get__"):
        return getattr(args[0], name.removesuffix(".__get__"))
    return getattr({"F": F, "torch": torch, "Tensor": Tensor}[room], name)(*args, **kwargs)
