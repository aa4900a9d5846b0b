"""What a solver says of its nets by name: weights that do not learn, and the metric."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from nktc.errors import near
from nktc.ir import Graph, Phase, rewrite
from nktc.train.settings import Settings
from nktc.train.watch import watch


def check(graphs: Sequence[Graph], settings: Settings) -> None:
    """Raise located NktcErrors for what a solver says of its nets and they do not have: what `freeze` and `metric`
    name. `graphs` are some of its nets, in the order of the solver."""
    for graph in graphs:
        if graph.phase is Phase.TRAIN:
            freeze(settings, graph)
    watch(settings, [graph for graph in graphs if graph.phase is Phase.TEST])


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
