"""How long forwards take: of several things side by side, in turns, so that a machine that slows down slows all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

BLOCK = 0.02  # seconds that one takes at least before the next has its turn
REST = 0.004  # seconds between turns, in which threads that wait for more work stop turning


@dataclass(frozen=True)
class Times:
    """The seconds of single forwards of `batch` records, of which `streams` ran at a time."""

    batch: int
    seconds: tuple[float, ...]
    streams: int = 1

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def throughput(self) -> float:
        """Records a second."""
        return self.batch * len(self.seconds) * self.streams / sum(self.seconds)

    def percentile(self, share: float) -> float:
        """The seconds that `share` per cent of the forwards do not exceed."""
        return float(np.percentile(self.seconds, share))

    def plain(self) -> dict[str, float]:
        """Throughput in records a second, latency in milliseconds, as trtexec tells them."""
        latency = {
            "min": min(self.seconds),
            "max": max(self.seconds),
            "mean": float(np.mean(self.seconds)),
            "median": self.median,
            "p90": self.percentile(90),
            "p95": self.percentile(95),
            "p99": self.percentile(99),
        }
        found = {name: round(1000 * value, 4) for name, value in latency.items()}
        return {"batch": self.batch, "forwards": len(self.seconds), "throughput": round(self.throughput, 2)} | found


Run = Callable[[], object]


def race(runs: Mapping[str, Run], batches: Mapping[str, int], seconds: float) -> dict[str, Times]:
    """The times of each run, taken in turns for about so many seconds in all, three turns at least.

    The order of each turn is drawn anew, or one would always find the caches and threads as the same other left them.
    """
    for run in runs.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    turns, order, chance = 0, list(runs), random.Random(0)
    while turns < 3 or time.perf_counter() < end:
        chance.shuffle(order)
        for name in order:
            taken[name] += block(runs[name])
            time.sleep(REST)
        turns += 1
    return {name: Times(batches[name], tuple(found)) for name, found in taken.items()}


def block(run: Run) -> list[float]:
    """The seconds of each forward of one turn; the first, which finds another's data in the cache, does not count."""
    run()
    found: list[float] = []
    begin = time.perf_counter()
    while not found or time.perf_counter() - begin < BLOCK:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found
