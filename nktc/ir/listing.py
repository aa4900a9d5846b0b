"""The listing: a graph as text, one aligned line a node, for people and for tests."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from nktc.ir.graph import Graph, Node
from nktc.ir.value import Filler, list_shape

_TOLD = {"blobs", "overwrites", "phase", "shapes", "extent"}  # by the graph's first line, and by each value


def listing(graph: Graph) -> str:
    """name, dtype[shape], `=`, the type with the settings that differ from its defaults, `<-` inputs."""
    rows = [_row(node) for node in graph]
    name_width = max((len(row[0]) for row in rows), default=0)
    type_width = max((len(row[1]) for row in rows), default=0)
    lines = [f"net {graph.name} {graph.phase.name}"]
    lines += [f"  {name:<{name_width}} {kind:<{type_width}} = {what}" for name, kind, what in rows]
    return "\n".join(lines)


def settings(node: Node) -> list[tuple[str, Any]]:
    """The settings of a node's layer that differ from their defaults, but for fillers and what is told anyway."""
    found = []
    for field in dataclasses.fields(node.layer):  # type: ignore[arg-type]
        value = getattr(node.layer, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if field.repr and value != default and not isinstance(value, Filler) and field.name not in _TOLD:
            found.append((field.name, value))
    return found


def _row(node: Node) -> tuple[str, str, str]:
    names = ", ".join(value.name for value in node.outputs)
    kinds = ", ".join(f"{value.dtype.value}{list_shape(value.shape)}" for value in node.outputs)
    what = node.type
    given = [f"{name}={_short(value)}" for name, value in settings(node)]
    if given:
        what += f"({' '.join(given)})"
    if node.inputs:
        what += " <- " + ", ".join(value.name for value in node.inputs)
    if node.name not in {value.name for value in node.outputs}:
        what += f"  # {node.name}"
    return names, kinds, what


def _short(value: Any) -> str:
    match value:
        case enum.Enum():
            return value.name
        case float():
            return f"{value:g}"
        case tuple() if value and all(v == value[0] for v in value) and len(value) > 1:
            return f"{_short(value[0])}" if not isinstance(value[0], tuple) else str(value)
        case tuple():
            return "x".join(map(_short, value)) if value else "()"
        case str():
            return value if value.isidentifier() else repr(value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            changed = (
                f"{f.name}={_short(getattr(value, f.name))}"
                for f in dataclasses.fields(value)
                if f.repr and getattr(value, f.name) != f.default
            )
            return f"({' '.join(changed)})"
    return str(value)
