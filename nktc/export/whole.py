"""An ONNX file, checked and written without another copy of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from nktc.errors import NktcError
from nktc.files import atomic
from nktc.wire import MOST, Part, field, size

SMALL = 1 << 12  # bytes of a tensor that is checked with the rest, since shapes may hang on it


def save(model: ir.Model, path: str | Path) -> None:
    """Check the model as ONNX's own checker does, then write it whole or not at all. Raises NktcError for one that no
    reader of protobuf would take."""
    with _without_tensors(model) as large:
        message = ir.to_proto(model)
        skeleton = onnx.ModelProto()
        skeleton.CopyFrom(message)
        # To the checker, weights are what is fed: it sees their types and shapes.
        skeleton.graph.input.extend(ir.to_proto(value) for value in large)
        onnx.checker.check_model(skeleton, full_check=True)
        graph: list[Part] = [message.graph.SerializeToString()]
        for value in large:
            graph += field(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, _tensor(value))
    message.ClearField("graph")
    parts = [message.SerializeToString(), *field(onnx.ModelProto.GRAPH_FIELD_NUMBER, graph)]
    if size(parts) > MOST:
        raise NktcError(f"{path} would have more than 2 GB, which no reader of ONNX takes in one file")
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.writelines(parts)


@contextmanager
def _without_tensors(model: ir.Model) -> Iterator[list[ir.Value]]:
    """Takes the large initializers out, gives them, and puts them back."""
    held = model.graph.initializers
    large = [value for value in held.values() if value.const_value is not None and value.const_value.nbytes > SMALL]
    names = [value.name or "" for value in large]
    for name in names:
        del held[name]
    try:
        yield large
    finally:
        for name, value in zip(names, large, strict=True):
            held[name] = value


def _tensor(value: ir.Value) -> list[Part]:
    """A TensorProto whose numbers are the array's own."""
    assert value.const_value is not None
    array = np.ascontiguousarray(value.const_value.numpy())
    about = onnx.TensorProto(dims=array.shape, data_type=int(value.const_value.dtype), name=value.name)
    # Bytes, since not every type of numbers has a buffer of its own.
    numbers = array.reshape(-1).view(np.uint8).data
    return [about.SerializeToString(), *field(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, [numbers])]
