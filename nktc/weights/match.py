"""Weights of a file for the layers of a net, by name with Caffe's rules, and what became of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nktc.errors import NktcError, near
from nktc.ir import Graph, Node, Shape, list_shape, times
from nktc.weights.blob import fit, fits
from nktc.weights.contents import Blobs, columns, opened
from nktc.weights.entry import Contents, Entry, Holder
from nktc.weights.forks import in_the_nets_way
from nktc.weights.names import by_layer

SCALED = "NVIDIA's and Intel's learn a factor and a bias too: add batch_norm_param { scale_bias: true }"


class Row(NamedTuple):
    """One weight: its layer, its name there, its shape in the net and in the file, None where it is not in one of them,
    and what became of it: taken, missing, shared, ignored, or what is wrong."""

    layer: str
    weight: str
    in_net: Shape | None
    in_file: Shape | None
    outcome: str


@dataclass(frozen=True)
class Match:
    """What became of a weight file: layers that took weights from it, layers of the net that found none there, and
    layers of the file that the net does not have. `rows` has the weights one by one, `errors` what does not agree."""

    taken: tuple[str, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    rows: tuple[Row, ...] = field(default=(), compare=False)
    errors: tuple[NktcError, ...] = field(default=(), compare=False)

    def table(self) -> str:
        """One aligned line a weight, and a line that counts the layers."""
        cells = [("layer", "weight", "in the net", "in the file", "outcome")]
        for row in self.rows:
            ours, theirs = ("" if shape is None else list_shape(shape) for shape in (row.in_net, row.in_file))
            cells.append((row.layer, row.weight, ours, theirs, row.outcome))
        wrong = f", {len(self.errors)} wrong" if self.errors else ""
        counts = f"{len(self.taken)} taken, {len(self.missing)} missing, {len(self.ignored)} ignored{wrong}"
        return f"{columns(cells)}\n\nlayers: {counts}"


def attach(graph: Graph, path: str | Path) -> tuple[Graph, Match]:
    """The graph with the weights of a file of any kind, matched by layer name.

    As in Caffe, layers of the file that the net lacks are passed over and layers that the file lacks keep what they
    have; a matched layer must agree in the number and the shapes of its weights. Raises NktcError.
    """
    with opened(path) as contents:
        return _attached(graph, _layers(graph, contents), path)


def match(graph: Graph, found: Blobs, path: str | Path) -> tuple[Graph, Match]:
    """`attach`, with what `read` found at the path."""
    return _attached(graph, {name: Holder("", [*map(_entry, blobs)]) for name, blobs in found.items()}, path)


def compare(graph: Graph, path: str | Path) -> Match:
    """What `attach` would do, with all that does not agree instead of an error for the first; no weight is read. Raises
    NktcError for a damaged file."""
    with opened(path) as contents:
        return _compared(graph, _layers(graph, contents), path)[0]


def kept(graph: Graph, node: Node) -> list[str]:
    """The weights of a layer that weight files hold, by their names in the graph."""
    return [name for name in node.weights.values() if graph.parameters[name].weight.kept]


def _layers(graph: Graph, contents: Contents) -> Mapping[str, Holder]:
    return by_layer(graph, contents.named) if contents.named else contents.layers


def _entry(values: np.ndarray | None) -> Entry | None:
    return None if values is None else Entry(values.shape, "f32", lambda: values)


def _attached(graph: Graph, found: Mapping[str, Holder], path: str | Path) -> tuple[Graph, Match]:
    told, wanted = _compared(graph, found, path)
    if told.errors:
        raise told.errors[0]
    arrays = dict(graph.arrays)
    for name, entry in wanted.items():
        values = fit(entry.read(), graph.parameters[name].weight.shape)
        assert values is not None, "the shapes were compared"
        arrays[name] = values
    return dataclasses.replace(graph, arrays=arrays), told


def _compared(graph: Graph, found: Mapping[str, Holder], path: str | Path) -> tuple[Match, dict[str, Entry]]:
    """What becomes of each weight, and the entries to take by their names in the graph."""
    rows: list[Row] = []
    wanted: dict[str, Entry] = {}
    errors: list[NktcError] = []
    taken, missing = [], []
    for node in graph:
        names = kept(graph, node)
        held = found[node.name].blobs if node.name in found else []
        held = in_the_nets_way(node.type, [graph.parameters[name].weight.shape for name in names], held)
        if not held:
            owned = [name for name in names if graph.parameters[name].layer == node.name]
            missing += [node.name] * bool(owned)
            rows += [_row(graph, node, name, None, "missing") for name in owned]
        elif not names:
            rows += _left(node.name, held, "ignored")
        else:
            taken.append(node.name)
            for name, entry, outcome in _paired(graph, node, names, held):
                rows.append(_row(graph, node, name, entry, outcome))
                if entry and outcome in ("taken", "shared"):
                    wanted[name] = entry
            rows += _left(node.name, held, "one too many", len(names))
            if error := _wrong(graph, node, names, held, path):
                errors.append(error)
    layers = {node.name for node in graph}
    ignored = tuple(name for name in found if name not in layers)
    rows += [row for name in ignored for row in _left(name, found[name].blobs, "ignored")]
    if not taken and missing:
        said = f"{path} has weights for no layer of the net; it has {', '.join(list(found)[:5])}"
        errors.append(NktcError(said, help=near(missing[0], found)))
    return Match(tuple(taken), tuple(missing), ignored, tuple(rows), tuple(errors)), wanted


def _paired(
    graph: Graph, node: Node, names: Sequence[str], held: Sequence[Entry | None]
) -> Iterator[tuple[str, Entry | None, str]]:
    """The weights of a layer with what the file has for each, and what becomes of it."""
    for index, name in enumerate(names):
        entry = held[index] if index < len(held) else None
        own = graph.parameters[name].layer == node.name
        if entry and fits(entry.shape, graph.parameters[name].weight.shape):
            yield name, entry, "taken" if own else "shared"
        elif own:
            yield name, entry, "another shape" if entry else "not in the file"


def _wrong(
    graph: Graph, node: Node, names: Sequence[str], held: Sequence[Entry | None], path: str | Path
) -> NktcError | None:
    """What does not agree in a layer, None where all does."""
    owned = [graph.parameters[name].layer == node.name for name in names]
    if len(held) > len(names) or any(owned[len(held) :]):
        return NktcError(
            f'layer "{node.name}" has {len(names)} weights, {path} has {len(held)} of that name',
            at=node.at,
            help=SCALED if (node.type, len(names), len(held)) == ("BatchNorm", 3, 5) else "",
        )
    for index, (name, entry, own) in enumerate(zip(names, held, owned, strict=False)):
        shape = graph.parameters[name].weight.shape
        if own and entry is None:
            return NktcError(f'{path} lacks weight {index} of layer "{node.name}"', at=node.at)
        if own and entry and not fits(entry.shape, shape):
            return NktcError(
                f'weight {index} of layer "{node.name}" is {times(shape)}, in {path} it is {times(entry.shape)}',
                at=node.at,
                help="rename the layer to train it afresh",
            )
    return None


def _row(graph: Graph, node: Node, name: str, entry: Entry | None, outcome: str) -> Row:
    local = next(local for local, known in node.weights.items() if known == name)
    return Row(node.name, local, graph.parameters[name].weight.shape, entry.shape if entry else None, outcome)


def _left(layer: str, held: Sequence[Entry | None], outcome: str, start: int = 0) -> list[Row]:
    """Rows for the blobs of a layer in the file that no weight of the net is for."""
    return [Row(layer, str(i), None, e.shape, outcome) for i, e in enumerate(held[start:], start) if e]
