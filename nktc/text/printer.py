"""Tree or message to prototxt."""

import re
from collections.abc import Iterator
from dataclasses import replace

from google.protobuf import text_format
from google.protobuf.message import Message

from nktc.errors import Source
from nktc.text.parser import parse
from nktc.text.tree import Field, Scalar, Tree

WIDTH = 100  # columns; a message on one line fits in them
INDENT = "  "
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Control characters, and the lone surrogates that stand for bytes that are no UTF-8.
SPECIAL = re.compile('[\\\\"\x00-\x1f\x7f\udc80-\udcff]')


def print_tree(tree: Tree) -> str:
    """Prototxt in the usual layout, comments and single empty lines kept; reads back as the same tree.

    A message stays on one line if it was and still fits. Numbers stay as written.
    """
    lines = [*_fields(tree, 0), *tree.closing]
    text = "\n".join(lines).strip("\n")
    return text + "\n" if text else ""


def print_message(message: Message) -> str:
    """Prototxt of a message, fields in the order of their numbers, floats as short as reads back the same.

    A message within a layer is on one line where it fits.
    """
    tree = parse(Source(message.DESCRIPTOR.name, text_format.MessageToString(message, as_utf8=True)))
    return print_tree(_inlined(tree, 0))


def _inlined(tree: Tree, depth: int) -> Tree:
    """`tree` as if all that is inside its fields had been written on one line, and 1 for 1.0."""
    fields = []
    for field in tree.fields:
        if isinstance(field.value, Tree):
            fields.append(replace(field, value=_inlined(field.value, depth + 1)))
        elif field.value.kind == "number" and field.value.text.endswith(".0"):
            fields.append(replace(field, value=replace(field.value, text=field.value.text[:-2])))
        else:
            fields.append(field)
    return replace(tree, fields=tuple(fields), inline=depth > 1)


def _fields(tree: Tree, depth: int) -> Iterator[str]:
    margin = INDENT * depth
    for i, field in enumerate(tree.fields):
        above = field.comments
        if i == 0 and depth and above[:1] == ("",):
            above = above[1:]
        yield from (margin + comment if comment else "" for comment in above)
        yield from _field(field, depth)


def _field(field: Field, depth: int) -> Iterator[str]:
    margin, aside = INDENT * depth, f"  {field.aside}" if field.aside else ""
    value = field.value
    if isinstance(value, Scalar):
        yield f"{margin}{field.name}: {_scalar(value)}{aside}"
        return
    if not value.fields and not value.opening and not any(value.closing):
        yield f"{margin}{field.name} {{ }}{aside}"
        return
    if value.inline and not value.opening and not value.closing:
        line = _one_line(field)
        if line is not None and len(margin) + len(line) <= WIDTH:
            yield margin + line + aside
            return
    yield f"{margin}{field.name} {{" + (f"  {value.opening}" if value.opening else "")
    yield from _fields(value, depth + 1)
    closing = value.closing[:-1] if value.closing[-1:] == ("",) else value.closing
    yield from (margin + INDENT + comment if comment else "" for comment in closing)
    yield f"{margin}}}{aside}"


def _one_line(field: Field) -> str | None:
    """The field on one line without its own comments; None when a comment inside stands in the way."""
    if isinstance(field.value, Scalar):
        return f"{field.name}: {_scalar(field.value)}"
    words = []
    for inner in field.value.fields:
        line = _one_line(inner)
        if line is None or inner.comments or inner.aside:
            return None
        words.append(line)
    if field.value.opening or field.value.closing:
        return None
    return " ".join([field.name, "{", *words, "}"])


def _scalar(value: Scalar) -> str:
    return f'"{SPECIAL.sub(_escape, value.text)}"' if value.kind == "string" else value.text


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return ESCAPES.get(character) or f"\\{ord(character) & 0xFF:03o}"
