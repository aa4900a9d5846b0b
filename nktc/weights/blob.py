"""Array to BlobProto, and into another shape."""

from __future__ import annotations

import numpy as np

from nktc.schema import BlobProto


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
