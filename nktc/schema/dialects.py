"""The forks of Caffe as data: what their messages have that BVLC's lack, under which numbers, and what it does here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from nktc.schema.pool import PACKAGE, POOL, has_label

OWN, BVLC = "nktc", "BVLC"
OURS = 20000  # from this number on, fields are nktc's own
OLD_TYPES = "V1LayerParameter.LayerType"
LAYERS = ("LayerParameter", "V1LayerParameter")
KINDS = {
    number: name.removeprefix("TYPE_").lower() for name, number in vars(FieldDescriptor).items() if name[:5] == "TYPE_"
}


class ForkField(NamedTuple):
    """A field as forks have it, a row of dialects.tsv.

    `type` is "" where nktc's schema has the field and its type, else such as "repeated float", "enum A=0 B=1" or the
    name of a message. `numbers` are the field's, by dialect, 0 where a dialect lacks what BVLC's has; a field that is
    only known from texts has none. `effect`
    is "works" (the schema has it, or `nktc upgrade` rewrites it), "none", "refused" with the reason `why` unless the
    value is `neutral`, or "" inside the messages of a fork's own layers.
    """

    message: str
    name: str
    type: str
    numbers: Mapping[str, int]
    neutral: str
    effect: str
    why: str

    @property
    def forks(self) -> tuple[str, ...]:
        """The forks that have it, none where that is not known."""
        return tuple(sorted(self.numbers.keys() - {BVLC}, key=str.lower))

    @property
    def values(self) -> dict[str, int]:
        """The names of an enum, empty for other fields."""
        words = self.type.removeprefix("repeated ").split()
        pairs = (word.split("=") for word in words[1:]) if words[:1] == ["enum"] else ()
        return {name: int(number) for name, number in pairs}


class Dialect(NamedTuple):
    """A schema of Caffe's that binary files may be in; `types` are the layer types that it was made for, of which a
    file in it has one, empty where it is for any net."""

    name: str
    home: str
    types: tuple[str, ...]


class ForkType(NamedTuple):
    """A layer type that BVLC's Caffe does not have and forks do; where nktc has it neither, `why`, which may be empty,
    tells the reason or what to do."""

    name: str
    forks: tuple[str, ...]
    why: str


class WireField(NamedTuple):
    """A field as a dialect's files have it. `kind` is a scalar type, "enum" with its `values`, or "message" with the
    name of its `message`."""

    name: str
    kind: str
    repeated: bool
    message: str = ""
    values: Mapping[int, str] = MappingProxyType({})


def fork_fields(message: str, name: str) -> tuple[ForkField, ...]:
    """What forks call so in a message, one for each of its types; empty where none does. Layers of 2014 and today's
    have what either has."""
    found = _by_name().get((message, name), ())
    if not found and message in LAYERS:
        found = next((rows for layer in LAYERS if (rows := _by_name().get((layer, name)))), ())
    return found


def every_fork_field() -> Iterator[ForkField]:
    """What forks have, message by message."""
    for rows in _by_name().values():
        yield from rows


@cache
def fork_types() -> Mapping[str, ForkType]:
    """The layer types that only forks have, by name."""
    return {name: ForkType(name, tuple(forks.split(", ")), why) for name, forks, why in _table("layer_types.tsv", 3)}


@cache
def old_types() -> Mapping[str, str]:
    """What forks' types of 2014 (`type: INTERP`) are called today."""
    return {row.name: row.type for row in _rows() if row.message == OLD_TYPES}


@cache
def dialects() -> Mapping[str, Dialect]:
    """The dialects that binary files may be in, by name."""
    return {name: Dialect(name, home, tuple(types.split())) for name, home, types in _table("forks.tsv", 3)}


@cache
def wire_fields(dialect: str, message: str) -> Mapping[int, WireField]:
    """The fields of a message in the files of a dialect, by number."""
    schema = _schema(message)
    if dialect == OWN:
        return {number: _wire(field) for number, field in schema.items()}
    rows = [row for row in _rows() if row.message == message]
    forked = {row.name for row in rows if not row.type}
    found = {n: f.name for n, f in schema.items() if n < OURS and f.name not in forked}
    found |= {row.numbers[BVLC]: row.name for row in rows if BVLC in row.numbers}
    own = {row.name: row for row in rows if dialect in row.numbers}
    found = {number: name for number, name in found.items() if name not in own}
    found |= {row.numbers[dialect]: row.name for row in own.values()}
    named = {field.name: field for field in schema.values()}
    return {n: _forked(own[name], named) if name in own else _wire(named[name]) for n, name in found.items()}


@cache
def old_type_numbers(dialect: str) -> Mapping[int, str]:
    """The types of 2014 that a dialect adds to BVLC's, by number."""
    rows = (row for row in _rows() if row.message == OLD_TYPES)
    return {row.numbers[dialect]: row.name for row in rows if dialect in row.numbers}


def _forked(row: ForkField, named: Mapping[str, FieldDescriptor]) -> WireField:
    if not row.type:
        return _wire(named[row.name])
    kind = row.type.removeprefix("repeated ")
    repeated = kind != row.type
    if kind.startswith("enum "):
        return WireField(row.name, "enum", repeated, values={number: name for name, number in row.values.items()})
    if kind in KINDS.values():
        return WireField(row.name, kind, repeated)
    return WireField(row.name, "message", repeated, kind)


def _wire(field: FieldDescriptor) -> WireField:
    message = field.message_type.name if field.message_type else ""
    values = {value.number: value.name for value in field.enum_type.values} if field.enum_type else {}
    return WireField(field.name, KINDS[field.type], has_label(field, "repeated"), message, values)


def _schema(message: str) -> dict[int, FieldDescriptor]:
    """The fields that nktc's schema has of a message, by number."""
    try:
        return dict(POOL.FindMessageTypeByName(f"{PACKAGE}.{message}").fields_by_number)
    except KeyError:
        return {}


@cache
def _by_name() -> dict[tuple[str, str], tuple[ForkField, ...]]:
    found: dict[tuple[str, str], tuple[ForkField, ...]] = {}
    for row in _rows():
        found[row.message, row.name] = (*found.get((row.message, row.name), ()), row)
    return found


@cache
def _rows() -> tuple[ForkField, ...]:
    return tuple(
        ForkField(message, name, kind, _numbers(numbers), neutral, effect, why)
        for message, name, kind, numbers, neutral, effect, why in _table("dialects.tsv", 7)
    )


def _numbers(text: str) -> dict[str, int]:
    """ "202 SSD NVIDIA; 224 caffe-windows" by dialect."""
    groups = (group.split() for group in text.split(";") if text)
    return {dialect: int(number) for number, *names in groups for dialect in names}


def _table(name: str, width: int) -> Iterator[list[str]]:
    """The rows of a table below its heading, each as wide as it is."""
    lines = Path(__file__).with_name(name).read_text("utf-8").splitlines()[1:]
    return (([*line.split("\t"), *[""] * width])[:width] for line in lines)
