"""ONNX files as several engines read them: inner values made outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from nktc.errors import NktcError, near


def read(path: Path) -> onnx.ModelProto:
    """The model of a file, with the tensors that lie in files beside it. Raises NktcError."""
    try:
        model = onnx.load(str(path))
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        help = "give a whole ONNX file"
        raise NktcError(f"{path} is no ONNX file that can be read: {_line(error)}", help=help) from None
    if not model.graph.node and not model.graph.output:
        raise NktcError(f"{path} is no ONNX file: it holds no graph", help="give a whole ONNX file")
    return model


def with_outputs(path: Path, blobs: Sequence[str]) -> bytes:
    """The file's model with these inner values as outputs behind its own. Raises NktcError for an unknown name."""
    model = read(path)
    made = {name for node in model.graph.node for name in node.output} | {v.name for v in model.graph.input}
    have = {value.name for value in model.graph.output}
    known = {value.name: value for value in model.graph.value_info}
    for name in dict.fromkeys(blobs):
        if name not in made:
            raise no_blob(str(path), name, sorted(made))
        if name not in have:
            # Without a shape, which not every file tells; runtimes find it.
            model.graph.output.append(known.get(name, onnx.ValueInfoProto(name=name)))
    return model.SerializeToString()


def no_blob(where: str, name: str, known: Sequence[str]) -> NktcError:
    """The refusal of a blob that a model has not."""
    few = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return NktcError(f'{where} has no blob "{name}"', help=near(name, known) or f"it has {few}")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
