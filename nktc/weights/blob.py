"""BlobProto to array and back."""

from __future__ import annotations

import math

import numpy as np

from nktc.errors import NktcError
from nktc.schema import BlobProto


def array(blob: BlobProto) -> np.ndarray:
    """The blob's data as f32 in its shape; old blobs have num, channels, height, width instead of a shape."""
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


def blob(values: np.ndarray) -> BlobProto:
    """The message of an array, single precision."""
    message = BlobProto()
    message.shape.dim.extend(values.shape)
    message.data.extend(np.asarray(values, np.float32).ravel())
    return message


def fit(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in `shape` where only leading axes of 1 differ, as in blobs of old files; None where it is another."""
    if tuple(d for d in _stripped(values.shape)) != _stripped(shape):
        return None
    return values.reshape(shape)


def _stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    first = next((i for i, dim in enumerate(shape) if dim != 1), len(shape))
    return tuple(shape[first:])
