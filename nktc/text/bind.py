"""Tree to message, with every mistake found at once and its place told."""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from nktc.errors import MOST, Enough, NktcError, Note, Span, in_order, near, raise_all
from nktc.schema import LayerParameter, fork_fields, has_label, old_types
from nktc.text.tree import Field, Scalar, Tree

M = TypeVar("M", bound=Message)

ROOTS = {"NetParameter": "the net", "SolverParameter": "the solver"}
MANY = 8  # names of an enum; more are not listed in an error
TRUE, FALSE = ("true", "True", "t", "1"), ("false", "False", "f", "0")
WHOLE = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
OTHER_BASE = re.compile(r"-?0[0-9xX]", re.ASCII)
LIMITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}

TEXT = "a text in quotes"

# Reads a value; None when it cannot be one.
Reader = Callable[[Scalar], Any]


class Slot(NamedTuple):
    """What a field takes. `takes` ends the sentence "NAME takes"; `read` is None for a message."""

    repeated: bool
    read: Reader | None
    takes: str
    names: tuple[str, ...] = ()  # of an enum
    limits: tuple[int, int] | None = None  # of a whole number


def bind(tree: Tree, message_class: type[M], errors: list[NktcError] | None = None) -> M:
    """The message that `tree` says; all its mistakes are raised together, in the order of the file. Where a list
    `errors` is given they are added to it, and the message is what else the tree says. Fields that only forks of Caffe
    have are passed over: what they mean is the reader's to tell."""
    message = message_class()
    descriptor = message_class.DESCRIPTOR
    binder = _Binder()
    with suppress(Enough):
        binder.fill(message, tree, ROOTS.get(descriptor.name, descriptor.name), ())
    found = in_order(binder.errors)
    if errors is None:
        raise_all(found)
    else:
        errors += found
    return message


class _Binder:
    def __init__(self) -> None:
        self.errors: list[NktcError] = []

    def refuse(self, message: str, at: Span, *notes: Note, help: str = "", code: str = "wrong-value") -> None:
        self.errors.append(NktcError(message, at=at, notes=notes, help=help, code=code))
        if len(self.errors) >= MOST:
            raise Enough

    def fill(self, message: Any, tree: Tree, owner: str, around: tuple[tuple[str, Descriptor], ...]) -> None:
        """Fill `message`; `owner` is what the user calls it, `around` that and the type of all around."""
        slots, required = _slots(message.DESCRIPTOR)
        around = (*around, (owner, message.DESCRIPTOR))
        first: dict[str, Field] = {}
        strange: set[str] = set()
        for field in tree.fields:
            name = field.name
            slot = slots.get(name)
            if slot is None:
                if name not in strange and not _is_known(message.DESCRIPTOR.name, name):
                    strange.add(name)  # told once
                    self.unknown(field, owner, tree, around)
                continue
            if not slot.repeated:
                if name in first:
                    note = Note("it is first given here", first[name].extent())
                    self.refuse(f"{name} is given twice in {owner}", field.extent(), note, code="given-twice")
                    continue
                first[name] = field
            if slot.read is None:
                if isinstance(field.value, Tree):
                    inner = getattr(message, name)
                    inner = inner.add() if slot.repeated else inner
                    inner.SetInParent()
                    self.fill(inner, field.value, name, around)
                else:
                    self.refuse(f"{name} takes {slot.takes}, not {_shown(field.value)}", field.value.span)
                continue
            if isinstance(field.value, Tree):
                self.refuse(f"{name} takes {slot.takes}, not {{ ... }}", field.extent())
                continue
            value = slot.read(field.value)
            if value is None:
                if not _is_forks(message.DESCRIPTOR.name, name, field.value):
                    self.wrong(field, field.value, slot)
            elif slot.repeated:
                getattr(message, name).append(value)
            else:
                setattr(message, name, value)
        for name in required:
            if name not in first:
                self.refuse(f"{owner} lacks {name}", tree.span, code="missing-field")

    def unknown(self, field: Field, owner: str, tree: Tree, around: tuple[tuple[str, Descriptor], ...]) -> None:
        """Refuse a field; `around` are the messages around it, the last is the one that lacks it."""
        name = field.name
        known = around[-1][1].fields_by_name
        outer = [label for label, descriptor in around[:-1] if name in descriptor.fields_by_name]
        present = {other.name for other in tree.fields}
        inner = [
            label
            for label, other in known.items()
            if label in present and other.message_type and name in other.message_type.fields_by_name
        ]
        if outer:
            help = f'it belongs to {outer[-1]}: is a "}}" missing before it?'
        elif inner:
            help = f"it belongs in {inner[0]}"
        else:
            help = near(name, known)
        self.refuse(f'unknown field "{name}" in {owner}', field.extent(), help=help, code="unknown-field")

    def wrong(self, field: Field, value: Scalar, slot: Slot) -> None:
        takes, shown, help = slot.takes, _shown(value), ""
        if value.kind == "parameter":
            help = "$ stands for a parameter, which only a block has"
            if not any(error.help == help for error in self.errors):
                self.refuse(f"{field.name} takes {takes}, not {shown}", value.span, help=help)
            return
        if takes == TEXT and value.kind == "string":
            self.refuse(f"{field.name} takes text in UTF-8, which {shown} is not", value.span)
            return
        if takes == TEXT:
            help = f'write "{value.text}"'
        elif value.kind == "string" and slot.read and slot.read(_unquoted(value)) is not None:
            help = f"write {value.text}, without quotes"
        elif slot.names:
            help = near(value.text, slot.names)
            if len(slot.names) > MANY:  # the types of 2014
                self.refuse(f"unknown layer type {shown}", value.span, help=help, code="unknown-type")
                return
        elif slot.limits and (number := _number(value)) is not None:
            low, high = slot.limits
            takes += f" up to {high}" if number > high else f" from {low}" if low else ""
        self.refuse(f"{field.name} takes {takes}, not {shown}", value.span, help=help)


def _is_known(message: str, name: str) -> bool:
    """Whether forks have a field that ours lacks, as layers of 2014 may have whatever today's have."""
    today = message == "V1LayerParameter" and name in LayerParameter.DESCRIPTOR.fields_by_name and name[-6:] == "_param"
    return today or bool(fork_fields(message, name))


def _is_forks(message: str, name: str, value: Scalar) -> bool:
    """Whether a fork's enum has a name that ours lacks."""
    if value.kind != "identifier":
        return False
    types = (message, name) == ("V1LayerParameter", "type")
    return (types and value.text in old_types()) or any(value.text in row.values for row in fork_fields(message, name))


def _shown(value: Scalar) -> str:
    if value.kind != "string":
        return value.text
    text = value.text if len(value.text) <= 40 else value.text[:37] + "..."
    return '"' + text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") + '"'


def _unquoted(value: Scalar) -> Scalar:
    return Scalar("number" if value.text[:1] in "-.0123456789" else "identifier", value.text, value.span)


@cache
def _slots(descriptor: Descriptor) -> tuple[dict[str, Slot], tuple[str, ...]]:
    """What each field of a message takes, by name, and which are required."""
    slots = {field.name: _slot(field) for field in descriptor.fields}
    return slots, tuple(field.name for field in descriptor.fields if has_label(field, "required"))


def _slot(field: FieldDescriptor) -> Slot:
    repeated = has_label(field, "repeated")
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return Slot(repeated, None, "{ ... }")
    if field.enum_type:
        names = tuple(value.name for value in field.enum_type.values)
        listed = ", ".join(names[:-1]) + f" or {names[-1]}" if len(names) <= MANY else "a name"
        return Slot(repeated, _enum(field.enum_type), listed, names)
    if field.type == FieldDescriptor.TYPE_STRING:
        return Slot(repeated, _text, TEXT)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return Slot(repeated, _bytes, TEXT)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return Slot(repeated, _bool, "true or false")
    if field.cpp_type in LIMITS:
        low, high = LIMITS[field.cpp_type]
        takes = "a whole number" if low else "a whole number from 0"
        return Slot(repeated, _whole(low, high), takes, limits=(low, high))
    return Slot(repeated, _float, "a number")


def _text(value: Scalar) -> str | None:
    if value.kind != "string" or not _is_text(value.text):
        return None
    return value.text


def _is_text(text: str) -> bool:
    """Whether every character is one; a byte that is not UTF-8 is half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(value: Scalar) -> bytes | None:
    return value.text.encode("utf-8", "surrogateescape") if value.kind == "string" else None


def _bool(value: Scalar) -> bool | None:
    if value.kind == "string" or value.text not in TRUE + FALSE:
        return None
    return value.text in TRUE


def _enum(enum: EnumDescriptor) -> Reader:
    numbers = {value.name: value.number for value in enum.values}
    known = {*numbers.values()}

    def read(value: Scalar) -> int | None:
        if value.kind == "identifier":
            return numbers.get(value.text)
        number = _number(value)
        return number if number in known else None

    return read


def _whole(low: int, high: int) -> Reader:
    def read(value: Scalar) -> int | None:
        number = _number(value)
        return number if number is not None and low <= number <= high else None

    return read


def _number(value: Scalar) -> int | None:
    text = value.text
    if value.kind != "number" or not WHOLE.fullmatch(text):
        return None
    if "x" in text.lower():
        return int(text, 16)
    return int(text, 8 if text.lstrip("-").startswith("0") else 10)


def _float(value: Scalar) -> float | None:
    text = value.text.lower()
    if value.kind in ("string", "parameter") or OTHER_BASE.match(text):
        return None
    if value.kind == "identifier" and text not in ("inf", "inff", "infinity", "infinityf", "nan", "nanf"):
        return None
    return float(text if text.endswith("inf") else text.removesuffix("f"))
