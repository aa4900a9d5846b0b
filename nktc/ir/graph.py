"""The immutable graph: nodes in order of execution, the parameters they hold, and what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nktc.errors import Span
from nktc.ir.feed import Preprocessing
from nktc.ir.layer import Layer
from nktc.ir.value import Grid, Parameter, Phase, Value
from nktc.schema import LayerParameter

Locate = Callable[[str], Span | None]
"""The place of a field of a layer ("kernel_size", "" for the layer itself); None where there is no text."""


def nowhere(field: str) -> Span | None:
    """The `Locate` of what has no text."""
    return None


@dataclass(frozen=True)
class Node:
    """One layer at work. `weights` maps the layer's own name of a weight to the graph's ("weight" -> "conv1.weight").

    `loss_weights` has one factor an output, or is empty; `propagate` tells for each input whether the gradient goes
    on through it, or is empty for all; `definition` is the layer as the net says it, None where a rewrite made it;
    `locate` finds the layer's fields in the prototxt, and is kept through rewrites; `origins` names the layers of the
    net whose work a rewritten node does, itself among them or not, and is empty where that is itself alone.
    """

    name: str
    layer: Layer
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: Mapping[str, str] = field(default_factory=dict)
    loss_weights: tuple[float, ...] = ()
    propagate: tuple[bool, ...] = ()
    definition: LayerParameter | None = None
    origins: tuple[str, ...] = ()
    locate: Locate = field(default=nowhere, compare=False)

    @property
    def at(self) -> Span | None:
        """The layer's place in the prototxt."""
        return self.locate("")

    @property
    def works_for(self) -> tuple[str, ...]:
        """The names of the layers of the net whose work this is."""
        return self.origins or (self.name,)

    @property
    def type(self) -> str:
        return type(self.layer).__name__


@dataclass(frozen=True, eq=False)
class Graph:
    """A net of one phase.

    `arrays` holds the weights' values by parameter name where they are known, in f32 whatever they are computed
    in; `grids` tells which of them are whole multiples of a step and run in 8 bits. `preprocessing` maps an input
    value to what a picture goes through to become it; `labels` names the classes. `wanted` names the outputs where
    they are not just what nobody consumes.
    """

    name: str
    phase: Phase
    nodes: tuple[Node, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    grids: Mapping[str, Grid] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()
    force_backward: bool = False

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @cached_property
    def sources(self) -> tuple[Node, ...]:
        """The nodes whose outputs are fed from outside."""
        return tuple(node for node in self.nodes if node.layer.source)

    @cached_property
    def inputs(self) -> tuple[Value, ...]:
        """What is fed from outside, in order."""
        return tuple(value for node in self.sources for value in node.outputs)

    @cached_property
    def outputs(self) -> tuple[Value, ...]:
        """The values nobody consumes, in order of production: Caffe's net outputs. Or those that are wanted."""
        if self.wanted:
            return tuple(self.values[name] for name in self.wanted)
        consumed = {value.name for node in self.nodes for value in node.inputs}
        return tuple(v for node in self.nodes for v in node.outputs if v.name not in consumed)

    @cached_property
    def values(self) -> Mapping[str, Value]:
        return {value.name: value for node in self.nodes for value in node.outputs}

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that makes each value, by the value's name."""
        return {value.name: node for node in self.nodes for value in node.outputs}

    @cached_property
    def readers(self) -> Mapping[str, list[Node]]:
        """The nodes that take each value, once for each time they take it."""
        found: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for value in node.inputs:
                found[value.name].append(node)
        return found

    def only_reader(self, name: str) -> Node | None:
        """The node that alone takes a value, once; None where there are others or none, or where it is a loss or an
        output."""
        readers = self.readers[name]
        seen = name in self.wanted or name in dict(self.losses)
        return readers[0] if len(readers) == 1 and not seen else None

    @cached_property
    def losses(self) -> tuple[tuple[str, float], ...]:
        """Values that enter the objective, with their factors."""
        return tuple(
            (value.name, weight)
            for node in self.nodes
            for value, weight in zip(node.outputs, node.loss_weights, strict=False)
            if weight
        )

    def node(self, name: str) -> Node:
        """The node of that name; KeyError when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)
