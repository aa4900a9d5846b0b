"""A graph as a picture: what is drawn, and how Graphviz is told."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from nktc.errors import NktcError
from nktc.files import write_bytes
from nktc.ir.graph import Graph, Node
from nktc.ir.layered import Picture, lay_out
from nktc.ir.value import Value, times

COLOURS = {
    "data": "#dbe7f6",
    "learned": "#fde3c4",
    "pooling": "#d8ecd0",
    "normalization": "#f3ddef",
    "joining": "#e4e0f4",
    "end": "#f8d3d0",
    "other": "#eeeeee",
}
FORMATS = (".svg", ".png", ".pdf", ".dot")


@dataclass(frozen=True)
class Box:
    """Layers drawn as one: a layer, and those that work in place on what it makes."""

    nodes: tuple[Node, ...]

    @property
    def name(self) -> str:
        """Its first layer's, without the control characters that no drawing takes."""
        return _printable(self.nodes[0].name)

    @property
    def text(self) -> str:
        """Its type with what tells it from others of that type, and the types in place behind it."""
        return " + ".join([_described(self.nodes[0]), *(node.type for node in self.nodes[1:])])

    @property
    def family(self) -> str:
        node = self.nodes[0]
        if node.layer.source or not node.inputs:
            return "data"
        if node.layer.loss or node.type in ("Accuracy", "R2Score", "Softmax"):
            return "end"
        if "Pool" in node.type or node.type == "SPP":
            return "pooling"
        if "Norm" in node.type or node.type in ("LRN", "MVN", "Scale", "Bias"):
            return "normalization"
        if node.weights:
            return "learned"
        return "joining" if len(node.inputs) > 1 or len(node.outputs) > 1 else "other"


@dataclass(frozen=True)
class Edge:
    """From the box that makes a value to one that reads it, by their numbers."""

    start: int
    end: int
    value: Value


def picture(graph: Graph) -> tuple[list[Box], list[Edge]]:
    """What is drawn of a graph: its boxes in order of execution, and what flows between them."""
    groups: list[list[Node]] = []
    home: dict[str, int] = {}  # by value
    for node in graph:
        made = {value.name.partition("@")[0] for value in node.outputs}
        given = {value.name.partition("@")[0] for value in node.inputs[:1]}
        before = home.get(node.inputs[0].name) if len(node.inputs) == 1 else None
        if before is not None and made == given and not groups[before][0].layer.source:
            groups[before].append(node)
        else:
            before = len(groups)
            groups.append([node])
        home |= {value.name: before for value in node.outputs}
    edges = [
        Edge(home[value.name], home[node.outputs[0].name] if node.outputs else i, value)
        for i, group in enumerate(groups)
        for node in group
        for value in node.inputs
    ]
    return [Box(tuple(group)) for group in groups], [edge for edge in edges if edge.start != edge.end]


def dot(graph: Graph, direction: str = "TB") -> str:
    """The source of a drawing for Graphviz; `direction` is TB (downwards) or LR (to the right)."""
    boxes, edges = picture(graph)
    lines = [
        f"digraph {_quoted(graph.name)} {{",
        f"  rankdir={direction}; ranksep=0.06; nodesep=0.6;",
        '  node [shape=box style="rounded,filled" color="#777777" fontname="Helvetica" fontsize=10'
        ' margin="0.1,0.03" height=0.25];',
        '  edge [color="#777777" fontname="Helvetica" fontsize=8 fontcolor="#555555" arrowsize=0.6];',
    ]
    for i, box in enumerate(boxes):
        label = f"<b>{escape(box.name)}</b><br/>{escape(box.text)}"
        lines.append(f'  n{i} [label=<{label}> fillcolor="{COLOURS[box.family]}"];')
    told: set[str] = set()
    for edge in edges:
        # Once for each value: a module's four branches need not all say what they read.
        label = "" if edge.value.name in told else f' [label=" {times(edge.value.shape)}"]'
        told.add(edge.value.name)
        lines.append(f"  n{edge.start} -> n{edge.end}{label};")
    return "\n".join([*lines, "}"]) + "\n"


def svg(graph: Graph, direction: str = "TB") -> str:
    """The drawing as SVG, laid out here."""
    boxes, edges = picture(graph)
    shown = [(box.name, box.text, COLOURS[box.family]) for box in boxes]
    return lay_out(Picture(shown, [(e.start, e.end, times(e.value.shape)) for e in edges], direction == "LR"))


def draw(graph: Graph, path: Path, direction: str = "TB") -> None:
    """Write the drawing as .svg, .png, .pdf or .dot, with Graphviz where it is installed. Raises NktcError for another
    ending, and where the format needs Graphviz and there is none."""
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise NktcError(f"cannot draw {path}", help=f"a drawing ends in {', '.join(FORMATS)}")
    write_bytes(path, rendered(kind[1:], dot(graph, direction), lambda: svg(graph, direction), str(path)))


def rendered(kind: str, source: str, own: Callable[[], str], what: str) -> bytes:
    """What a file of a drawing holds, from its source for Graphviz: that itself for dot, else any kind that Graphviz
    writes; where it is not installed, the SVG that `own` lays out. `what` names the drawing where there is neither, in
    an NktcError."""
    program = shutil.which("dot")
    if kind == "dot":
        return source.encode()
    if program:
        return _run(program, kind, source)
    if kind == "svg":
        return own().encode()
    raise NktcError(f"cannot draw {what} without Graphviz", help="install graphviz, or draw to a .svg")


def _run(program: str, kind: str, source: str) -> bytes:
    done = subprocess.run([program, f"-T{kind}"], input=source.encode(), capture_output=True, check=False)
    if done.returncode:
        raise NktcError(f"{program} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _described(node: Node) -> str:
    """Convolution 3x3 /2, Pooling MAX 2x2 /2."""
    settings = {field.name: getattr(node.layer, field.name) for field in dataclasses.fields(node.layer)}  # type: ignore[arg-type]
    words = [node.type]
    if isinstance(settings.get("method"), str):
        words.append(settings["method"])
    spatial = max(1, len(node.outputs[0].shape) - 2) if node.outputs else 1
    if settings.get("kernel"):
        words.append(times(_sides(settings["kernel"], spatial)))
    if settings.get("stride") and set(_sides(settings["stride"], 1)) != {1}:
        stride = _sides(settings["stride"], spatial)
        words.append(f"/{stride[0] if len({*stride}) == 1 else times(stride)}")
    return " ".join(words)


def _sides(value: Any, spatial: int) -> tuple[int, ...]:
    sides = value if isinstance(value, tuple) else (value,)
    return sides * spatial if len(sides) == 1 else sides


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _quoted(text: str) -> str:
    return '"' + _printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
