"""The net inside a binary file, such as a .caffemodel, as text: told in whichever dialect of Caffe's schema it is."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from nktc import text, wire
from nktc.errors import NktcError, Source, Span, near
from nktc.ir import catalogue
from nktc.reader import forks
from nktc.reader.old_names import layer_type
from nktc.schema import WireField, dialects, fork_types, old_type_numbers, wire_fields
from nktc.text import Field, Scalar, Tree
from nktc.wire import WireError

HEAD = 4096  # bytes of a file that tell whether it is text
CONTROL: Final = frozenset(range(32)) - {*b"\t\n\v\f\r\x1a"}
LIMITS = {"int32": (-(2**31), 2**31), "int64": (-(2**63), 2**63), "uint32": (0, 2**32), "uint64": (0, 2**64)}
NUMBERS = {"float": (wire.BITS32, "<f4"), "double": (wire.BITS64, "<f8")}
WEIGHTS = "blobs"
"""The field of a layer that holds its weights: it is passed over."""
COMMON = ("transform_param", "loss_param", "split_param", "param")
"""Messages of a layer that are not of its type alone."""
NOWHERE = Span(Source("", ""), 1, 1)
DEEPEST = 50  # messages in one another
MOST_STRANGE = 100  # are counted; a file of another kind has no end of them


def is_binary(path: str | Path) -> bool:
    """Whether a file is no text. Files that cannot be read are left to who reads them."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD)
        # A net starts with the number of a field; a text may have a stray character further on.
        return not (head[:1].isascii() and head[:1].decode().isprintable()) and not CONTROL.isdisjoint(head)
    except (OSError, ValueError):  # a name with a zero in it is a ValueError
        return False


def read_binary(path: str | Path, dialect: str = "") -> Tree:
    """The net in a binary file, without its weights, as the tree of a text that `print_tree` writes; places are those
    in that text. The phase that a snapshot notes in every layer is left out. Raises NktcError where the file is
    damaged, and where it could mean several things and no dialect is named.

    Of the dialects, those count that leave the fewest fields unknown and the fewest settings to layers of another type;
    they have to agree in what matters here. Fields that are unknown all the same are left out, as Caffe does, and a
    comment says so."""
    names = [*dialects()]
    if dialect and dialect not in names:
        help = near(dialect, names) or f"the dialects are {', '.join(names)}"
        raise NktcError(f'there is no dialect "{dialect}"', help=help)
    try:
        with Path(path).open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last view of it
        written = _written(memoryview(data), path, [dialect] if dialect else names)
    except WireError as error:
        said = f"{path} is neither a prototxt nor a whole .caffemodel: {error.message}"
        raise NktcError(said, code="file-unreadable") from None
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise NktcError(f"cannot read {path}: {error}", code="file-unreadable") from None
    return text.parse(Source(f"{path} (as text)", written))


@dataclass(eq=False)
class _Reading:
    """A net as one dialect has it. `strange` is what the dialect does not know, which is left out; `used` are the
    fields that were met, by message and number."""

    dialect: str
    tree: Tree = field(default_factory=lambda: Tree((), NOWHERE, NOWHERE))
    strange: list[str] = field(default_factory=list)
    used: dict[tuple[str, int], WireField | None] = field(default_factory=dict)

    def misfits(self) -> int:
        """How much does not go with the types of the layers."""
        return sum(_misfits(layer, self.dialect) for layer in self.layers)

    def fits(self) -> bool:
        """Whether the net has a layer of the types that its dialect was made for."""
        types = dialects()[self.dialect].types
        return not types or any(layer_type(layer) in types for layer in self.layers)

    @property
    def layers(self) -> list[Tree]:
        fields = (*self.tree.all("layer"), *self.tree.all("layers"))
        return [layer.value for layer in fields if isinstance(layer.value, Tree)]

    def same(self, dialect: str) -> bool:
        """Whether another dialect reads all that was met the same."""
        if ("V1LayerParameter", 5) in self.used and old_type_numbers(dialect) != old_type_numbers(self.dialect):
            return False
        return all(wire_fields(dialect, message).get(n) == known for (message, n), known in self.used.items())


def _written(data: memoryview, path: str | Path, names: Sequence[str]) -> str:
    """The text of the net in the dialect that it is in. Raises NktcErrors, WireError among them."""
    readings: list[_Reading] = []
    for name in names:
        twin = next((reading for reading in readings if reading.same(name)), None)
        readings.append(replace(twin, dialect=name) if twin else _read(data, name))
    if not any(reading.layers for reading in readings):
        raise NktcError(f"{path} is no net", help="a prototxt or a .caffemodel holds one", code="wrong-file")
    fewest = min(len(reading.strange) for reading in readings)
    likely = [reading for reading in readings if len(reading.strange) == fewest]
    likely = [reading for reading in likely if reading.fits()] or likely
    if fewest and likely[0].dialect == names[0]:
        likely = likely[:1]  # the fork of a fork that nobody knows has most from BVLC
    least = min(reading.misfits() for reading in likely)
    trees = {id(reading.tree): reading for reading in reversed(likely) if reading.misfits() == least}
    meant = {text.print_tree(forks.meant(reading.tree)): reading for reading in trees.values()}
    if len(meant) > 1:
        as_bvlc = [reading.tree for reading in likely if reading.dialect == "BVLC"]
        them = [
            "BVLC" if any(reading.tree is tree for tree in as_bvlc) else reading.dialect
            for reading in likely
            if reading in [*meant.values()]
        ]
        help = f"write it as text: nktc upgrade {path} --dialect NAME -o NET.prototxt, and give that with it as weights"
        said = f"{path} may be in the dialect of {' or '.join(them)}, and is not the same net in each"
        raise NktcError(said, help=help, code="dialect")
    (reading,) = meant.values()
    return text.print_tree(_without_phases(_without_producer(reading.tree)))


def _read(data: memoryview, dialect: str) -> _Reading:
    reading = _Reading(dialect)
    reading.tree = _tree(data, "NetParameter", reading, 0)
    return reading


def _tree(data: memoryview, message: str, reading: _Reading, depth: int) -> Tree:
    """What a message says in a dialect. Raises WireError."""
    if depth > DEEPEST:
        raise WireError("its messages lie too deep in one another")
    known = wire_fields(reading.dialect, message)
    fields: list[Field] = []
    strange: list[int] = []
    for found in wire.fields(data):
        slot = known.get(found.number)
        reading.used[message, found.number] = slot
        if slot and slot.name == WEIGHTS:
            continue
        values = [*_values(found, slot, message, reading, depth)] if slot else [None]
        for value in values:
            if value is not None and slot:
                fields.append(Field(slot.name, value, NOWHERE))
            elif len(reading.strange) < MOST_STRANGE:
                reading.strange.append(f"{message}.{found.number}")
                strange.append(found.number)
    # Of what a message has once, the last counts.
    last = {one.name: one for one in fields}
    many = {slot.name for slot in known.values() if slot.repeated}
    kept = tuple(one for one in fields if one.name in many or last[one.name] is one)
    numbers = ", ".join(map(str, dict.fromkeys(strange)))
    opening = f"# {'fields' if ',' in numbers else 'field'} {numbers} {forks.LEFT_OUT}" if strange else ""
    return Tree(kept, NOWHERE, NOWHERE, opening, inline=depth > 1)


def _values(
    found: wire.Field, slot: WireField, message: str, reading: _Reading, depth: int
) -> Iterator[Scalar | Tree | None]:
    """The values of a field, None for one that it cannot have."""
    bytes_ = found.view
    if slot.kind == "message":
        try:
            yield None if bytes_ is None else _tree(bytes_, slot.message, reading, depth + 1)
        except WireError:
            yield None
    elif slot.kind in ("string", "bytes"):
        yield None if bytes_ is None else _text(bytes(bytes_))
    elif slot.kind in NUMBERS:
        width, form = NUMBERS[slot.kind]
        if found.kind == width or (bytes_ is not None and slot.repeated and not len(bytes_) % int(form[-1])):
            yield from (_number(number) for number in wire.numbers(found, form))
        else:
            yield None
    elif found.kind == wire.VARINT or (bytes_ is not None and slot.repeated):
        try:
            yield from (_whole(number, slot, message, reading) for number in wire.varints(found))
        except WireError:
            yield None
    else:
        yield None


def _text(said: bytes) -> Scalar | None:
    try:
        return Scalar("string", said.decode(), NOWHERE)
    except UnicodeDecodeError:
        return None


def _number(number: np.floating) -> Scalar:
    """As short as it reads back the same."""
    word = str(number).removesuffix(".0")
    return Scalar("number" if np.isfinite(number) else "identifier", word, NOWHERE)


def _whole(number: int, slot: WireField, message: str, reading: _Reading) -> Scalar | None:
    if slot.kind == "bool":
        return Scalar("identifier", "true" if number else "false", NOWHERE) if number < 2 else None
    if slot.kind == "enum":
        old = (message, slot.name) == ("V1LayerParameter", "type")
        name = (old_type_numbers(reading.dialect) if old else {}).get(number) or slot.values.get(number)
        return Scalar("identifier", name, NOWHERE) if name else None
    low, high = LIMITS[slot.kind]
    number = wire.signed(number) if low else number
    return Scalar("number", str(number), NOWHERE) if low <= number < high else None


def _misfits(layer: Tree, dialect: str) -> int:
    """How many settings of a layer are another type's, and whether its type is one of other forks."""
    kind = layer_type(layer)
    row = fork_types().get(kind)
    strangers = row is not None and dialect not in row.forks and dialect in _with_types()
    known = catalogue().get(kind)
    params = [one for one in layer.fields if isinstance(one.value, Tree) and one.name.endswith("_param")]
    return strangers + sum(
        one.name not in COMMON
        and (one.name not in known.param if known else not _alike(one.name, kind))
        and not forks.is_renamed(kind, one.name)
        for one in params
    )


@cache
def _with_types() -> frozenset[str]:
    """The dialects whose layer types are known: some are those of converters, which have no layers."""
    return frozenset({"BVLC", *(fork for row in fork_types().values() for fork in row.forks)})


def _alike(param: str, kind: str) -> bool:
    """Whether settings may be those of a type that is not known, by their names."""
    name, kind = param.removesuffix("_param").replace("_", ""), kind.lower()
    return name in kind or kind in name


def _without_producer(net: Tree) -> Tree:
    return replace(net, fields=tuple(one for one in net.fields if one.name != "producer"))


def _without_phases(net: Tree) -> Tree:
    """A net without the phase that every layer of a snapshot has: that of the net that was saved, not its author's."""
    layers = [one.value for one in net.fields if one.name == "layer" and isinstance(one.value, Tree)]
    if not layers or not all(layer.find("phase") for layer in layers):
        return net
    return replace(net, fields=tuple(_without_phase(one) for one in net.fields))


def _without_phase(one: Field) -> Field:
    if one.name != "layer" or not isinstance(one.value, Tree):
        return one
    return replace(one, value=replace(one.value, fields=tuple(f for f in one.value.fields if f.name != "phase")))
