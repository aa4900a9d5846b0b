"""Located errors: what is wrong, in the user's words, and the place in the user's file.

A rule deep inside says a fact (`LayerError("window 9x9 is larger than its input 5x5", field="kernel_size")`);
whoever knows the file adds the place with `error.located(span)`. An `NktcError` is the user's to mend and prints
without a traceback; any other exception is our bug and prints with one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Self, TypeVar


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


class Diagnostic:
    """What is said of the user's files.

    `message` is one sentence, lower case, no full stop. `at` is the place to blame, `notes` are further places,
    `help` says what to do. `code` is the name of the mistake, which `nktc explain` knows: whatever `nktc check` says
    has one, what concerns no prototxt (the command line, a device, a weight file) has none.
    """

    severity: ClassVar[str] = "error"

    def __init__(
        self, message: str, *, at: Span | None = None, notes: Sequence[Note] = (), help: str = "", code: str = ""
    ) -> None:
        self.message = message
        self.at = at
        self.notes = tuple(notes)
        self.help = help
        self.code = code

    def __str__(self) -> str:
        code = f"  [{self.code}]" if self.code else ""
        said = f"{self.severity}: {self.message}{code}"
        lines = [f"{self.at}: {said}", self.at.excerpt()] if self.at else [said]
        lines += [f"{note.at}: note: {note.message}" if note.at else f"note: {note.message}" for note in self.notes]
        if self.help:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)

    def located(self, at: Span | None, *notes: Note) -> Self:
        """This, at a place unless it already has one, with `notes` added; returns itself to be raised."""
        self.at = self.at or at
        self.notes = (*self.notes, *notes)
        return self


D = TypeVar("D", bound=Diagnostic)


class NktcError(Diagnostic, Exception):
    """Something the user can mend."""


class NktcWarning(Diagnostic):
    """Something legal that is hardly meant. It is told, never raised."""

    severity = "warning"


class LayerError(NktcError):
    """A layer's rule refuses its settings or its inputs. `field` is the prototxt field to blame, "" for the layer
    as a whole; a dotted path ("weight_filler.type") names a field of a field, "bottom[1]" the second of that name,
    "bottom" the last."""

    def __init__(self, message: str, *, field: str = "", help: str = "", code: str = "") -> None:
        super().__init__(message, help=help, code=code)
        self.field = field


class Errors(NktcError):
    """Several independent errors found in one run, in the order of the file."""

    def __init__(self, errors: Sequence[NktcError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = tuple(errors)

    def __str__(self) -> str:
        more = [f"note: these are the first {len(self.errors)}; there may be more"] if len(self.errors) >= MOST else []
        return "\n".join([*map(str, self.errors), *more])


MOST = 100
"""How many mistakes of one file are looked for."""


class Enough(Exception):
    """There are mistakes enough: whoever collects them stops."""


def in_order(found: Iterable[D]) -> list[D]:
    """What is said of one file in the order of the places; what has no place comes first."""
    return sorted(found, key=lambda one: (one.at.line, one.at.column) if one.at else (0, 0))


def raise_all(errors: Sequence[NktcError]) -> None:
    """Raise what was collected: nothing, the one error itself, or `Errors`."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise Errors(errors)


def split(error: NktcError) -> tuple[NktcError, ...]:
    """The single errors in an error."""
    return error.errors if isinstance(error, Errors) else (error,)


@contextmanager
def coded(code: str) -> Iterator[None]:
    """An NktcError inside that has no code gets this one; a stage's way to name what its rules refuse."""
    try:
        yield
    except NktcError as error:
        for one in split(error):
            one.code = one.code or code
        raise


def near(word: str, known: Iterable[str]) -> str:
    """'did you mean "x"?' for the known word nearest to `word`, or that is short or long for it; empty when none is."""
    # What nearly all settings end with says nothing.
    lower = {k.lower().removesuffix("_param"): k for k in known}
    said = word.lower().removesuffix("_param")
    match = difflib.get_close_matches(said, lower, n=1, cutoff=0.7)
    match += [k for k in lower if min(len(k), len(said)) >= 3 and (k.startswith(said) or said.startswith(k))]
    return f'did you mean "{lower[match[0]]}"?' if match else ""
