"""Nets as drawings, layers and blobs each a node: what scripts for Caffe call `caffe.draw`.

`nktc show -o` draws a net as nktc sees it, with shapes; this draws the message, whatever it holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nktc import reader
from nktc.errors import NktcError
from nktc.files import write_bytes
from nktc.ir import drawing, layered, times
from nktc.pycaffe.proto.caffe_pb2 import LayerParameter, NetParameter, PoolingParameter

LAYER_STYLE_DEFAULT = {"shape": "box", "fillcolor": "#6495ED", "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "box", "fillcolor": "#90EE90", "style": "filled"}
BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
COLOURS = {"Convolution": "#FF5050", "Deconvolution": "#FF5050", "Pooling": "#FF9900", "InnerProduct": "#CC33FF"}
LEARNING = ("Convolution", "Deconvolution", "InnerProduct")


class DrawError(NktcError, ValueError):
    """A net, or a phase, that cannot be drawn."""


@dataclass(frozen=True)
class Node:
    """A node of a drawing, with Graphviz' attributes."""

    name: str
    attributes: Mapping[str, str]

    def get_name(self) -> str:
        return self.name

    def get_label(self) -> str:
        return self.attributes.get("label", self.name)


@dataclass(frozen=True)
class Edge:
    """From one node to another, by their names."""

    source: str
    target: str
    attributes: Mapping[str, str]


@dataclass
class Dot:
    """A directed graph for Graphviz, with the methods of pydot that scripts for Caffe use; `create_png()` and
    `write_png(path)` are there for every format too."""

    name: str = "Net"
    rankdir: str = "LR"
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def add_node(self, node: Node) -> None:
        """A node of a name that is there already takes its place."""
        self.nodes[node.name] = node

    def add_edge(self, edge: Edge) -> None:
        self.edges.append(edge)

    def get_nodes(self) -> list[Node]:
        return list(self.nodes.values())

    def get_edges(self) -> list[Edge]:
        return list(self.edges)

    def to_string(self) -> str:
        """The source for Graphviz."""
        lines = [f"digraph {_quoted(self.name)} {{", f"  rankdir={_quoted(self.rankdir)};"]
        lines += [f"  {_quoted(node.name)}{_attributes(node.attributes)};" for node in self.nodes.values()]
        for edge in self.edges:
            lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)}{_attributes(edge.attributes)};")
        return "\n".join([*lines, "}"]) + "\n"

    def create(self, prog: str | None = None, format: str = "ps") -> bytes:
        """The drawing in a format of Graphviz, "raw" or "dot" for its source; `prog` is always dot. Without Graphviz
        there is SVG alone. Raises NktcError."""
        kind = "dot" if format == "raw" else format
        return drawing.rendered(kind, self.to_string(), self._svg, f"a .{format}")

    def write(self, path: str | os.PathLike[str], prog: str | None = None, format: str = "raw") -> bool:
        """Write what `create` makes; True, as pydot says where it went well."""
        write_bytes(Path(path), self.create(prog, format))
        return True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        what, _, kind = name.partition("_")
        if what == "create" and kind:
            return lambda prog=None: self.create(prog, kind)
        if what == "write" and kind:
            return lambda path, prog=None: self.write(path, prog, kind)
        raise AttributeError(f"a drawing has no {name}")

    def _svg(self) -> str:
        """The drawing, laid out without Graphviz."""
        numbers = {name: i for i, name in enumerate(self.nodes)}
        boxes = []
        for node in self.nodes.values():
            name, _, text = _bare(node.get_label()).replace(r"\n", " ").partition(" ")
            boxes.append((name, text, node.attributes.get("fillcolor", BLOB_STYLE["fillcolor"])))
        edges = [(numbers[e.source], numbers[e.target], _bare(e.attributes.get("label", ""))) for e in self.edges]
        return layered.lay_out(layered.Picture(boxes, edges, self.rankdir in ("LR", "RL")))


def get_pooling_types_dict() -> dict[int, str]:
    """The names of pooling methods by their numbers."""
    return {number: name for name, number in PoolingParameter.PoolMethod.items()}


def get_edge_label(layer: LayerParameter) -> str:
    """What is written along the lines out of a layer: its batch size, or how many channels it makes."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    return str(layer.inner_product_param.num_output) if layer.type == "InnerProduct" else '""'


def get_layer_lr_mult(layer: LayerParameter) -> tuple[float, ...]:
    """What the learning rate of a layer's weight and bias is multiplied by. Raises DrawError for a layer that is no
    convolution and no InnerProduct."""
    if layer.type not in LEARNING:
        raise DrawError(f"{layer.type} layers have no learning rate multipliers")
    given = [param.lr_mult for param in layer.param]
    return (*given, *(1.0 for _ in range(2 - len(given))))


def get_layer_label(layer: LayerParameter, rankdir: str, display_lrm: bool = False) -> str:
    """What is written in a layer's node, in quotes; in lines where the drawing grows to the right (`rankdir` LR)."""
    parts = [_escaped(layer.name)]
    if layer.type == "Pooling":
        parts.append(f"({layer.type} {get_pooling_types_dict()[layer.pooling_param.pool]})")
    else:
        parts.append(f"({_escaped(layer.type)})")
    if layer.type in ("Convolution", "Deconvolution", "Pooling"):
        p: Any = layer.pooling_param if layer.type == "Pooling" else layer.convolution_param
        if layer.type == "Pooling" and p.global_pooling:
            parts.append("kernel size: all")
        else:
            parts.append(f"kernel size: {_side(p, 'kernel_size', 'kernel', 1)}")
        parts += [f"stride: {_side(p, 'stride', 'stride', 1)}", f"pad: {_side(p, 'pad', 'pad', 0)}"]
    if display_lrm and layer.type in LEARNING:
        rates = get_layer_lr_mult(layer)
        if any(rates):
            parts.append(f"lr mult: {', '.join(f'{rate:.1f}' for rate in rates)}")
    return f'"{(" " if rankdir in ("TB", "BT") else chr(92) + "n").join(parts)}"'


def _side(p: Any, name: str, side: str, otherwise: int) -> str:
    """5, or 3x5 where axes differ."""
    value = getattr(p, name)
    if p.HasField(f"{side}_h") or p.HasField(f"{side}_w"):
        value = [getattr(p, f"{side}_h"), getattr(p, f"{side}_w")]
    sides = [value] if isinstance(value, int) else list(value) or [otherwise]
    return str(sides[0]) if len(set(sides)) == 1 else times(tuple(sides))


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of a layer that does not work in place."""
    return COLOURS.get(layertype, LAYER_STYLE_DEFAULT["fillcolor"])


def get_pydot_graph(
    caffe_net: NetParameter,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Dot:
    """A net as a drawing that grows to `rankdir` (LR, RL, TB, BT): all its layers, or those of a phase. An old net is
    drawn in today's types. Raises DrawError."""
    net = reader.from_message(caffe_net).message if caffe_net.layers else caffe_net
    made = Dot(net.name or "Net", rankdir)
    for layer in net.layer:
        if phase is not None and not _included(layer, phase):
            continue
        name = f"{layer.name}_{layer.type}"
        alone = len(layer.bottom) == len(layer.top) == 1 and layer.bottom[0] == layer.top[0]
        style = NEURON_LAYER_STYLE if alone else {"fillcolor": choose_color_by_layertype(layer.type)}
        label = get_layer_label(layer, rankdir, display_lrm)
        for blob in layer.bottom:
            made.add_node(_blob(blob))
        made.add_node(Node(name, {"label": label, **LAYER_STYLE_DEFAULT, **style}))
        for blob in layer.top:
            made.add_node(_blob(blob))
        made.edges += [Edge(f"{blob}_blob", name, {}) for blob in layer.bottom]
        said = {"label": get_edge_label(layer)} if label_edges else {}
        made.edges += [Edge(name, f"{blob}_blob", said) for blob in layer.top]
    return made


def _blob(name: str) -> Node:
    return Node(f"{name}_blob", {"label": name, **BLOB_STYLE})


def _included(layer: LayerParameter, phase: int) -> bool:
    """Whether a layer can be part of a net of a phase, whatever its level and stages."""
    if layer.include and layer.exclude:
        raise DrawError(f'layer "{layer.name}" has include rules and exclude rules', help="keep one kind")
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    alone = (rule for rule in layer.exclude if len(rule.ListFields()) == 1)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in alone)


def draw_net(
    caffe_net: NetParameter, rankdir: str, ext: str = "png", phase: int | None = None, display_lrm: bool = False
) -> bytes:
    """The bytes of a drawing in a format of Graphviz. Raises NktcError."""
    return get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).create(format=ext)


def draw_net_to_file(
    caffe_net: NetParameter, filename: str, rankdir: str = "LR", phase: int | None = None, display_lrm: bool = False
) -> None:
    """Write a drawing in the format that the file's ending says; .raw or .dot is its source for Graphviz. Raises
    NktcError."""
    kind = Path(filename).suffix.removeprefix(".").lower()
    if not kind:
        raise DrawError(f"{filename} has no ending that says what kind of drawing it is", help="draw to a .png or .svg")
    write_bytes(filename, draw_net(caffe_net, rankdir, kind, phase, display_lrm))


def _attributes(given: Mapping[str, str]) -> str:
    listed = " ".join(f"{key}={value if value.startswith(chr(34)) else _quoted(value)}" for key, value in given.items())
    return f" [{listed}]" if listed else ""


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Text as it may stand in quotes."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("\\", "\\\\").replace('"', '\\"')


def _bare(text: str) -> str:
    return text[1:-1] if text.startswith('"') else text
