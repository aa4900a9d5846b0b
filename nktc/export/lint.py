"""What a runtime is known to refuse in an ONNX file, found without the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from nktc.errors import NktcError, NktcWarning
from nktc.export.rules import BASIS, RULES, VERSIONS
from nktc.export.targets import PORTABLE, Target
from nktc.ir import Graph


@dataclass(frozen=True)
class Finding:
    """A node (its name; "" for the file as a whole) that a runtime refuses, or that is only worth knowing; `source`
    says where that was read or seen, `target` for which runtime it holds."""

    op: str
    node: str
    message: str
    source: str
    refused: bool
    target: str

    def told(self, graph: Graph | None = None) -> NktcWarning:
        """The finding at its layer's line, where the node is one of the graph's."""
        layer = self.node.partition(":")[0]
        found = [node for node in graph or () if node.name == layer]
        where = f'"{self.node}": ' if self.node else ""
        at = found[0].at if found else None
        return NktcWarning(f"{where}{self.message} ({self.source})", at=at)


def lint(model: ir.Model, target: Target) -> list[Finding]:
    """What the runtime of a target, or any of them for a portable file, refuses in a model; in the file's order."""
    names = list(RULES) if target is PORTABLE else [target.name]
    found = [finding for name in names for finding in _versions(model, name)]
    for node in model.graph.all_nodes():
        found += [
            Finding(node.op_type, node.name or "", rule.message(node), rule.source, rule.refuses, name)
            for name in names
            for rule in RULES.get(name, ())
            if rule.hits(node)
        ]
    return found


def verdict(found: Sequence[Finding], target: Target) -> str:
    """In one line what a lint came to, and what it cannot know."""
    names = list(RULES) if target is PORTABLE else [target.name]
    refused = {name: sum(one.refused and one.target == name for one in found) for name in names}
    lines = [
        f"{n} node{' is' if n == 1 else 's are'} refused by {BASIS[name]}" if n else f"not refused by {BASIS[name]}"
        for name, n in refused.items()
    ]
    return f"{target.name}: {', '.join(lines)}; no runtime has loaded the file"


def load(path: Path, tensors: bool = True) -> onnx.ModelProto:
    """The message of an ONNX file, with the tensors that lie in files beside it, or without. Raises NktcError."""
    help = "give a whole ONNX file"
    try:
        # Without the format a file called .json or .txtpb is parsed as such text.
        model = onnx.load(str(path), format="protobuf", load_external_data=tensors)
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise NktcError(f"{path} is no ONNX file that can be read: {_line(error)}", help=help) from None
    if not model.graph.node and not model.graph.output:
        raise NktcError(f"{path} is no ONNX file: it holds no graph", help=help)
    return model


def read(path: Path) -> ir.Model:
    """The model of an ONNX file, with the types and shapes that can be inferred; tensors in files beside it are not
    needed. Raises NktcError."""
    model = load(path, tensors=False)
    # What cannot be inferred is not known, and hits no rule.
    with suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        model = onnx.shape_inference.infer_shapes(model)
    try:
        return ir.from_proto(model)
    except (KeyError, TypeError, ValueError) as error:
        help = "onnx.checker says more"
        raise NktcError(f"{path} is no ONNX model that makes sense: {_line(error)}", help=help) from None


def _versions(model: ir.Model, name: str) -> list[Finding]:
    """Whether the opset of the file is one the runtime knows."""
    least, most, source = VERSIONS[name]
    opset = model.graph.opset_imports.get("", most)
    if least <= opset <= most:
        return []
    return [Finding("", "", f"opset {opset} is not from {least} to {most}", source, True, name)]


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
