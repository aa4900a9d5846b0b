"""Text files that list other files, one a line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nktc.errors import LayerError, NktcError
from nktc.files import find_file, read_bytes

LARGEST = 0x7FFFFFFF  # number in a line, an int of Caffe's


def whole(word: str) -> int:
    """The number that a line has in a word. Raises ValueError where it has none, or a larger one than Caffe could
    read."""
    number = int(word)
    if abs(number) > LARGEST:
        raise ValueError(f"{word} is above {LARGEST}")
    return number


@dataclass(frozen=True)
class Line:
    """A line of a list without the blanks around it, and its number from 1."""

    path: Path
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


def read_list(name: str, folder: Path) -> list[Line]:
    """The lines of the list file that a net in `folder` calls `name`, but for empty ones; at least one. Raises
    LayerError."""
    path = find_file(name, folder)
    try:
        lines = read_bytes(path, "source").decode(errors="surrogateescape").splitlines()
    except NktcError as error:
        raise LayerError(error.message, field="source", help=error.help) from None
    found = [Line(path, number, text) for number, line in enumerate(lines, 1) if (text := line.strip())]
    if not found:
        raise LayerError(f"source {path} lists nothing", field="source")
    return found


@dataclass(frozen=True)
class Entry:
    """An image file, its label, and where that is said: "FILE:LINE: ", or nothing."""

    path: str
    label: int
    where: str


def read_paths(lines: Sequence[Line], root: str) -> list[Entry]:
    """Lines of `path label`, the label behind the last space, as Caffe has it; `root` is put before each path as it is.
    Raises LayerError."""
    entries = []
    for line in lines:
        name, _, label = line.text.rpartition(" ")
        try:
            path = f"{root}{name.rstrip()}"
            path = os.path.expanduser(path) if path.startswith("~") else path
            entries.append(Entry(path, whole(label), f"{line}: "))
        except ValueError:
            name = ""
        if not name:
            raise LayerError(f'{line}: "{line.text}" is no path and label', field="source", help="write: cat.jpg 0")
    return entries
