"""Shape inference: asks each layer's rules and, when one refuses, adds the place.

A rule knows no file and no line; this is the one spot that does, for every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nktc.errors import LayerError, Note, Span
from nktc.ir.graph import Locate
from nktc.ir.layer import MANY, Layer
from nktc.ir.value import Shape, Value, Weight, list_shape, size, times

LARGEST = 2**31 - 1
"""How many numbers a value or a weight can hold: Caffe's limit, and that of runtimes that count in 32 bits."""


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
        raise LayerError(f"takes {how_many(least, most)} {_plural('bottom', most)}, not {inputs}", field="bottom")


def count_outputs(layer: type[Layer], inputs: int, outputs: int) -> None:
    """Refuse a wrong number of tops."""
    if layer.each:
        if inputs != outputs:
            raise LayerError(f"makes one top for each bottom: {inputs} here, not {outputs}", field="top")
        return
    least, most = layer.tops
    if not least <= outputs <= most:
        raise LayerError(f"makes {how_many(least, most)} {_plural('top', most)}, not {outputs}", field="top")


def shapes(layer: Layer, inputs: Sequence[Shape]) -> list[Shape]:
    """The shapes of the outputs. Raises LayerError: what the layer refuses, an output without elements, and what is
    too large for any runtime."""
    for shape in inputs:
        _bound("its input is", shape)
    made = [layer.shape(x) for x in inputs] if layer.each else layer.shape(*inputs)
    found = [_one(shape) for shape in made] if isinstance(made, list) else [made]
    for shape in found:
        if any(dim < 1 for dim in shape):
            raise LayerError(f"its output would be {times(shape)}: nothing is left of its input")
        _bound("its output would be", shape)
    return found


def weights(layer: Layer, inputs: Sequence[Shape]) -> dict[str, Weight]:
    """The layer's weights by name, in the order of Caffe's blobs. Raises LayerError for one that is too large."""
    found = layer.weights(*(inputs[:1] if layer.each else inputs))
    for name, weight in found.items():
        _bound(f"its {name} would be", weight.shape)
    return found


def origins(inputs: Sequence[Value], locate_producer: Callable[[str], tuple[str, Span | None] | None]) -> list[Note]:
    """Notes that tell where each input was made and its shape."""
    notes = []
    for value in inputs:
        made = locate_producer(value.name)
        if made:
            blob = value.name.partition("@")[0]
            notes.append(Note(f'its input "{blob}" {list_shape(value.shape)} is made here, by "{made[0]}"', made[1]))
    return notes


def _bound(what: str, shape: Shape) -> None:
    if size(shape) > LARGEST:
        raise LayerError(f"{what} {times(shape)}, more than {LARGEST} numbers")


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
