"""Shape inference: asks each layer's rules and, when one refuses, adds the place.

A rule knows no file and no line; this is the one spot that does, for every layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from nktc.errors import LayerError, Note, coded
from nktc.ir.graph import Locate, Node
from nktc.ir.layer import MANY, Layer
from nktc.ir.value import DType, Shape, Value, Weight, list_shape, size, times

LARGEST = 2**31 - 1
"""How many numbers a value or a weight can hold: Caffe's limit, and that of runtimes that count in 32 bits."""

MOST_STEPS = 8  # of a chain of shapes; more are cut in the middle
MOST_ORIGINS = 4  # inputs whose origin is told


@contextmanager
def place(type_name: str, name: str, locate: Locate, origins: Sequence[Note] = ()) -> Iterator[None]:
    """Any LayerError inside is said of this layer, at the field to blame."""
    try:
        yield
    except LayerError as error:
        error.message = f'{type_name} "{name}": {error.message}' if type_name else f'layer "{name}": {error.message}'
        raise error.located(locate(error.field) or locate(""), *origins) from None


def count_inputs(layer: type[Layer], inputs: int) -> None:
    """Refuse a wrong number of bottoms."""
    least, most = layer.bottoms()
    if inputs < least or (most is not None and inputs > most):
        taken = f"{how_many(least, most)} {_plural('bottom', most)}"
        if most and most > 1:
            taken += f" ({', '.join([*inspect.signature(layer.shape).parameters][1:])})"
        raise LayerError(f"takes {taken}, not {inputs}", field="bottom", code="bottom-count")


def count_outputs(layer: type[Layer], inputs: int, outputs: int) -> None:
    """Refuse a wrong number of tops."""
    if layer.each:
        if inputs != outputs:
            message = f"makes one top for each bottom: {inputs} here, not {outputs}"
            raise LayerError(message, field="top", code="top-count")
        return
    least, most = layer.tops
    if not least <= outputs <= most:
        made = f"{how_many(least, most)} {_plural('top', most)}"
        raise LayerError(f"makes {made}, not {outputs}", field="top", code="top-count")


def shapes(layer: Layer, inputs: Sequence[Shape]) -> list[Shape]:
    """The shapes of the outputs. Raises LayerError: what the layer refuses, an output without elements, and what is
    too large for any runtime."""
    for shape in inputs:
        _bound("its input is", shape)
    try:
        made = [layer.shape(x) for x in inputs] if layer.each else layer.shape(*inputs)
    except LayerError as error:
        disagree = error.field.startswith("bottom") and len(inputs) > 1
        error.code = error.code or ("shape-mismatch" if disagree else "shape")
        raise
    found = [_one(shape) for shape in made] if isinstance(made, list) else [made]
    for shape in found:
        if any(dim < 1 for dim in shape):
            message = f"its output would be {times(shape)}: nothing is left of its input"
            raise LayerError(message, code="shape")
        _bound("its output would be", shape)
    return found


@coded("shape-mismatch")
def precision(layer: Layer, inputs: Sequence[DType]) -> DType:
    """The element type of the outputs. Raises LayerError where the inputs have several."""
    for other in inputs[1:]:
        if other is not inputs[0]:
            message = f"its inputs are of two types, {inputs[0].value} and {other.value}"
            raise LayerError(message, field="bottom", help="bring them to one with a layer of type Cast")
    return layer.precision(*inputs)


@coded("shape")
def weights(layer: Layer, inputs: Sequence[Shape]) -> dict[str, Weight]:
    """The layer's weights by name, in the order of Caffe's blobs. Raises LayerError for one that is too large, and
    where the inputs of an `each` layer need different ones."""
    found = layer.weights(*(inputs[:1] if layer.each else inputs))
    for position, x in enumerate(inputs[1:] if layer.each else (), 2):
        for name, weight in layer.weights(x).items():
            if weight != found[name]:
                first, other = times(found[name].shape), times(weight.shape)
                message = f"its {name} is {first} for its first bottom, {other} for bottom {position}"
                raise LayerError(message, field="bottom", code="shape-mismatch")
    for name, weight in found.items():
        _bound(f"its {name} would be", weight.shape)
    return found


def origins(inputs: Sequence[Value], producers: Mapping[str, Node]) -> list[Note]:
    """Notes that tell where the inputs are made and how they got their shapes. Of many, those that have a shape of
    their own are told."""
    told: dict[Shape | str, Value] = {}
    for value in inputs:
        told.setdefault(value.shape if len(inputs) > 2 else value.name, value)
    notes = []
    for value in told.values():
        if value.name in producers:
            node = producers[value.name]
            message = f'its input "{value.name.partition("@")[0]}" is made here: {_chain(value, producers)}'
            notes.append(Note(message, node.locate("name") or node.at))
    return notes[:MOST_ORIGINS]


def _chain(value: Value, producers: Mapping[str, Node]) -> str:
    """How a value came to its shape, along first inputs: data [1 1 28 28] -> conv1 Convolution [1 20 24 24]."""
    steps: list[str] = []
    follow: Value | None = value
    while follow and (node := producers.get(follow.name)):
        made = follow.name if node.layer.source else f"{node.name} {node.type}"
        steps.insert(0, f"{made} {list_shape(follow.shape)}")
        follow = node.inputs[0] if node.inputs else None
    if len(steps) > MOST_STEPS:
        steps[2 : len(steps) - MOST_STEPS + 2] = ["..."]
    return " -> ".join(steps)


def _bound(what: str, shape: Shape) -> None:
    if size(shape) > LARGEST:
        raise LayerError(f"{what} {times(shape)}, more than {LARGEST} numbers", code="too-large")


def _one(shape: Shape | list[Shape]) -> Shape:
    assert isinstance(shape, tuple)
    return shape


def how_many(least: int, most: int | None) -> str:
    """ "2", "1 to 3", "1 or more"."""
    if most is None or most >= MANY:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"


def _plural(word: str, count: int | None) -> str:
    return word if count == 1 else f"{word}s"
