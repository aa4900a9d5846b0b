"""What one batch takes: the net as it really runs, and each of its layers on its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nktc.ir import Node, infer
from nktc.module import Net


class Clock:
    """Moments in a device's work. On CUDA one is an event in the current stream, and taking it waits for nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def wait(self) -> None:
        """Until the device is done; its moments can be compared from then on."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def between(self, start: Any, end: Any) -> float:
        """ms."""
        return start.elapsed_time(end) if self._device.type == "cuda" else 1000 * (end - start)


Spans = dict[str, tuple[Any, Any]]
"""Two moments each: by the name of a layer, or of the `WHOLE` net."""

WHOLE = ""


class Bench:
    """A net under a clock. Gradients start as the factors of the losses; in a net without a loss as ones, at all its
    outputs."""

    def __init__(self, net: Net, device: torch.device, clock: Clock) -> None:
        self._net, self._graph, self._device, self._clock = net, net.graph, device, clock
        self._weights = {node.name: _weights(net, node) for node in net.graph if not node.layer.source}
        self._seeds = dict(net.graph.losses) or {value.name: 1.0 for value in net.graph.outputs}

    def run(self, inputs: Sequence[Tensor]) -> tuple[Spans, Spans, Tensor]:
        """Forwards and backwards over one batch, first of the whole net, then layer by layer; and the loss, f32[].

        What no gradient comes to has no backward. The device may still be at work: the clock has to wait for it.
        """
        forward: Spans = {}
        backward: Spans = {}
        loss = self._whole(inputs, forward, backward)
        self._layers(inputs, forward, backward)
        return forward, backward, loss

    def _whole(self, inputs: Sequence[Tensor], forward: Spans, backward: Spans) -> Tensor:
        self._net.zero_grad()
        start = self._clock.now()
        values = self._net(*inputs)
        forward[WHOLE] = (start, self._clock.now())
        ends = [(values[name], factor) for name, factor in self._seeds.items() if values[name].requires_grad]
        gradients = [torch.full_like(value, factor) for value, factor in ends]
        if ends:
            start = self._clock.now()
            torch.autograd.backward([value for value, _ in ends], gradients)
            backward[WHOLE] = (start, self._clock.now())
        return self._net.loss(values).detach()

    def _layers(self, inputs: Sequence[Tensor], forward: Spans, backward: Spans) -> None:
        values = dict(zip((value.name for value in self._graph.inputs), inputs, strict=True))
        ran = []
        for node in self._graph:
            if node.layer.source:
                continue
            given = _cut_off(node, values)
            start = self._clock.now()
            made = self._made(node, given)
            forward[node.name] = (start, self._clock.now())
            values |= {value.name: y for value, y in zip(node.outputs, made, strict=True)}
            if any(y.requires_grad for y in made):
                ran.append((node, given, made))
        values.clear()  # what a layer has saved goes with its backward
        gradients: dict[str, Tensor] = {}
        while ran:
            self._back(*ran.pop(), gradients, backward)

    def _made(self, node: Node, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        weights = self._weights[node.name]
        if node.layer.each:
            return tuple(node.layer.forward(x, **weights) for x in given)
        made = node.layer.forward(*given, **weights)
        made = made if isinstance(made, tuple) else (made,)
        return made if given else tuple(y.to(self._device) for y in made)

    def _back(
        self,
        node: Node,
        given: Sequence[Tensor],
        made: Sequence[Tensor],
        gradients: dict[str, Tensor],
        backward: Spans,
    ) -> None:
        """The backward of one layer: from the gradients of its outputs, which it takes out of `gradients`, to those of
        its weights and its inputs, which it adds there."""
        ends = []
        for value, y in zip(node.outputs, made, strict=True):
            gradient = gradients.pop(value.name, None)
            if value.name in self._seeds:
                seed = torch.full_like(y, self._seeds[value.name])
                gradient = seed if gradient is None else gradient + seed
            if y.requires_grad and gradient is not None:
                ends.append((y, gradient))
        passed = [(value.name, x) for value, x in zip(node.inputs, given, strict=True) if x.requires_grad]
        learned = [weight for weight in self._weights[node.name].values() if weight.requires_grad]
        wanted = [*(x for _, x in passed), *learned]
        if not ends or not wanted:
            return
        outputs, incoming = zip(*ends, strict=True)
        start = self._clock.now()
        found = torch.autograd.grad(outputs, wanted, incoming, allow_unused=True)
        backward[node.name] = (start, self._clock.now())
        for (name, _), gradient in zip(passed, found, strict=False):  # those of the weights follow
            if gradient is not None:
                gradients[name] = gradients[name] + gradient if name in gradients else gradient


def _cut_off(node: Node, values: Mapping[str, Tensor]) -> list[Tensor]:
    """The inputs of a node as leaves, which want a gradient where the node has to pass one on."""
    taken = [values[value.name] for value in node.inputs]
    goes_on = node.propagate or (True,) * len(taken)
    return [x.detach().requires_grad_(x.requires_grad and goes) for x, goes in zip(taken, goes_on, strict=True)]


def _weights(net: Net, node: Node) -> dict[str, Tensor]:
    """A node's weights by its own names, in the shapes that it wants."""
    wanted = infer.weights(node.layer, [value.shape for value in node.inputs])
    tensors = {local: net.tensor(name) for local, name in node.weights.items()}
    return {
        local: tensor if tensor.shape == wanted[local].shape else tensor.view(wanted[local].shape)
        for local, tensor in tensors.items()
    }
