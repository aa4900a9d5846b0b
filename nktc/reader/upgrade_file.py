"""A file in an old syntax, and the same in today's."""

from __future__ import annotations

from pathlib import Path

from nktc import text
from nktc.errors import NktcError
from nktc.reader.binary import is_binary
from nktc.reader.kind import is_net, is_solver
from nktc.reader.net_file import from_tree, read_tree
from nktc.reader.strangers import refuse_stranger
from nktc.reader.upgrade import upgrade_net, upgrade_solver


def upgrade_file(path: str | Path, dialect: str = "", wanted: str = "") -> tuple[str, str]:
    """The text of a net or a solver, "" of a net in a binary file, and the same in today's syntax: the very same where
    it is in that already. The dialect of a binary file is found where none is named; `wanted` is "net" or "solver"
    where the other will not do. Raises located NktcErrors."""
    tree = read_tree(path, dialect)
    refuse_stranger(tree, path, wanted or "net")
    found = "solver" if is_solver(tree) else "net" if is_net(tree) else wanted
    if wanted not in ("", found):
        help = f"upgrade_{found}_proto_text upgrades it, and so does nktc upgrade"
        raise NktcError(f"{path} is a {found}, not a {wanted}", help=help, code="wrong-file")
    if is_solver(tree):
        today = upgrade_solver(tree)
    else:
        from_tree(tree, str(path))  # says what is wrong, with blocks in their places too
        today = upgrade_net(tree)
    old = "" if is_binary(path) else tree.span.source.text
    return old, old if today is tree and old else text.print_tree(today)
