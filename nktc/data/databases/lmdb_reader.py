"""Reading an LMDB: its pages are looked at here, every offset checked, so that a damaged file is an error with a place.

LMDB's own library follows what a damaged page says and takes the process down, and has no way to the record at a
position, which mixing and parts need. This reads what Caffe writes: one tree of plain keys and values, LMDB's format 1
of 64-bit machines. It writes nothing, needs no lock file, and may be used by several threads.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nktc.errors import NktcError

DATA_FILE = "data.mdb"
MAGIC, FORMAT = 0xBEEFC0DE, 1
HEADER, NODE = 16, 8  # bytes at the head of a page, of an entry
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8  # kinds of pages
ELSEWHERE, KINDS = 1, 7  # an entry whose value lies in pages of its own; all that an entry can be
NOWHERE = 2**64 - 1
DEEPEST = 64  # levels of a tree
REMEMBERED = 1 << 30  # bytes that are read before pages are given back to the system

HOW_TO_MAKE_ONE = "nktc data convert TREE OUT.lmdb makes one from folders of images, one folder a class"


class Damaged(ValueError):
    """What is wrong with a page."""


@dataclass(frozen=True)
class Meta:
    """The tree of records as a transaction left it."""

    page_size: int
    flags: int
    records: int
    root: int
    last_page: int
    transaction: int


class Database:
    """The records of an LMDB in the order of their keys."""

    def __init__(self, path: Path) -> None:
        """`path` is the folder that holds data.mdb, or that file. Raises NktcError."""
        self.path = path
        self._file = path / DATA_FILE if path.is_dir() else path
        if not self._file.is_file():
            what = f"{path} holds no {DATA_FILE}" if path.is_dir() else f"there is no LMDB at {path}"
            raise NktcError(what, help=HOW_TO_MAKE_ONE)
        try:
            with self._file.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: it is empty
            reason = error.strerror if isinstance(error, OSError) else "it is empty"
            raise NktcError(f"{self._file} cannot be opened as an LMDB ({reason})", help=HOW_TO_MAKE_ONE) from None
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._words = self._bytes[: len(self._bytes) & ~1].view("<u2")
        self._view = memoryview(self._map)
        self._read = 0
        try:
            self._meta = self._newest_meta()
            self._leaves, self._starts = self._find_leaves()
        except Damaged as error:
            raise NktcError(f"{self._file} cannot be opened as an LMDB ({error})") from None
        self.records = self._meta.records

    def read(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """Key and value of `count` records from position `first` on, around at the end. Raises NktcError."""
        if not self.records:
            raise NktcError(f"{self.path} holds no records", help=HOW_TO_MAKE_ONE)
        return [(key, bytes(value)) for key, value in self.read_at((first + np.arange(count)) % self.records)]

    def read_at(self, places: np.ndarray) -> list[tuple[bytes, memoryview]]:
        """Key and value of the records at i64[n] places; a value is a view of the file. Raises NktcError."""
        view, spans = self._view, self._spans(places)
        self.give_back(int(spans[3].sum()))
        return [
            (bytes(view[key : key + keys]), view[value : value + size]) for key, keys, value, size in spans.T.tolist()
        ]

    @property
    def file(self) -> np.ndarray:
        """The bytes of the file, u8[..]."""
        return self._bytes

    def values(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in the file the values of records at i64[n] places begin and how long they are, i64[n]. Raises
        NktcError."""
        spans = self._spans(places)
        return spans[2], spans[3]

    def _spans(self, places: np.ndarray) -> np.ndarray:
        """i64[4 n]: beginning and length of the keys and the values at places."""
        if not self.records:
            raise NktcError(f"{self.path} holds no records", help=HOW_TO_MAKE_ONE)
        try:
            return self._entries(places)
        except Damaged as error:
            raise NktcError(f"{self.path} is damaged at {self._damaged(places)} ({error})") from None

    def _damaged(self, places: np.ndarray) -> str:
        """The first of the records that cannot be had."""
        for place in places.tolist():
            try:
                self._entries(np.array([place]))
            except Damaged:
                return f"record {place}"
        return f"records beside {places[0]}"

    def give_back(self, count: int) -> None:
        """Told how many bytes were read. After much has been, tell the system that this process needs no page now, so
        that a large file does not count as its memory; pages come again, from the system's cache, when they are asked
        for."""
        self._read += count
        if self._read > REMEMBERED and hasattr(mmap, "MADV_DONTNEED"):
            self._read = 0
            self._map.madvise(mmap.MADV_DONTNEED)

    def _newest_meta(self) -> Meta:
        """Of the two metas, that of the later transaction that is whole."""
        first = self._meta_at(0)
        sizes = [first.page_size] if first else [4096, 8192, 16384, 65536, 2048, 1024, 512]
        second = next((meta for size in sizes if (meta := self._meta_at(size)) and meta.page_size == size), None)
        metas = [meta for meta in (first, second) if meta]
        if not metas:
            raise Damaged("it is no LMDB")
        meta = max(metas, key=lambda meta: meta.transaction)
        if meta.flags:
            raise Damaged("it is not a plain one: its keys have several values, or are numbers")
        pages = meta.last_page + 1
        if len(self._bytes) < pages * meta.page_size:
            told = f"it has {len(self._bytes)} bytes, its own index tells of {pages * meta.page_size}"
            raise NktcError(f"{self._file} is cut off: {told}")
        return meta

    def _meta_at(self, start: int) -> Meta | None:
        if start + 152 > len(self._bytes):
            return None
        (kind,) = struct.unpack_from("<H", self._map, start + 10)
        magic, version = struct.unpack_from("<II", self._map, start + 16)
        if not kind & META or (magic, version) != (MAGIC, FORMAT):
            return None
        (page_size,) = struct.unpack_from("<I", self._map, start + 40)
        flags, _, _, _, _, records, root = struct.unpack_from("<HHQQQQQ", self._map, start + 92)
        last, transaction = struct.unpack_from("<QQ", self._map, start + 136)
        if not 512 <= page_size <= 65536 or page_size & (page_size - 1):
            return None
        return Meta(page_size, flags, records, root, last, transaction)

    def _find_leaves(self) -> tuple[np.ndarray, np.ndarray]:
        """The pages of the leaves in the order of their keys, and the position of the first record of each; one more
        for the end."""
        meta = self._meta
        level = np.array([], np.int64)
        if meta.root != NOWHERE:
            level = self._checked(np.array([meta.root], np.uint64))
        pages = 0
        for _ in range(DEEPEST):
            kinds = self._u16(level * meta.page_size + 10)
            if (kinds & LEAF == LEAF).all():
                break
            if not (kinds & BRANCH == BRANCH).all():
                raise Damaged(f"page {int(level[kinds & BRANCH == 0][0])} is no part of a tree")
            pages += len(level)
            if pages > meta.last_page + 1:
                raise Damaged("its tree runs in a circle")
            level = np.concatenate([self._children(page) for page in level.tolist()])
        else:
            raise Damaged("its tree has no leaves")
        if len(np.unique(level)) < len(level):
            raise Damaged("two branches of its tree have a leaf in common")
        starts = np.concatenate([[0], np.cumsum(self._counts(level))])
        if starts[-1] != meta.records:
            raise Damaged(f"its index tells of {meta.records} records, its pages hold {starts[-1]}")
        return level, starts

    def _counts(self, pages: np.ndarray) -> np.ndarray:
        """The entries of each page."""
        starts = pages * self._meta.page_size
        lower, upper = self._u16(starts + 12), self._u16(starts + 14)
        bad = (lower < HEADER) | (lower > upper) | (upper > self._meta.page_size)
        if bad.any():
            raise Damaged(f"the entries of page {int(pages[bad][0])} overlap")
        return (lower - HEADER) >> 1

    def _children(self, page: int) -> np.ndarray:
        """The pages that a branch leads to."""
        count = int(self._counts(np.array([page]))[0])
        nodes = self._nodes(np.full(count, page), np.arange(count))
        low, high, top = (self._u16(nodes + i).astype(np.uint64) for i in (0, 2, 4))
        return self._checked(low | high << np.uint64(16) | top << np.uint64(32))

    def _nodes(self, pages: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Where in the file entries begin."""
        within = self._u16(pages * self._meta.page_size + HEADER + 2 * indices)
        bad = (within < HEADER) | (within > self._meta.page_size - NODE)
        if bad.any():
            raise Damaged(f"an entry of page {int(pages[bad][0])} lies outside it")
        return pages * self._meta.page_size + within

    def _entries(self, places: np.ndarray) -> np.ndarray:
        """i64[4 n]: where the keys of records begin and how long they are, and the same of their values."""
        leaf = np.searchsorted(self._starts, places, side="right") - 1
        pages, size = self._leaves[leaf], self._meta.page_size
        nodes = self._nodes(pages, places - self._starts[leaf])
        length = self._u16(nodes) | self._u16(nodes + 2) << 16
        kinds, keys = self._u16(nodes + 4), self._u16(nodes + 6)
        far = (kinds & ELSEWHERE).astype(bool)
        inside = nodes + NODE + keys + np.where(far, 8, length)
        bad = (kinds & KINDS & ~ELSEWHERE).astype(bool) | (inside > (pages + 1) * size)
        if bad.any():
            raise Damaged(f"an entry of page {int(pages[bad][0])} is no key and value")
        begin = nodes + NODE + keys
        if far.any():
            at = begin[far]
            number = sum((self._bytes[at + i].astype(np.uint64) << np.uint64(8 * i) for i in range(8)), np.uint64(0))
            first = self._checked(np.asarray(number, np.uint64))
            end = first * size + HEADER + length[far]
            over = self._u16(first * size + 10) & OVERFLOW
            bad = (over == 0) | (end > (self._meta.last_page + 1) * size)
            if bad.any():
                raise Damaged(f"page {int(first[bad][0])} holds no value")
            begin[far] = first * size + HEADER
        return np.stack([nodes + NODE, keys, begin, length])

    def _checked(self, pages: np.ndarray) -> np.ndarray:
        """Page numbers u64 as i64, all of them inside the file."""
        bad = (pages > np.uint64(self._meta.last_page)) | (pages < 2)
        if bad.any():
            raise Damaged(f"it leads to page {int(pages[bad][0])}, its last is {self._meta.last_page}")
        return pages.astype(np.int64)

    def _u16(self, offsets: np.ndarray) -> np.ndarray:
        """i64 of the 16 bits at each offset, which is even: LMDB keeps its entries so."""
        if (offsets & 1).any():
            raise Damaged("an entry begins between two words")
        return self._words[offsets >> 1].astype(np.int64)


def is_lmdb(path: Path) -> bool:
    """Whether it is the folder of an LMDB, or its file."""
    # Unlike Path.is_file these say no, and raise nothing, of what the system does not let us see.
    return os.path.isfile(path / DATA_FILE) or (path.name == DATA_FILE and os.path.isfile(path))


def open_database(path: Path) -> Database:
    """The LMDB at `path`. Raises NktcError."""
    return Database(path)
