"""The .safetensors format: tensors by name, written without its library."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

_KINDS = {"float32": "F32", "int64": "I64"}


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file of f32 and i64 arrays: the length of the header (8 bytes), the header as JSON, the numbers."""
    header, at = {}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _KINDS[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (at, at + array.nbytes),
        }
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    numbers = (array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays.values())
    return b"".join([len(text).to_bytes(8, "little"), text, *numbers])
