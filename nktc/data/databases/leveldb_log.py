"""A log of a LevelDB, as its doc/log_format.md has it: what was written last, in the order of writing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from nktc.data.databases.leveldb_bytes import (
    DELETED,
    STORED,
    Malformed,
    compare_checksums,
    counted_bytes,
    damaged,
    reading,
)
from nktc.errors import NktcError

PAGE = 32 << 10  # bytes; no fragment of a record crosses its border
FRAGMENT = Struct("<IHB")  # checksum, bytes, kind
ZEROS, FULL, FIRST, MIDDLE, LAST = range(5)
BATCH = Struct("<QI")  # sequence of the first entry, entries


def log_records(file: Path, *, may_be_cut: bool) -> Iterator[tuple[int, bytes]]:
    """The records of a log, and where each starts. A last one that is not all there was being written when
    its writer died: with `may_be_cut` it never was."""
    parts: list[bytes] = []  # the fragments of a record so far
    start = page_start = 0
    left = b""  # of the last page, no whole fragment
    with reading(file), file.open("rb") as opened:
        while page := opened.read(PAGE):
            at = 0
            while len(page) - at >= FRAGMENT.size:
                stored, length, kind = FRAGMENT.unpack_from(page, at)
                offset, end = page_start + at, at + FRAGMENT.size + length
                if end > len(page) and len(page) < PAGE:
                    break
                if kind == ZEROS and not length:
                    # An old LevelDB reserves space that it may never fill.
                    if any(parts) and (page[at:].strip(b"\0") or opened.read().strip(b"\0")):
                        raise damaged(file, start, "the record has no end")
                    break
                try:
                    if end > len(page):
                        raise Malformed(f"{length} bytes are told of, {PAGE - at - FRAGMENT.size} are left in the page")
                    compare_checksums(stored, page[at + 6 : end])
                    # An old LevelDB leaves an empty FIRST at the end of a page, and starts again.
                    if kind in (FULL, FIRST) and any(parts):
                        raise Malformed(f"the record at byte {start} has no end")
                    if kind in (MIDDLE, LAST) and not parts:
                        raise Malformed("the record has no start")
                    if kind not in (FULL, FIRST, MIDDLE, LAST):
                        raise Malformed(f"a fragment of kind {kind}")
                except Malformed as error:
                    raise damaged(file, offset, error) from None
                if kind in (FULL, FIRST):
                    start, parts = offset, []
                parts.append(page[at + FRAGMENT.size : end])
                if kind in (FULL, LAST):
                    yield start, b"".join(parts)
                    parts = []
                at = end
            left = page[at:] if len(page) < PAGE else b""
            page_start += len(page)
    if not may_be_cut and (any(parts) or left.strip(b"\0")):
        raise NktcError(f"{file} is cut off: it ends inside a record")


def batch_entries(batch: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The entries that were written together in a log's record."""
    if len(batch) < BATCH.size:
        raise Malformed(f"a batch of {len(batch)} bytes, its head alone has {BATCH.size}")
    sequence, count = BATCH.unpack_from(batch)
    at, entries = BATCH.size, 0
    while at < len(batch):
        kind = batch[at]
        if kind not in (DELETED, STORED):
            raise Malformed(f"an entry of kind {kind}")
        key, at = counted_bytes(batch, at + 1)
        value = b""
        if kind == STORED:
            value, at = counted_bytes(batch, at)
        yield key, ~((sequence + entries) << 8 | kind), value
        entries += 1
    if entries != count:
        raise Malformed(f"a batch of {entries} entries, its head tells of {count}")
