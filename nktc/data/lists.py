"""Text files that list other files, one a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nktc.errors import LayerError, NktcError
from nktc.files import find_file, read_bytes


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
