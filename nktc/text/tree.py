"""What a prototxt says, with the place and the comments of each part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from nktc.errors import Span


@dataclass(frozen=True, slots=True)
class Scalar:
    """One word of a value.

    `text` of a "string" is what the quotes mean, adjacent strings joined; bytes that are not UTF-8 are lone
    surrogates, as Python's "surrogateescape" has them. `text` of the others is as written; a "parameter" of a block
    is $NAME or ${EXPRESSION}.
    """

    kind: Literal["string", "number", "identifier", "parameter"]
    text: str
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """`name: value` or `name { ... }`; a list `name: [a, b]` is two of them.

    `span` is the name. `comments` are the lines above, each from its "#" on; "" is an empty line. `aside` is
    the comment behind the value on its line.
    """

    name: str
    value: Scalar | Tree
    span: Span = field(compare=False)
    comments: tuple[str, ...] = field(default=(), compare=False)
    aside: str = field(default="", compare=False)

    def extent(self) -> Span:
        """From the name to the end of the value, or to the end of what stands on the name's line."""
        start, last = self.span, self.value.end if isinstance(self.value, Tree) else self.value.span
        if last.line == start.line and last.column >= start.column:
            return Span(start.source, start.line, start.column, last.column + last.width - start.column)
        return self.value.span if isinstance(self.value, Tree) else start


@dataclass(frozen=True, slots=True)
class Tree:
    """The fields of a message, in the order of the file.

    `span` is its name and opening brace, `end` its closing brace; of a whole file, its first and last place.
    `opening` is the comment behind the opening brace, `closing` are the comment lines above the closing one,
    `inline` says that both braces were on one line.
    """

    fields: tuple[Field, ...]
    span: Span = field(compare=False)
    end: Span = field(compare=False)
    opening: str = field(default="", compare=False)
    closing: tuple[str, ...] = field(default=(), compare=False)
    inline: bool = field(default=False, compare=False)

    def holds(self, at: Span | None) -> bool:
        """Whether a place lies between its first word and its last brace."""
        first, last = (self.span.line, self.span.column), (self.end.line, self.end.column)
        return at is not None and first <= (at.line, at.column) <= last

    def all(self, name: str) -> Iterator[Field]:
        """The fields called `name`, in the order of the file."""
        return (field for field in self.fields if field.name == name)

    def find(self, *path: str) -> Field | None:
        """The last field at a path, given as several names or as one with dots."""
        name, *rest = ".".join(path).split(".")
        for found in reversed([*self.all(name)]):
            if not rest:
                return found
            if isinstance(found.value, Tree) and (deeper := found.value.find(*rest)):
                return deeper
        return None
