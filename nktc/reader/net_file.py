"""A net as it was read: its message in today's syntax, and where each layer stands in the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nktc import text
from nktc.errors import NktcError, Source, Span
from nktc.files import find_file
from nktc.reader.kind import is_solver
from nktc.reader.upgrade import upgrade
from nktc.schema import NetParameter


@dataclass(frozen=True, eq=False)
class NetFile:
    """`message` in today's syntax; `trees` has the text of each of its layers, None where there is none; `path` is
    the file, "" for a text of no file."""

    message: NetParameter
    trees: tuple[text.Tree | None, ...]
    path: str = ""
    tree: text.Tree | None = None

    @property
    def folder(self) -> Path:
        """Where the files it names are looked for first."""
        return Path(self.path).parent if self.path else Path()

    def span(self, *fields: str) -> Span | None:
        """The place of a field of the net itself."""
        found = self.tree.find(*fields) if self.tree else None
        return found.span if found else None


def read_net(path: str | Path) -> NetFile:
    """Read a prototxt net. Raises located NktcErrors."""
    tree = text.read(path)
    if is_solver(tree):
        raise NktcError(f"{path} is a solver, not a net", help="give the net that it names")
    return _bound(tree, str(path))


def parse_net(prototxt: str, name: str = "net.prototxt") -> NetFile:
    """A net from a text; `name` stands for the file in messages."""
    return _bound(text.parse(Source(name, prototxt)), "")


def from_message(message: NetParameter, path: str = "") -> NetFile:
    """A net from a message that has no text, such as the one inside a .caffemodel."""
    today, trees = upgrade(message, None)
    return NetFile(today, tuple(trees), path)


def from_tree(tree: text.Tree, path: str) -> NetFile:
    """A net from a part of a bigger text, such as a solver's net_param."""
    return _bound(tree, path)


def _bound(tree: text.Tree, path: str) -> NetFile:
    message, trees = upgrade(text.bind(tree, NetParameter), tree)
    return NetFile(message, tuple(trees), path, tree)


def must_exist(name: str, folder: Path, what: str, at: Span | None = None) -> Path:
    """The file that a text in `folder` names, or an error that tells where it was looked for."""
    path = find_file(name, folder)
    if not path.exists():
        help = f"it is looked for in {folder.resolve()} and in {Path.cwd()}"
        raise NktcError(f'{what} "{name}" does not exist', at=at, help=help)
    return path
