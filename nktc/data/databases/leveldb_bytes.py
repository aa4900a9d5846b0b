"""What the files of a LevelDB are made of: numbers, checksums, keys, entries; and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c

from nktc.errors import NktcError

DELETED, STORED = range(2)  # kinds of entry
TAG = 8  # bytes after a key: sequence << 8 | kind

Value = bytes | Callable[[], bytes]
"""The bytes, or what reads them from the table."""

Entry = tuple[bytes, int, Value]
"""Key, ~tag, value: in ascending order the newest entry of a key is its first."""


class Malformed(ValueError):
    """What is wrong with some bytes; whoever read them knows their place."""


def damaged(file: Path, offset: int, what: object) -> NktcError:
    return NktcError(f"{file} is damaged at byte {offset}: {what}")


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """What the system says becomes an NktcError."""
    try:
        yield
    except FileNotFoundError:
        raise NktcError(f"{file} is missing") from None
    except OSError as error:
        raise NktcError(f"cannot read {file}: {error.strerror or error}") from None


def masked(checksum: int) -> int:
    """As it stands in a file, where a checksum of bytes that hold checksums would be a weak one."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def compare_checksums(stored: int, data: bytes) -> None:
    found = masked(google_crc32c.value(data))
    if stored != found:
        raise Malformed(f"the checksum is {stored:08x}, that of its bytes {found:08x}")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed("a number has no end")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def counted_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """The bytes at a place, after their number, and the place after them."""
    count, at = varint(data, at)
    if at + count > len(data):
        raise Malformed(f"{count} bytes are told of, {len(data) - at} are left")
    return data[at : at + count], at + count


def split_key(internal: bytes) -> tuple[bytes, int]:
    """A key as it stands in a file: the user's key and its tag."""
    if len(internal) < TAG:
        raise Malformed(f"a key has {len(internal)} bytes, its tag alone {TAG}")
    return internal[:-TAG], int.from_bytes(internal[-TAG:], "little")
