"""How often a blob's values have which size, gathered batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BINS = 2048  # as many as GIE's calibrator took


class Histogram:
    """Counts of |x| in `BINS` equal bins from 0 to `width`, which doubles when a larger value comes; `low` and `high`
    are the least and the largest of x and 0."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.width = 0.0
        self.low = self.high = 0.0
        self.finite = True

    def add(self, x: Tensor) -> None:
        """Take in the values of x[..]; what is not finite is only noted."""
        if not x.numel():
            return
        low, high = (float(one) for one in torch.aminmax(x.detach().float()))
        if not np.isfinite(low) or not np.isfinite(high):
            self.finite = False
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        if not largest:
            self.counts[0] += x.numel()
            return
        self.width = self.width or largest
        while self.width < largest:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)])
            self.width *= 2
        # torch counts in the type of x: f64 is exact, and holds twice the largest f32.
        for part in x.detach().flatten().split(1 << 22):
            self.counts += torch.histc(part.double().abs(), BINS, 0, self.width).numpy().astype(np.int64)

    @property
    def edges(self) -> np.ndarray:
        """The upper edge of each bin."""
        return (np.arange(BINS) + 1) * (self.width / BINS)
