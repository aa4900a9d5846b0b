"""What the rules of ONNX operators read from and write to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nktc.convert.draft import Draft
from nktc.convert.onnx_graph import Call, OnnxGraph
from nktc.errors import LayerError
from nktc.ir import Shape, times
from nktc.schema import BlobShape, LayerParameter, ReshapeParameter

WEIGHT = (".weight", "_weight", "/weight")  # ends of names that exporters give to weights


class Importing:
    """The ONNX graph, and the net that is being written. A value of ONNX is the blob of its name, or of the value that
    it is a copy of; layers are called as torch's modules where their weights say so, else as the node."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.draft = Draft(graph.name)
        self.blobs = {name: name for name in graph.inputs}
        self.padded: dict[str, tuple[str, list[int], list[int]]] = {}  # by a Pad's output: what it pads, before, behind
        self.shapes = dict(graph.shapes)
        self._name = ""
        for name, shape in graph.inputs.items():
            self.draft.input(name, shape)

    def begin(self, call: Call) -> None:
        """The rule of a call comes next."""
        self._name = self._legible(call)

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant, in f32 where it is of another float; None for what is computed, or left out."""
        found = self.graph.constants.get(name)
        if found is not None and found.dtype.kind not in "biu" and found.dtype != np.float32:
            found = found.astype(np.float32)
        return found

    def weight(self, call: Call, position: int, what: str) -> np.ndarray:
        """An input that a layer of Caffe holds. Raises LayerError where it is computed."""
        found = self.constant(call.inputs[position])
        if found is None:
            raise LayerError(f"its {what} is computed, a layer of Caffe holds it", help="export it as an initializer")
        return found

    def numbers(self, call: Call, name: str, position: int) -> list[int] | None:
        """Whole numbers that older opsets have as an attribute and newer ones as an input; None where left out. Raises
        LayerError."""
        if name in call.attributes:
            given = call.attributes[name]
            return [int(n) for n in given] if isinstance(given, list | tuple) else [int(given)]
        if position >= len(call.inputs) or not call.inputs[position]:
            return None
        return [int(n) for n in np.ravel(self.weight(call, position, name))]

    def number(self, call: Call, name: str, position: int) -> float | None:
        """The same for one number, a float."""
        if name in call.attributes:
            return float(call.attributes[name])
        if position >= len(call.inputs) or not call.inputs[position]:
            return None
        found = self.weight(call, position, name)
        if found.size != 1:
            raise LayerError(f"its {name} is {times(found.shape)}, not a single number")
        return float(found.ravel()[0])

    def shape(self, name: str) -> Shape:
        """The shape of a value. Raises LayerError where it cannot be inferred."""
        if name not in self.shapes:
            help = "fix the sizes of the inputs with --input-shape, and export without control flow"
            raise LayerError(f'the shape of "{name}" cannot be known beforehand', help=help)
        return self.shapes[name]

    def blob(self, name: str) -> str:
        """The blob of a value; a constant becomes one. Raises LayerError."""
        if name in self.padded:
            raise AssertionError(name)  # its Pad saw all its readers
        if name not in self.blobs:
            value = self.constant(name)
            if value is None:
                raise LayerError(f'its input "{name}" is made by nothing')
            self.shapes[name] = value.shape
            layer = self.draft.add("Parameter", name, (), (name,), [value])
            layer.parameter_param.shape.dim.extend(value.shape)
            self.blobs[name] = name
        return self.blobs[name]

    def layer(
        self,
        type: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        arrays: Sequence[np.ndarray] = (),
        part: str = "",
        **params: Any,
    ) -> LayerParameter:
        """A layer of the call; bottoms and tops are blobs. `part` names one of several."""
        self.blobs |= {top: top for top in tops}
        name = f"{self._name}/{part}" if part else self._name
        return self.draft.add(type, name, bottoms, tops, arrays, **params)

    def between(self, top: str, part: str) -> str:
        """A blob between two layers of one call."""
        return f"{top}/{part}"

    def alias(self, call: Call) -> None:
        """The output is the input; where it is an output of the net it is copied."""
        source = self.blob(call.inputs[0])
        if call.outputs[0] in self.graph.outputs:
            self.layer("Split", [source], [call.outputs[0]])
        else:
            self.blobs[call.outputs[0]] = source

    def reshape(self, source: str, top: str, before: Shape, after: Shape, part: str = "") -> None:
        """Another shape of a blob; axis 0 is copied where it stays, so that any batch goes."""
        dims = list(after)
        if before and after and before[0] == after[0]:
            dims[0] = 0
        self.layer("Reshape", [source], [top], part=part, reshape_param=ReshapeParameter(shape=BlobShape(dim=dims)))

    def _legible(self, call: Call) -> str:
        for name in call.inputs[1:2]:
            for end in WEIGHT:
                if name in self.graph.constants and name.endswith(end) and len(name) > len(end):
                    return name.removesuffix(end).removeprefix("/")
        return call.name.strip("/").removeprefix("node_") or call.op


Rule = Callable[[Importing, Call], None]

RULES: dict[str, Rule] = {}
"""The rule of each operator."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Enters a function as the rule of operators."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return enter
