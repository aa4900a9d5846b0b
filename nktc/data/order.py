"""Which record comes when: a function of seed and position, so that a stream needs no state to go on
exactly."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


def draw(seed: int, purpose: str, position: int, count: int) -> np.ndarray:
    """Random u64[count] for `count` positions of a stream from `position` on, each of seed, purpose and its
    position alone."""
    return draw_at(seed, purpose, np.arange(position, position + count, dtype=np.uint64))


def draw_at(seed: int, purpose: str, counters: np.ndarray) -> np.ndarray:
    """Random u64[n] for u64[n] or i64[n] `counters`, each of seed, purpose and its counter alone (splitmix64's mixing
    of a counter)."""
    key = _mix(np.array([seed & (2**64 - 1)], np.uint64) + np.uint64(zlib.crc32(purpose.encode())))
    return _mix(key + (counters.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


@dataclass(frozen=True)
class Order:
    """The records of a source of `records`, `batch` at a time, around and around; a batch may hold the end of
    one epoch and the start of the next. With `shuffle` each epoch has an order of its own. The first `skipped` records
    are left out at the beginning."""

    records: int
    batch: int
    seed: int = 0
    shuffle: bool = False
    skipped: int = 0

    def batch_records(self, k: int) -> np.ndarray | slice:
        """The indices of the records of batch `k`; a slice where they follow one another."""
        first = self.skipped + k * self.batch
        epoch, start = divmod(first, self.records)
        if start + self.batch <= self.records:
            if not self.shuffle:
                return slice(start, start + self.batch)
            return self.epoch(epoch)[start : start + self.batch]
        positions = np.arange(first, first + self.batch)
        if not self.shuffle:
            return positions % self.records
        epochs = range(epoch, (first + self.batch - 1) // self.records + 1)
        return np.concatenate([self.epoch(e) for e in epochs])[start : start + self.batch]

    def counters(self, k: int) -> np.ndarray:
        """i64[batch]: epoch * records + index of each record of batch `k`, from which its chances follow."""
        positions = np.arange(self.batch) + (self.skipped + k * self.batch)
        if not self.shuffle:
            return positions
        chosen = self.batch_records(k)
        within = np.arange(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen
        return positions // self.records * self.records + within

    def epoch(self, epoch: int) -> np.ndarray:
        """The order of the records in one epoch of a shuffled stream."""
        return _shuffled(self.records, self.seed, epoch)


@lru_cache(4)
def _shuffled(records: int, seed: int, epoch: int) -> np.ndarray:
    # Sorting by drawn numbers needs no generator, whose draws might change between versions of NumPy.
    return np.argsort(draw(seed, f"epoch {epoch}", 0, records), kind="stable")
