"""Layers at work on blobs: what a net is made of when it runs layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nktc import layers, module
from nktc.errors import LayerError
from nktc.ir import Node, Shape, infer, times
from nktc.pycaffe.blob import Blob, BlobVec
from nktc.pycaffe.layer import Layer


class Step(Layer):
    """A layer with its blobs.

    `blobs` are its weights. `loss_weights` has one a top; `propagates` tells for each bottom whether its gradient is
    worked out, `learns` the same of each weight; `goes_back` whether the layer has a backward at all.
    """

    blobs: BlobVec  # type: ignore[assignment]
    node: Node | None = None

    def __init__(self, name: str, kind: str, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> None:
        self.name, self.type = name, kind
        self.bottoms, self.tops, self.blobs = [*bottoms], [*tops], BlobVec()
        self.loss_weights = [0.0] * len(tops)
        self.propagates = [False] * len(bottoms)
        self.goes_back = False
        self.records = False

    @property
    def shown(self) -> Any:
        """What scripts see as the layer."""
        return self

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """It is set up already."""

    def reshape(self, bottom: Sequence[Blob] = (), top: Sequence[Blob] = ()) -> None:
        """Give the tops the shapes that follow from the bottoms. Raises LayerError."""

    def forward(self, device: torch.device) -> None:
        """Work out the tops."""

    def backward(self, device: torch.device) -> None:
        """Work out the gradients of the bottoms, and add to those of the weights."""

    def weigh_losses(self, device: torch.device) -> None:
        """Put the loss weights where the gradients of the tops are."""
        for top, weight in zip(self.tops, self.loss_weights, strict=True):
            if weight:
                top.gradient(device, write=True).fill_(weight)

    def loss(self, device: torch.device) -> Tensor | None:
        """What its tops add to the objective, f32[], as their gradients say; None where none of them is a loss."""
        terms = [
            (top.tensor(device) * top.gradient(device)).sum()
            for top, weight in zip(self.tops, self.loss_weights, strict=True)
            if weight
        ]
        return sum(terms[1:], start=terms[0]) if terms else None

    def unbind(self) -> None:
        """The weights lie elsewhere now."""


class SplitStep(Step):
    """A blob for several layers: its numbers are those of its bottom, each top has a gradient of its own."""

    def reshape(self, bottom: Sequence[Blob] = (), top: Sequence[Blob] = ()) -> None:
        for one in self.tops:
            one.reshape(*self.bottoms[0].shape)

    def forward(self, device: torch.device) -> None:
        if any(top.shape != self.bottoms[0].shape for top in self.tops):
            self.reshape()
            self.weigh_losses(device)

    def backward(self, device: torch.device) -> None:
        first, *others = (top.gradient(device) for top in self.tops)
        into = self.bottoms[0].gradient(device, write=True).copy_(first)
        for other in others:
            into.add_(other)


class NodeStep(Step):
    """A layer of the catalogue. `holder` has its weights."""

    node: Node

    def __init__(self, node: Node, bottoms: Sequence[Blob], tops: Sequence[Blob], holder: module.Net) -> None:
        super().__init__(node.name, node.type, bottoms, tops)
        self.node, self.holder = node, holder
        self.overwrites = any(top is bottom for top in tops for bottom in bottoms)
        self._shapes = tuple(blob.shape for blob in bottoms)
        self._weights: dict[str, Tensor] | None = None
        self._learned: list[tuple[Tensor, Blob]] = []
        self._own = infer.weights(node.layer, self._shapes)
        self._state: dict[str, Tensor] = {}
        self._record: tuple[tuple[Shape, ...], list[Tensor], tuple[Tensor, ...]] | None = None

    def unbind(self) -> None:
        self._weights, self._record = None, None

    def reshape(self, bottom: Sequence[Blob] = (), top: Sequence[Blob] = ()) -> None:
        bottom, top = bottom or self.bottoms, top or self.tops
        shapes = tuple(blob.shape for blob in bottom)
        with infer.place(self.type, self.name, self.node.locate):
            made = self._infer(shapes)
        for blob, shape in zip(top, made, strict=True):
            blob.reshape(*shape)
        self._shapes = shapes

    def forward(self, device: torch.device) -> None:
        shapes = tuple(blob.shape for blob in self.bottoms)
        if shapes != self._shapes:
            if all(dim for shape in shapes for dim in shape):
                self.reshape()
                self.weigh_losses(device)
            self._shapes = shapes
        self._record = None
        if self.records:
            with torch.enable_grad():
                taken = self._taken(device)
                made = self._run(taken, self._bound(device))
            self._record = (shapes, taken, made)
        else:
            made = self._run([blob.tensor(device) for blob in self.bottoms], self._bound(device))
        for blob, tensor in zip(self.tops, made, strict=True):
            blob.put(tensor)

    def backward(self, device: torch.device) -> None:
        shapes = tuple(blob.shape for blob in self.bottoms)
        if self._record is None or self._record[0] != shapes:
            with torch.enable_grad():
                taken = self._taken(device)
                weights = self._bound(device)
                learned = {id(leaf) for leaf, _ in self._learned}
                # What learns must be the leaf itself; state is not to change a second time.
                kept = {name: w if id(w) in learned else w.clone() for name, w in weights.items()}
                self._record = (shapes, taken, self._run(taken, kept))
        _, taken, made = self._record
        pairs = [(y, top) for y, top in zip(made, self.tops, strict=True) if y.requires_grad]
        wanted = [x for x, goes in zip(taken, self.propagates, strict=True) if goes]
        leaves = [leaf for leaf, _ in self._learned]
        found: Sequence[Tensor | None] = [None] * (len(wanted) + len(leaves))
        if pairs and found:
            slopes = [top.gradient(device).view(y.shape) for y, top in pairs]
            found = torch.autograd.grad(
                [y for y, _ in pairs], [*wanted, *leaves], slopes, retain_graph=True, allow_unused=True
            )
        into = [blob for blob, goes in zip(self.bottoms, self.propagates, strict=True) if goes]
        for blob, grad in zip(into, found, strict=False):
            slope = blob.gradient(device, write=True)
            slope.zero_() if grad is None else slope.copy_(grad)
        for (_, blob), grad in zip(self._learned, found[len(wanted) :], strict=True):
            if grad is not None:
                slope = blob.gradient(device, write=True)
                slope.add_(grad.view(slope.shape))

    def _infer(self, shapes: tuple[Shape, ...]) -> list[Shape]:
        """The shapes of the tops, after looking whether the weights still fit. Raises LayerError."""
        made = infer.shapes(self.node.layer, shapes)
        for local, weight in infer.weights(self.node.layer, shapes).items():
            before = self._own[local].shape
            if weight.shape != before and weight.kept:
                said = f"its {local} is {times(before)}, and an input of {times(shapes[0])} takes {times(weight.shape)}"
                raise LayerError(said, field="bottom", code="shape-mismatch")
            if weight.shape != before:
                self._own = {**self._own, local: weight}
                self.unbind()
        return made

    def _taken(self, device: torch.device) -> list[Tensor]:
        """The bottoms as leaves; of what is overwritten there is only a copy."""
        found = []
        for blob, goes in zip(self.bottoms, self.propagates, strict=True):
            x = blob.tensor(device)
            # .data counts changes on its own: as in Caffe, backward takes what lies in the blob by then.
            x = x.clone() if self.overwrites else x.data
            found.append(x.requires_grad_(goes))
        return found

    def _bound(self, device: torch.device) -> Mapping[str, Tensor]:
        """The weights by the layer's own names, those that learn as leaves over the very memory of the blobs."""
        if self._weights is not None:
            return self._weights
        self._weights, self._learned, held = {}, [], iter(self.blobs)
        for local, name in self.node.weights.items():
            parameter = self.holder.graph.parameters[name]
            tensor, shape = self.holder.tensor(name).data, self._own[local].shape
            if not parameter.weight.kept:
                known = self._state.get(local)
                if known is None or known.shape != shape:
                    known = tensor if tensor.shape == shape else torch.zeros(shape)
                self._weights[local] = self._state[local] = known.to(device)
                continue
            blob = next(held)
            self._weights[local] = leaf = tensor.view(shape)
            if parameter.weight.learns and (parameter.learns or self.holder.graph.force_backward) and self.goes_back:
                self._learned.append((leaf.requires_grad_(), blob))
        return self._weights

    def _run(self, given: Sequence[Tensor], weights: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        layer = self.node.layer
        made: Any
        try:
            with infer.place(self.type, self.name, self.node.locate):
                if layer.each:
                    made = tuple(layer.forward(x, **weights) for x in given)
                else:
                    made = layer.forward(*given, **weights)
        except (IndexError, RuntimeError) as error:
            raise module.outside(self.node, error) from error
        return made if isinstance(made, tuple) else (made,)


class DummyStep(NodeStep):
    """DummyData: what is constant is written once, before anybody else writes there."""

    def __init__(self, node: Node, bottoms: Sequence[Blob], tops: Sequence[Blob], holder: module.Net) -> None:
        super().__init__(node, bottoms, tops, holder)
        assert isinstance(node.layer, layers.DummyData)
        fillers = node.layer.fillers
        self._fillers = fillers if len(fillers) == len(tops) else fillers * len(tops)
        for top, filler in zip(tops, self._fillers, strict=True):
            if filler.type == "constant":
                top.data[...] = filler.value

    def forward(self, device: torch.device) -> None:
        for top, filler in zip(self.tops, self._fillers, strict=True):
            if filler.type != "constant":
                top.tensor(device, write=True).copy_(layers.fill(torch.empty(top.shape), filler))

    def reshape(self, bottom: Sequence[Blob] = (), top: Sequence[Blob] = ()) -> None:
        """The tops have the shapes that they were given last."""

    def backward(self, device: torch.device) -> None:
        """There is nothing below."""


class PythonStep(Step):
    """A layer written in Python, in Caffe's protocol, whose methods get the net's own blobs."""

    node: Node

    def __init__(self, node: Node, bottoms: Sequence[Blob], tops: Sequence[Blob], form: layers.CaffeForm) -> None:
        super().__init__(node.name, node.type, bottoms, tops)
        self.node, self.layer = node, form.layer

    @property
    def shown(self) -> Any:
        return self.layer

    def unbind(self) -> None:
        self._bind()

    def reshape(self, bottom: Sequence[Blob] = (), top: Sequence[Blob] = ()) -> None:
        self._bind()
        with self._told("reshape"):
            self.layer.reshape(bottom or self.bottoms, top or self.tops)

    def forward(self, device: torch.device) -> None:
        before = [top.shape for top in self.tops]
        self.reshape()
        if before != [top.shape for top in self.tops]:
            self.weigh_losses(device)
        with self._told("forward"):
            self.layer.forward(self.bottoms, self.tops)

    def backward(self, device: torch.device) -> None:
        self._bind()
        with self._told("backward"):
            self.layer.backward(self.tops, [*self.propagates], self.bottoms)

    @contextmanager
    def _told(self, method: str) -> Iterator[None]:
        """What the layer raises comes through as it is, with a note where in the net that is."""
        try:
            yield
        except Exception as error:
            at = f"{self.node.at}: " if self.node.at else ""
            error.add_note(f'{at}in {method} of Python layer "{self.name}"')
            raise

    def _bind(self) -> None:
        """The layer's own blobs, which it may have kept since setup, hold what the net has."""
        for theirs, ours in zip(self.layer.blobs, self.blobs, strict=True):
            theirs.hold(ours.data, ours.diff)
