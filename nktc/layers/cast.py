"""Blobs hold floats, also where they are indices; ONNX wants integers there."""

from __future__ import annotations

from nktc.ir import Emitter, Operand

INT64 = 7  # of onnx.TensorProto.DataType


def integers(emit: Emitter, x: Operand) -> Operand:
    """x without what is behind the point, as Caffe takes an index."""
    return emit("Cast", x, to=INT64)
