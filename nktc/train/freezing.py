"""Weights that do not learn, by the names of their layers."""

from __future__ import annotations

from fnmatch import fnmatchcase

from nktc.errors import near
from nktc.ir import Graph, rewrite
from nktc.train.settings import Settings


def freeze(settings: Settings, graph: Graph) -> Graph:
    """The graph in which every weight that a pattern of `freeze` names has lr_mult 0: "conv*" for whole layers,
    "conv1.bias" for one weight. Raises a located NktcError for a pattern that names none."""
    frozen = set()
    for pattern in settings.message.freeze:
        named = {
            p.name for p in graph.parameters.values() if fnmatchcase(p.layer, pattern) or fnmatchcase(p.name, pattern)
        }
        if not named:
            layers = dict.fromkeys(p.layer for p in graph.parameters.values())
            begun = any(layer.startswith(pattern) for layer in layers)
            help = f'did you mean "{pattern}*"?' if begun else near(pattern, layers)
            help = help or "patterns name layers (conv*) or weights (conv1.bias)"
            raise settings.refusal(f'freeze "{pattern}" names no layer with weights', "freeze", help)
        frozen |= named
    return rewrite.frozen(graph, frozen) if frozen else graph
