"""A writer of small LevelDBs, so that tests choose what lies in which file, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from struct import pack

import cramjam
import google_crc32c

PAGE = 32 << 10
MAGIC = 0xDB4775248B80FB57
ORDER = b"leveldb.BytewiseComparator"

Change = tuple[int, bytes, bytes | None]
"""Sequence, key, value; None deletes."""

Harm = Callable[[bytes], bytes]
"""What happens to bytes before their checksum is made."""


def unharmed(data: bytes) -> bytes:
    return data


def checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(number: int) -> bytes:
    done = bytearray()
    while number > 127:
        done.append(number & 127 | 128)
        number >>= 7
    return bytes([*done, number])


def counted(data: bytes) -> bytes:
    return varint(len(data)) + data


def internal(change: Change) -> bytes:
    sequence, key, value = change
    return key + pack("<Q", sequence << 8 | (value is not None))


def log(records: Iterable[bytes], harm: Harm = unharmed) -> bytes:
    done = bytearray()
    for record in map(harm, records):
        left, first = record, True
        while True:
            room = PAGE - len(done) % PAGE
            if room < 7:
                done += bytes(room)
                continue
            part, left = left[: room - 7], left[room - 7 :]
            kind = (1 if first else 4) if not left else (2 if first else 3)
            done += checksum(bytes([kind]) + part) + pack("<HB", len(part), kind) + part
            first = False
            if not left:
                break
    return bytes(done)


def batch(changes: Sequence[Change]) -> bytes:
    """Changes with sequences one after the other."""
    done = pack("<QI", changes[0][0], len(changes))
    for _, key, value in changes:
        done += b"\0" + counted(key) if value is None else b"\1" + counted(key) + counted(value)
    return done


def block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    done, restarts, last = bytearray(), [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % 16 == 0:
            restarts.append(len(done))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        done += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(done) + pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(changes: Iterable[Change], packed: bool, size: int = 4096, harm: Harm = unharmed) -> bytes:
    """Blocks of about `size` bytes, with Snappy if `packed`."""
    file = bytearray()

    def handle(data: bytes) -> bytes:
        data = harm(data)
        data = bytes(cramjam.snappy.compress_raw(data)) + b"\1" if packed else data + b"\0"
        place = varint(len(file)) + varint(len(data) - 1)
        file.extend(data + checksum(data))
        return place

    index: list[tuple[bytes, bytes]] = []
    waiting: list[tuple[bytes, bytes]] = []
    for change in in_order(changes):
        waiting.append((internal(change), change[2] or b""))
        if sum(len(key) + len(value) for key, value in waiting) >= size:
            index.append((waiting[-1][0], handle(block(waiting))))
            waiting = []
    if waiting:
        index.append((waiting[-1][0], handle(block(waiting))))
    handles = handle(block([])) + handle(block(index))
    return bytes(file) + handles.ljust(40, b"\0") + pack("<Q", MAGIC)


def in_order(changes: Iterable[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: (change[1], -change[0]))


def write(
    folder: Path,
    tables: Sequence[tuple[int, Sequence[Change]]] = (),
    logs: Sequence[Sequence[Sequence[Change]]] = (),
    *,
    packed: bool = False,
    size: int = 4096,
    suffix: str = ".ldb",
    order: bytes = ORDER,
    harm: Harm = unharmed,
) -> Path:
    """A database of tables, each with its level, and of logs, each of batches. Numbers are 11, 12, ... for
    tables, 51, 52, ... for logs; a table and a log that have gone lie there too."""
    folder.mkdir(parents=True)
    edit = b"\1" + counted(order) + b"\2\3\x09\0\3\x64\4\xe8\7"
    gone = [(1, b"gone", b"gone")]
    edits = [edit, added(1, 10, 999, gone), b"\5\1" + counted(internal(gone[0])) + b"\6\1\x0a"]
    (folder / f"000010{suffix}").write_bytes(table(gone, packed))
    (folder / "000003.log").write_bytes(log([batch(gone)]))
    for number, (level, changes) in enumerate(tables, 11):
        data = table(changes, packed, size, harm)
        (folder / f"{number:06d}{suffix}").write_bytes(data)
        edits.append(added(level, number, len(data), changes))
    for number, batches in enumerate(logs, 51):
        (folder / f"{number:06d}.log").write_bytes(log(map(batch, batches), harm))
    edits.append(b"\2\x33\x09\0")
    (folder / "MANIFEST-000002").write_bytes(log(edits, harm))
    (folder / "CURRENT").write_text("MANIFEST-000002\n")
    (folder / "LOCK").touch()
    return folder


def added(level: int, number: int, size: int, changes: Sequence[Change]) -> bytes:
    """A change of the manifest."""
    keys = [internal(change) for change in in_order(changes)]
    return b"\7" + varint(level) + varint(number) + varint(size) + counted(keys[0]) + counted(keys[-1])


def write_records(folder: Path, records: Iterable[tuple[bytes, bytes]]) -> Path:
    """A database of one table, as Caffe would have it."""
    return write(folder, [(0, [(i, key, value) for i, (key, value) in enumerate(records, 1)])], packed=True, size=65536)
