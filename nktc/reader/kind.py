"""Whether a prototxt is a net or a solver."""

from __future__ import annotations

from nktc.schema import NetParameter, SolverParameter
from nktc.text import Tree


def is_solver(tree: Tree) -> bool:
    """Whether a prototxt reads like a solver: more of its fields are a solver's than a net's."""
    return _known(tree, SolverParameter) > _known(tree, NetParameter)


def is_net(tree: Tree) -> bool:
    """Whether a prototxt reads like a net: more of its fields are a net's than a solver's."""
    return _known(tree, NetParameter) > _known(tree, SolverParameter)


def _known(tree: Tree, message: type[NetParameter] | type[SolverParameter]) -> int:
    return sum(field.name in message.DESCRIPTOR.fields_by_name for field in tree.fields)
