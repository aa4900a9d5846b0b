"""BlobProto to array."""

from __future__ import annotations

import math

import numpy as np

from nktc.errors import NktcError
from nktc.schema import BlobProto


def array(blob: BlobProto) -> np.ndarray:
    """The blob's data as f32 in its shape; old blobs have num, channels, height, width instead of a shape. Raises
    NktcError."""
    values = blob.double_data if blob.double_data else blob.data
    found = np.asarray(values, dtype=np.float32)
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    elif any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        shape = (blob.num, blob.channels, blob.height, blob.width)
    else:
        shape = (len(found),)
    if any(dim < 0 for dim in shape) or math.prod(shape) != len(found):
        raise NktcError(f"a blob of shape {list(shape)} holds {len(found)} numbers")
    return found.reshape(shape)
