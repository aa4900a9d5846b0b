"""Protobuf's wire format without a schema: the fields of a message as they lie in its bytes, read and written,
nothing copied."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nktc.errors import NktcError

VARINT, BITS64, BYTES, GROUP, END, BITS32 = range(6)
WIDTHS = {BITS64: 8, BITS32: 4}
MOST = 2**31 - 1  # bytes of a message that protobuf reads
MOST_GROUPS = 100  # inside one another
MOST_NUMBER = 2**29 - 1

Part = bytes | memoryview
"""A piece of a message that is written."""


class WireError(NktcError):
    """Bytes that are no protobuf message, with the place in the message they are part of."""


class Field(NamedTuple):
    """One field. `kind` is the wire type: 0 varint, 1 of 64 bits, 2 bytes, 5 of 32 bits; `value` the unsigned number,
    or a view of the bytes."""

    number: int
    kind: int
    value: int | memoryview

    @property
    def view(self) -> memoryview | None:
        """The bytes of a field that has some: a message, text or packed numbers."""
        return self.value if isinstance(self.value, memoryview) else None


def fields(data: memoryview, packed: Collection[int] = ()) -> Iterator[Field]:
    """The fields of a message in their order; groups are passed over.

    Numbers of fixed width that a file repeats one by one come, for the fields in `packed`, as one field of bytes, as
    if they were packed: a blob of a million such numbers is read at once. Raises WireError where bytes are damaged.
    """
    place, end = 0, len(data)
    groups: list[int] = []
    while place < end:
        start = place
        tag = data[place]
        place += 1
        if tag > 0x7F:
            tag, place = _varint(data, start)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= MOST_NUMBER:
            raise WireError(f"there is no field {number}, at byte {start}")
        value: int | memoryview
        if kind == BYTES:
            size, place = _varint(data, place)
            if size > end - place:
                raise WireError(f"field {number} at byte {start} has {size} bytes, {end - place} are left")
            value = data[place : place + size]
            place += size
        elif kind == VARINT:
            value, place = _varint(data, place)
        elif kind in WIDTHS:
            width = WIDTHS[kind]
            if width > end - place:
                raise WireError(f"field {number} at byte {start} has {width} bytes, {end - place} are left")
            if number in packed and not groups:
                value, place = _run(data, start, place - start, width)
                kind = BYTES
            else:
                value = int.from_bytes(data[place : place + width], "little")
                place += width
        elif kind == GROUP:
            groups.append(number)
            if len(groups) > MOST_GROUPS:
                raise WireError(f"more than {MOST_GROUPS} groups lie in one another, at byte {start}")
            continue
        elif kind == END and groups and groups[-1] == number:
            groups.pop()
            continue
        else:
            raise WireError(f"field {number} at byte {start} is of no known kind")
        if not groups:
            yield Field(number, kind, value)
    if groups:
        raise WireError(f"group {groups[-1]} has no end")


def varints(field: Field) -> Iterator[int]:
    """The whole numbers of a field, unsigned: the one it is, or all that are packed in it. Raises WireError."""
    if isinstance(field.value, int):
        yield field.value
        return
    place = 0
    while place < len(field.value):
        value, place = _varint(field.value, place)
        yield value


def signed(value: int) -> int:
    """An int32 or int64 from what a varint holds."""
    value &= 2**64 - 1
    return value - 2**64 if value >> 63 else value


def numbers(field: Field, dtype: str) -> np.ndarray:
    """The numbers of fixed width of a field, of a little-endian dtype such as "<f4": the one it is, or a view of all
    that are packed in it. Raises WireError."""
    kind = np.dtype(dtype)
    if isinstance(field.value, int):
        if WIDTHS.get(field.kind) != kind.itemsize:
            raise WireError(f"field {field.number} holds no numbers of {kind.itemsize} bytes")
        return np.frombuffer(field.value.to_bytes(kind.itemsize, "little"), kind)
    if len(field.value) % kind.itemsize:
        raise WireError(f"the {len(field.value)} bytes of field {field.number} are no numbers of {kind.itemsize} bytes")
    return np.frombuffer(field.value, kind)


def text(field: Field) -> str:
    """A field's text; WireError where its bytes are no UTF-8."""
    if isinstance(field.value, int):
        raise WireError(f"field {field.number} holds a number where text is expected")
    try:
        return str(field.value, "utf-8")
    except UnicodeDecodeError:
        raise WireError(f"field {field.number} is no UTF-8 text") from None


def field(number: int, parts: Sequence[Part]) -> list[Part]:
    """The bytes of a field that holds a message, text, bytes or packed numbers, which are not copied."""
    return [_written(number << 3 | BYTES) + _written(size(parts)), *parts]


def size(parts: Sequence[Part]) -> int:
    """How many bytes all parts have."""
    return sum(memoryview(part).nbytes for part in parts)


def _written(number: int) -> bytes:
    """A varint: seven bits a byte, the lowest first; all but the last byte have the eighth."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """The number at a place, of at most 64 bits, and the place behind it."""
    value = shift = 0
    for at in range(place, min(place + 10, len(data))):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at + 1
        shift += 7
    raise WireError(f"the number at byte {place} has no end")


def _run(data: memoryview, start: int, tag: int, width: int) -> tuple[memoryview, int]:
    """The numbers of the fields from `start` on that have one tag, of `tag` bytes, packed; and the place behind."""
    step = tag + width
    rows = np.frombuffer(data, np.uint8, (len(data) - start) // step * step, start).reshape(-1, step)
    count = size = 1
    # Growing steps: the whole rest of a file is not looked through for a run of one.
    while count == size and size < len(rows):
        size = min(len(rows), size * 8)
        same = (rows[count:size, :tag] == rows[0, :tag]).all(axis=1)
        count += int(same.argmin()) if not same.all() else len(same)
    return np.ascontiguousarray(rows[:count, tag:]).reshape(-1).data, start + count * step
