"""ONNX files as several engines read them: inner values made outputs, metadata understood."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from nktc import export
from nktc.engines.engine import Facts
from nktc.errors import NktcError, near
from nktc.layers import Choice

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def with_outputs(path: Path, blobs: Sequence[str]) -> bytes:
    """The file's model with these inner values as outputs behind its own. Raises NktcError for an unknown name."""
    model = export.load(path)
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


def float_values(path: Path) -> list[str]:
    """The inner values of a file that are floats, in order. Raises NktcError."""
    model = onnx.shape_inference.infer_shapes(export.load(path))
    floats = {v.name for v in model.graph.value_info if v.type.tensor_type.elem_type in FLOATS}
    return [name for node in model.graph.node for name in node.output if name in floats]


def facts(metadata: Mapping[str, str], name: str) -> Facts:
    """What a file says of itself. Raises NktcError where its metadata cannot be read."""
    try:
        packed = json.loads(metadata.get("nktc.preprocessing", "{}"))
        preprocessing = {input: export.unpack(p) for input, p in packed.items()}
        labels = tuple(map(str, json.loads(metadata.get("nktc.labels", "[]"))))
        left = json.loads(metadata.get("nktc.detections", "{}"))
        detections = {name: Choice(**settings) for name, settings in left.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NktcError(f"the metadata of {name} cannot be read: {error}", help="export it again") from None
    origin = {key.removeprefix("nktc."): value for key, value in metadata.items() if key.startswith("nktc.origin.")}
    return Facts(preprocessing, labels, origin, detections)


def no_blob(where: str, name: str, known: Sequence[str]) -> NktcError:
    """The refusal of a blob that a model has not."""
    few = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return NktcError(f'{where} has no blob "{name}"', help=near(name, known) or f"it has {few}")
