"""A net as it was read: its message in today's syntax, and where each layer stands in the text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nktc import text
from nktc.errors import MOST, Errors, NktcError, Note, Source, Span, raise_all, split
from nktc.files import find_file
from nktc.ir import catalogue
from nktc.reader import forks
from nktc.reader.binary import is_binary, read_binary
from nktc.reader.blocks import expand
from nktc.reader.kind import is_solver
from nktc.reader.old_names import layer_type
from nktc.reader.strangers import refuse_other_bytes, refuse_stranger, stranger
from nktc.reader.upgrade import upgrade_old
from nktc.schema import NetParameter


@dataclass(frozen=True, eq=False)
class NetFile:
    """`message` in today's syntax; `trees` has the text of each of its layers, None where there is none; `path` is
    the file, "" for a text of no file; `tree` is its text as written, but with blocks in place. `instances` tells of
    each layer by which instances of blocks it got here, innermost first; it is empty where the net has no blocks.
    `errors` are mistakes inside single layers that were left for `build` to raise."""

    message: NetParameter
    trees: tuple[text.Tree | None, ...]
    path: str = ""
    tree: text.Tree | None = None
    instances: tuple[tuple[Note, ...], ...] = ()
    errors: tuple[NktcError, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the files it names are looked for first."""
        return Path(self.path).parent if self.path else Path()

    def span(self, *fields: str) -> Span | None:
        """The place of a field of the net itself."""
        found = self.tree.find(*fields) if self.tree else None
        return found.span if found else None


def read_tree(path: str | Path, dialect: str = "") -> text.Tree:
    """The tree of a prototxt, or of the net inside a binary file such as a .caffemodel: what it is is told by what is
    in it. The dialect of a binary file is found where none is named. Raises NktcErrors."""
    try:
        if is_binary(path):
            refuse_other_bytes(path)
            return read_binary(path, dialect)
        return text.read(path)
    except NktcError as refused:
        raise stranger(path, refused) from None


def read_net(path: str | Path, strict: bool = True, dialect: str = "") -> NetFile:
    """Read a net, see `read_tree`. Raises located NktcErrors; unless it is `strict`, what is wrong inside single layers
    is left for `build`, which finds what else is wrong with the net. Only for nets that are built."""
    tree = read_tree(path, dialect)
    refuse_stranger(tree, path)
    if is_solver(tree):
        raise NktcError(f"{path} is a solver, not a net", help="give the net that it names", code="wrong-file")
    return _bound(tree, str(path), strict)


def parse_net(prototxt: str, name: str = "net.prototxt") -> NetFile:
    """A net from a text; `name` stands for the file in messages."""
    return _bound(text.parse(Source(name, prototxt)), "")


def from_message(message: NetParameter, path: str = "") -> NetFile:
    """A net from a message that has no text, such as the one inside a .caffemodel."""
    try:
        net = _bound(text.parse(Source("", text.print_message(message))), path)
    except NktcError as error:
        raise_all([NktcError(one.message, help=one.help, code=one.code) for one in split(error)])
        raise
    return NetFile(net.message, (None,) * len(net.trees), path)


def from_tree(tree: text.Tree, path: str) -> NetFile:
    """A net from a part of a bigger text, such as a solver's net_param."""
    return _bound(tree, path)


def _bound(tree: text.Tree, path: str, strict: bool = True) -> NetFile:
    plain = expand(tree)
    errors: list[NktcError] = []
    try:
        message = _message(plain.tree, strict, errors)
        old = upgrade_old(plain.tree)
        today, origins = forks.ours(old)
        if today is not plain.tree:
            errors.clear()
            message = _message(today, strict, errors)
    except NktcError as error:
        raise_all(plain.told(error))
        raise  # told gives one error at least
    told = tuple(plain.told(Errors(errors)))
    trees = tuple(layer.value for layer in today.all("layer") if isinstance(layer.value, text.Tree))
    # An Input layer made of the net's input fields comes first; a layer of a fork may have become several.
    first = ((),) * (len([*old.all("layer")]) - len(plain.instances)) + plain.instances
    instances = tuple(first[origin] for origin in origins) if plain.instances else ()
    return NetFile(message, trees, path, plain.tree, instances, told)


def _message(net: text.Tree, strict: bool, errors: list[NktcError]) -> NetParameter:
    """The message of a net; `errors` gets what is wrong inside single layers, which is raised where `strict`, as is
    all else."""
    message = text.bind(net, NetParameter, errors)
    errors[:] = [error for error in errors if not _is_beside_the_point(net, error)]
    if len(errors) >= MOST or (errors and (strict or not all(_in_a_layer(net, error.at) for error in errors))):
        raise Errors(errors)
    return message


def _is_beside_the_point(net: text.Tree, error: NktcError) -> bool:
    """Whether an error is of an unknown setting of a layer whose type is not known either: the type is the reason."""
    if error.code != "unknown-field":
        return False
    layers = (field.value for name in ("layer", "layers") for field in net.all(name))
    layer = next((one for one in layers if isinstance(one, text.Tree) and one.holds(error.at)), None)
    kind = layer_type(layer) if layer else ""
    if not layer or not kind or kind in catalogue():
        return False
    inside = ((field, field.value) for field in layer.fields if isinstance(field.value, text.Tree))
    return any(tree.holds(error.at) or field.extent() == error.at for field, tree in inside)


def _in_a_layer(net: text.Tree, at: Span | None) -> bool:
    layers = (layer.value for layer in net.all("layer"))
    return any(layer.holds(at) for layer in layers if isinstance(layer, text.Tree))


def must_exist(name: str, folder: Path, what: str, at: Span | None = None) -> Path:
    """The file that a text in `folder` names, or an error that tells where it was looked for."""
    path = find_file(name, folder)
    if not os.path.exists(path):  # unlike Path.exists, False for a name that no system takes
        help = f"it is looked for in {folder.resolve()} and in {Path.cwd()}"
        raise NktcError(f'{what} "{name}" does not exist', at=at, help=help, code="file-missing")
    return path
