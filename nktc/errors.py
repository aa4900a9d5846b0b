"""Located errors: what is wrong, in the user's words, and the place in the user's file.

A rule deep inside says a fact (`LayerError("window 9x9 is larger than its input 5x5", field="kernel_size")`);
whoever knows the file adds the place with `error.located(span)`. An `NktcError` is the user's to mend and prints
without a traceback; any other exception is our bug and prints with one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self


@dataclass(frozen=True)
class Source:
    """A text the user wrote: `name` as the user would write it (a path, or "--set"), `text` the whole of it."""

    name: str
    text: str = field(repr=False)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    def line(self, number: int) -> str:
        """The line `number`, counted from 1; empty beyond the end."""
        return self.lines[number - 1].rstrip("\r") if 0 < number <= len(self.lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line of a source. `line` and `column` count from 1; `width` is in characters, at least 1."""

    source: Source
    line: int
    column: int
    width: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """The line with a mark under the stretch, as compilers print it; long lines are cut around the stretch."""
        # A tab would move the mark, and a control character would be the terminal's to act on.
        text = "".join(c if c.isprintable() else " " for c in self.source.line(self.line))
        start, margin = self.column - 1, 60
        left = max(0, start - margin) if len(text) > 2 * margin else 0
        shown = text[left : left + 2 * margin] if len(text) > 2 * margin else text
        width = max(1, min(self.width, len(shown) - (start - left)))
        gutter = f"{self.line:5} | "
        return f"{gutter}{shown}\n{' ' * (len(gutter) - 2)}| {' ' * (start - left)}^{'~' * (width - 1)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that explains the first."""

    message: str
    at: Span | None = None


class NktcError(Exception):
    """Something the user can mend.

    `message` is one sentence, lower case, no full stop. `at` is the place to blame, `notes` are further places,
    `help` says what to do.
    """

    def __init__(self, message: str, *, at: Span | None = None, notes: Sequence[Note] = (), help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.notes = tuple(notes)
        self.help = help

    def __str__(self) -> str:
        lines = [f"{self.at}: error: {self.message}", self.at.excerpt()] if self.at else [f"error: {self.message}"]
        lines += [f"{note.at}: note: {note.message}" if note.at else f"note: {note.message}" for note in self.notes]
        if self.help:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)

    def located(self, at: Span | None, *notes: Note) -> Self:
        """This error, at a place unless it already has one, with `notes` added; returns itself to be raised."""
        self.at = self.at or at
        self.notes = (*self.notes, *notes)
        return self


class LayerError(NktcError):
    """A layer's rule refuses its settings or its inputs. `field` is the prototxt field to blame, "" for the layer
    as a whole; a dotted path ("weight_filler.type") names a field of a field."""

    def __init__(self, message: str, *, field: str = "", help: str = "") -> None:
        super().__init__(message, help=help)
        self.field = field


class Errors(NktcError):
    """Several independent errors found in one run, in the order of the file."""

    def __init__(self, errors: Sequence[NktcError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def raise_all(errors: Sequence[NktcError]) -> None:
    """Raise what was collected: nothing, the one error itself, or `Errors`."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise Errors(errors)


def near(word: str, known: Iterable[str]) -> str:
    """'did you mean "x"?' for the known word nearest to `word`; empty when none is near."""
    known = list(known)
    lower = {k.lower(): k for k in known}
    match = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f'did you mean "{lower[match[0]]}"?' if match else ""
