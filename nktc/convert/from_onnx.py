"""ONNX to a graph: each operator becomes the layers that do the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from nktc import export
from nktc.convert.importing import RULES, Importing
from nktc.convert.onnx_graph import prepare
from nktc.convert.operators import elementwise, shaping, sums, windows
from nktc.errors import LayerError, NktcError, near, raise_all
from nktc.ir import Graph, Shape, times

FAMILIES = (elementwise, shaping, sums, windows)  # importing them enters their rules


BROKEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
"""What models raise that are not as ONNX has them."""


def from_onnx(model: str | Path | onnx.ModelProto, shapes: Mapping[str, Shape] | None = None, batch: int = 1) -> Graph:
    """The TEST graph of an ONNX model, with its weights; blobs are called as its values.

    Open batches become `batch`, other sizes that are open are in `shapes`, by input. Where Caffe has no layer for an
    operator but nktc has, nktc's is taken. Raises an NktcError for each node that no layer does the work of.
    """
    path = "the model" if isinstance(model, onnx.ModelProto) else str(model)
    try:
        message = model if isinstance(model, onnx.ModelProto) else export.load(Path(model))
        opened = prepare(message, shapes or {}, batch)
    except NktcError as error:
        if not error.message.startswith(path):
            error.message = f"{path}: {error.message}"
        raise
    except (*BROKEN, onnx.checker.ValidationError) as error:
        help = "onnx.checker says more"
        raise NktcError(f"{path} is no ONNX model that makes sense: {_line(error)}", help=help) from None
    del message
    net = Importing(opened)
    refused: list[NktcError] = []
    unknown: set[str] = set()  # values of calls that were refused
    for call in opened.calls:
        if any(name in unknown for name in call.inputs):
            unknown.update(call.outputs)
            continue
        try:
            if call.op not in RULES:
                help = near(call.op, RULES) or "write it with simpler operators, or leave it outside the model"
                raise LayerError("no layer does what this operator does", help=help)
            net.begin(call)
            RULES[call.op](net, call)
        except LayerError as error:
            refused.append(NktcError(f'{path}: {call.op} "{call.name}": {error.message}', help=error.help))
            unknown.update(call.outputs)
        except BROKEN as error:
            # A node without an attribute that ONNX asks for, or with another kind of it.
            refused.append(NktcError(f'{path}: {call.op} "{call.name}" is no sound node: {_line(error)}'))
            unknown.update(call.outputs)
    raise_all(refused)
    for name in opened.outputs:
        if name in opened.constants or name in opened.inputs or name not in net.blobs:
            raise NktcError(f'{path}: its output "{name}" is computed by no layer')
    graph = net.draft.graph(path)
    for name, value in graph.values.items():
        if name in opened.shapes and opened.shapes[name] != value.shape:
            wanted = times(opened.shapes[name])
            raise NktcError(f'{path}: "{name}" is {wanted} in the model and {times(value.shape)} in the net made of it')
    return graph


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
