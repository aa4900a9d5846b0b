"""idx, the form of MNIST's files: an array of bytes behind its sizes, packed by gzip or not."""

from __future__ import annotations

import gzip
import math
import zlib

import numpy as np

from nktc.errors import NktcError
from nktc.ir import times

BYTES = 8  # the kind of element
PACKED = b"\x1f\x8b"


def unpacked(data: bytes, name: str) -> bytes:
    """The contents, unpacked where they are packed. Raises NktcError, which calls the file `name`."""
    if data[:2] != PACKED:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise NktcError(f"{name} is damaged ({error})") from None


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """u8[..] of an idx file, packed or not: two zero bytes, the kind of element, the number of axes, their sizes, the
    elements. Raises NktcError, which calls the file `name`."""
    data = unpacked(data, name)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != BYTES or not data[3]:
        raise NktcError(f"{name} is no idx file of bytes: it begins with {data[:4].hex(' ') or 'nothing'}")
    axes = data[3]
    head = data[4 : 4 + 4 * axes]
    sizes = tuple(int(size) for size in np.frombuffer(head[: len(head) // 4 * 4], ">u4"))
    count = len(data) - 4 - 4 * axes
    if len(sizes) != axes or math.prod(sizes) != count:
        raise NktcError(f"{name} is cut off: it tells of {times(sizes) or 'many'} elements and holds {max(0, count)}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(sizes)
