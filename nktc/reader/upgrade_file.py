"""A file in an old syntax, and the same in today's."""

from __future__ import annotations

from pathlib import Path

from nktc import text
from nktc.reader.kind import is_solver
from nktc.reader.net_file import from_tree
from nktc.reader.upgrade import upgrade_net, upgrade_solver


def upgrade_file(path: str | Path) -> tuple[str, str]:
    """The text of a net or a solver, and the same in today's syntax: the very same where it is in that already.
    Raises located NktcErrors."""
    tree = text.read(path)
    if is_solver(tree):
        today = upgrade_solver(tree)
    else:
        from_tree(tree, str(path))  # says what is wrong, with blocks in their places too
        today = upgrade_net(tree)
    old = tree.span.source.text
    return old, old if today is tree else text.print_tree(today)
