"""Passes in a row: run, verified, timed, and told of by what they changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nktc.errors import NktcError, Span, near
from nktc.ir import DType, Graph, Node, cost, rewrite, size, verify
from nktc.passes.drop_dead_nodes import drop_dead_nodes
from nktc.passes.drop_identities import drop_identities
from nktc.passes.eliminate_concat import eliminate_concat
from nktc.passes.fold_batch_norm import fold_batch_norm
from nktc.passes.fold_constants import fold_constants
from nktc.passes.fold_input_scale import fold_input_scale
from nktc.passes.fold_power import fold_power
from nktc.passes.hoist_relu import hoist_relu
from nktc.passes.merge_equal_nodes import merge_equal_nodes
from nktc.passes.merge_sibling_convolutions import merge_sibling_convolutions
from nktc.passes.recognise_depthwise import recognise_depthwise

Pass = Callable[[Graph], Graph]

INFERENCE: tuple[Pass, ...] = (
    drop_identities,
    drop_dead_nodes,
    fold_constants,
    fold_batch_norm,
    fold_power,
    hoist_relu,
    merge_equal_nodes,
    eliminate_concat,
    recognise_depthwise,
)
"""What pays everywhere and leaves inputs and outputs as they are."""

HORIZONTAL: tuple[Pass, ...] = (merge_sibling_convolutions,)
"""What pays for small convolutions on a GPU."""

INPUT: tuple[Pass, ...] = (fold_input_scale,)
"""What changes what the net is fed: `preprocessing` says how."""

ROUNDS = 20
"""How often the list is gone through at most; nets settle after two or three."""


@dataclass(frozen=True)
class Place:
    """A layer as a report names it; `at` is its place in the prototxt."""

    name: str
    type: str
    at: Span | None

    def __str__(self) -> str:
        return f"{self.at.source.name}:{self.at.line} {self.name}" if self.at else self.name


@dataclass(frozen=True)
class Rewrite:
    """What a pass put in the place of layers: `made` instead of `gone`. Either may be empty."""

    pass_name: str
    made: tuple[Place, ...]
    gone: tuple[Place, ...]


@dataclass(frozen=True)
class Totals:
    """What a graph is. `flops` are those of one forward with its batch, a multiply-add being 2; `weight_bytes` those of
    all parameters in the type that they are computed in; `value_bytes` those of all that layers make."""

    layers: int
    parameters: int
    flops: int
    weight_bytes: int
    value_bytes: int


@dataclass(frozen=True)
class Report:
    """`seconds` are those of each pass over all rounds."""

    rewrites: tuple[Rewrite, ...]
    before: Totals
    after: Totals
    seconds: dict[str, float]

    def text(self) -> str:
        """One line a rewrite, then the totals before and after."""
        width = max((len(rewrite.pass_name) for rewrite in self.rewrites), default=0)
        lines = [f"  {one.pass_name:<{width}}  {_told(one)}" for one in self.rewrites]
        rows = [
            (name.replace("_", " "), f"{before:,}", f"{after:,}", f"{_percent(before, after):+.1f} %")
            for (name, before), after in zip(asdict(self.before).items(), asdict(self.after).values(), strict=True)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            f"  {r[0]:<{widths[0]}}  {r[1]:>{widths[1]}} -> {r[2]:>{widths[2]}}  {r[3]:>{widths[3]}}" for r in rows
        ]
        return "\n".join([*lines, *[""][: bool(lines)], *table])

    def plain(self) -> dict[str, Any]:
        """The same as data for tools; a place is file, line and column, or None."""
        rewrites = [
            {"pass": one.pass_name, "made": [*map(_plain, one.made)], "gone": [*map(_plain, one.gone)]}
            for one in self.rewrites
        ]
        totals = {"before": asdict(self.before), "after": asdict(self.after)}
        return {"rewrites": rewrites, **totals, "seconds": dict(self.seconds)}


@dataclass(frozen=True)
class Optimised:
    """A graph after passes, and what they did."""

    graph: Graph
    report: Report


def run(
    graph: Graph, passes: Sequence[Pass] = INFERENCE, print_after: Callable[[str, Graph], None] | None = None
) -> Optimised:
    """The graph after these passes, again and again until none finds anything to do. Its outputs and their order stay.

    `print_after` gets the name of each pass that changed something, and what it made.
    """
    found = start = rewrite.pinned(graph)
    rewrites: list[Rewrite] = []
    seconds = {each.__name__: 0.0 for each in passes}
    for _ in range(ROUNDS):
        before = found
        for each in passes:
            began = time.perf_counter()
            after = each(found)
            seconds[each.__name__] += time.perf_counter() - began
            if after is found:
                continue
            _verify(each, found, after)
            rewrites += compared(each.__name__, found, after)
            found = after
            if print_after:
                print_after(each.__name__, found)
        if found is before:
            break
    else:
        raise AssertionError(f"{', '.join(seconds)}: they still change {graph.name} after {ROUNDS} rounds")
    return Optimised(graph if found is start else found, Report(tuple(rewrites), totals(start), totals(found), seconds))


def find(names: Sequence[str]) -> tuple[Pass, ...]:
    """The passes of these names, in that order. Raises NktcError for one that there is not."""
    known = {each.__name__: each for each in (*INFERENCE, *HORIZONTAL, *INPUT)}
    for name in names:
        if name not in known:
            help = near(name, known) or f"there are {', '.join(known)}"
            raise NktcError(f'there is no pass "{name}"', help=help)
    return tuple(known[name] for name in names)


def totals(graph: Graph) -> Totals:
    """Layers, parameters, floating-point operations and bytes of a graph."""
    types: dict[str, DType] = {}
    for node in graph:
        for name in node.weights.values():
            types.setdefault(name, node.inputs[0].dtype if node.inputs else DType.F32)
    weight_bytes = 0
    for name, parameter in graph.parameters.items():
        numbers = size(parameter.weight.shape)
        grid = graph.grids.get(name)
        weight_bytes += numbers + grid.steps.nbytes if grid else numbers * types[name].numpy.itemsize
    values = [value for node in graph if not node.layer.source for value in node.outputs]
    return Totals(
        len(graph),
        sum(size(parameter.weight.shape) for parameter in graph.parameters.values()),
        cost(graph).flops,
        weight_bytes,
        sum(size(value.shape) * value.dtype.numpy.itemsize for value in values),
    )


def compared(pass_name: str, before: Graph, after: Graph) -> list[Rewrite]:
    """What was put in the place of what, told from the nodes of two graphs: those that differ belong together where
    they work for the same layers of the net."""
    old, new = ({node.name: node for node in graph} for graph in (before, after))
    same = {name for name in old.keys() & new.keys() if _same(before, old[name], after, new[name])}
    made = [node for node in after if node.name not in same]
    gone = [node for node in before if node.name not in same]
    groups: list[tuple[set[str], list[Node], list[Node]]] = []
    for node, isnew in [*((node, False) for node in gone), *((node, True) for node in made)]:
        names = set(node.works_for)
        olds: list[Node] = []
        news: list[Node] = []
        apart = []
        for group in groups:
            if group[0] & names:
                names, olds, news = names | group[0], olds + group[1], news + group[2]
            else:
                apart.append(group)
        groups = [*apart, (names, olds + [node] * (not isnew), news + [node] * isnew)]
    order = {name: i for i, name in enumerate(old)}
    groups.sort(key=lambda group: min((order[node.name] for node in group[1]), default=len(order)))
    return [
        Rewrite(
            pass_name,
            tuple(map(_place, news)),
            tuple(_place(node) for node in sorted(olds, key=lambda node: order[node.name])),
        )
        for _, olds, news in groups
    ]


def _same(before: Graph, one: Node, after: Graph, other: Node) -> bool:
    """Whether a node is what it was, whatever it is connected to."""
    held = zip(one.weights.values(), other.weights.values(), strict=False)
    return (
        one.layer == other.layer
        and one.works_for == other.works_for
        and len(one.inputs) == len(other.inputs)
        and len(one.outputs) == len(other.outputs)
        and all(before.arrays.get(mine) is after.arrays.get(theirs) for mine, theirs in held)
    )


def _verify(each: Pass, before: Graph, after: Graph) -> None:
    """An assertion that names the pass after which a graph is wrong."""
    try:
        verify(after)
        for what in ("inputs", "outputs"):
            old, new = ([value.name for value in getattr(graph, what)] for graph in (before, after))
            assert old == new, f"{what} were {old} and are {new}"
    except (AssertionError, NktcError, KeyError) as error:
        raise AssertionError(f"after {each.__name__}: {error}") from error


def _place(node: Node) -> Place:
    return Place(node.name, node.type, node.at)


def _told(one: Rewrite) -> str:
    parts, source = [], None
    for place in one.gone:
        again = place.at is not None and place.at.source == source
        parts.append(f":{place.at.line} {place.name}" if place.at and again else str(place))
        source = place.at.source if place.at else source
    made = ", ".join(f"{place.name} ({place.type})" for place in one.made) or "nothing"
    return f"{' + '.join(parts)} -> {made}"


def _plain(place: Place) -> dict[str, Any]:
    at = place.at
    told = {"file": at.source.name, "line": at.line, "column": at.column} if at else None
    return {"name": place.name, "type": place.type, "at": told}


def _percent(before: int, after: int) -> float:
    return 100 * (after - before) / (before or 1)
