"""A table of a LevelDB, as its doc/table_format.md has it: entries in the order of their keys, in blocks."""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cramjam

from nktc.data.databases.leveldb_bytes import (
    DELETED,
    STORED,
    Entry,
    Malformed,
    compare_checksums,
    damaged,
    reading,
    split_key,
    varint,
)
from nktc.errors import NktcError

FOOTER = 48  # bytes
MAGIC = 0xDB4775248B80FB57
TRAILER = 5  # bytes after a block: method of compression, checksum
PLAIN, SNAPPY = range(2)
EXPANSION = 22  # Snappy writes at most 64 bytes for 3 of its own
LARGE = 72 << 10  # bytes of a block that may be told from its head; one of many records is not larger
HEAD = 160  # bytes, enough for most keys


class Table:
    """The entries of a table, block by block. Not for several threads at once. Raises NktcError."""

    def __init__(self, file: Path, size: int) -> None:
        self.file = file
        with reading(file):
            self._opened = file.open("rb")
            weakref.finalize(self, self._opened.close)
            found = self._opened.seek(0, 2)
        if found < size or size < FOOTER:
            raise NktcError(f"{file} is cut off: it has {found} bytes, its database tells of {max(size, FOOTER)}")
        self._end = at = size - FOOTER  # of the blocks
        footer = self._read(at, FOOTER)
        self._handles: list[tuple[int, int]] = []  # place and bytes of each block
        self._last: list[bytes] = []  # keys that are no smaller than those of each block
        try:
            magic = int.from_bytes(footer[-8:], "little")
            if magic != MAGIC:
                raise Malformed(f"its last 8 bytes are {magic:016x}, those of a table {MAGIC:016x}")
            index, _ = self._handle(footer, self._handle(footer, 0)[1])
            at = index[0]
            for key, handle in pairs(self._block(*index)):
                self._last.append(split_key(key)[0])
                self._handles.append(self._handle(handle, 0)[0])
        except Malformed as error:
            raise damaged(file, at, error) from None

    def entries(self, start: bytes) -> Iterator[Entry]:
        """From the first entry on whose key is no smaller than `start`."""
        first = bisect_left(self._last, start)
        for number in range(first, len(self._last)):
            entries = self._entries(number)
            yield from entries if number > first else (entry for entry in entries if entry[0] >= start)

    def _entries(self, number: int) -> list[Entry]:
        offset, size = self._handles[number]
        try:
            if size >= LARGE and (alone := self._alone(offset, size)):
                return [(*alone, partial(self._value, offset, size, alone))]
            return list(entries_of(self._block(offset, size)))
        except Malformed as error:
            raise damaged(self.file, offset, error) from None

    def _value(self, offset: int, size: int, expected: tuple[bytes, int]) -> bytes:
        try:
            (key, order, value), *more = entries_of(self._block(offset, size))
        except Malformed as error:
            raise damaged(self.file, offset, error) from None
        if more or (key, order) != expected:
            raise damaged(self.file, offset, "it has changed since its head was read")
        return value

    def _alone(self, offset: int, size: int) -> tuple[bytes, int] | None:
        """Key and order of the one entry of a block, None where it cannot be told from the head. A record of
        many pixels has a block of its own: passing over it need not read them."""
        head, method = self._read(offset, HEAD), self._read(offset + size, 1)[0]
        if method == SNAPPY:
            size, head = unpacked_head(head)
        shared, at = varint(head, 0)
        fresh, at = varint(head, at)
        length, at = varint(head, at)
        restarts = 8  # bytes: the place of the one entry, and that it is one
        if method > SNAPPY or shared or at + fresh > len(head) or at + fresh + length + restarts != size:
            return None
        key, tag = split_key(head[at : at + fresh])
        return (key, ~tag) if tag & 0xFF in (DELETED, STORED) else None

    def _block(self, offset: int, size: int) -> bytes:
        data = self._read(offset, size + TRAILER)
        compare_checksums(int.from_bytes(data[-4:], "little"), data[:-4])
        method, data = data[-TRAILER], data[:-TRAILER]
        if method == PLAIN:
            return data
        if method != SNAPPY:
            raise Malformed(f"a block is compressed by method {method}, known are 0 (none) and 1 (Snappy)")
        size, _ = varint(data, 0)
        if size > EXPANSION * len(data):
            raise Malformed(f"{len(data)} bytes cannot unpack to {size}")
        try:
            return bytes(cramjam.snappy.decompress_raw(data))
        except cramjam.DecompressionError as error:
            raise Malformed(f"a block does not unpack ({error})") from None

    def _read(self, offset: int, size: int) -> bytes:
        with reading(self.file):
            self._opened.seek(offset)
            data = self._opened.read(size)
        if len(data) < size:
            raise NktcError(f"{self.file} is cut off: {len(data)} of {size} bytes are left at byte {offset}")
        return data

    def _handle(self, data: bytes, at: int) -> tuple[tuple[int, int], int]:
        """Place and bytes of a block from a place on, and the place after."""
        offset, at = varint(data, at)
        size, at = varint(data, at)
        if offset + size + TRAILER > self._end:
            raise Malformed(f"a block ends at byte {offset + size + TRAILER}, the last one at byte {self._end}")
        return (offset, size), at


def pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key tells of how much it shares with the one before."""
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if end < 0:
        raise Malformed(f"the places of its keys need {len(block) - end} bytes, the block has {len(block)}")
    at, key = 0, b""
    while at < end:
        shared, fresh, length = block[at : at + 3]
        if shared | fresh | length < 128:
            at += 3
        else:
            shared, at = varint(block, at)
            fresh, at = varint(block, at)
            length, at = varint(block, at)
        middle = at + fresh
        if shared > len(key) or middle + length > end:
            raise Malformed("a key or value runs over its end")
        key = key[:shared] + block[at:middle]
        at = middle + length
        yield key, block[middle:at]


def entries_of(block: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The entries of a table's block."""
    last, last_order = b"", -1 << 65  # before every entry
    for internal, value in pairs(block):
        key, tag = split_key(internal)
        if tag & 0xFF not in (DELETED, STORED):
            raise Malformed(f"an entry of kind {tag & 0xFF}")
        if key < last or (key == last and ~tag <= last_order):
            raise Malformed("its keys are out of order")
        last, last_order = key, ~tag
        yield key, ~tag, value


def unpacked_head(data: bytes) -> tuple[int, bytes]:
    """How many bytes Snappy packed, and the first of them, from the first of the packed ones."""
    size, at = varint(data, 0)
    head = bytearray()
    while len(head) < HEAD and at < len(data):
        tag = data[at]
        at += 1
        if not tag & 3:  # what follows, as it is
            count = tag >> 2
            if count >= 60:
                wide = count - 59
                count, at = int.from_bytes(data[at : at + wide], "little"), at + wide
            head += data[at : at + count + 1]
            at += count + 1
            continue
        if tag & 3 == 1:  # a copy from before
            count, back, at = 4 + (tag >> 2 & 7), tag >> 5 << 8 | int.from_bytes(data[at : at + 1], "little"), at + 1
        else:
            wide = 2 if tag & 3 == 2 else 4
            count, back, at = 1 + (tag >> 2), int.from_bytes(data[at : at + wide], "little"), at + wide
        if not 0 < back <= len(head) or at > len(data):
            break
        for _ in range(count):
            head.append(head[-back])
    return size, bytes(head)
