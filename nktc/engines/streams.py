"""Several sessions of one model, that share the machine's cores, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from nktc.engines.engine import Session


class Streams:
    """A session that deals the rows of a batch out to others of the same model, which run side by side. Each has to
    take any batch, and to give a row for a row."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.sessions = tuple(sessions)
        first = self.sessions[0]
        self.device, self.facts = first.device, first.facts
        self.inputs, self.outputs = first.inputs, first.outputs
        self._pool = ThreadPoolExecutor(len(self.sessions), thread_name_prefix="nktc stream")

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(feeds.values())))
        count = min(len(self.sessions), rows)
        if count < 2:
            return self.sessions[0].run(feeds)
        cuts = np.linspace(0, rows, count + 1).astype(int)
        parts = [{n: x[a:b] for n, x in feeds.items()} for a, b in pairwise(cuts)]
        found = list(self._pool.map(lambda session, part: session.run(part), self.sessions[:count], parts))
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}
