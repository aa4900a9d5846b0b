"""A stopwatch that waits for the GPU."""

from __future__ import annotations

import time

import torch

from nktc.pycaffe.mode import STATE


class Timer:
    """Measures from start to stop."""

    def __init__(self) -> None:
        self._from = self._to = 0.0
        self._running = False

    def start(self) -> None:
        """Begin, unless it runs already."""
        if not self._running:
            self._from, self._running = _now(), True

    def stop(self) -> None:
        """End, where it runs."""
        if self._running:
            self._to, self._running = _now(), False

    @property
    def ms(self) -> float:
        """Milliseconds between start and stop; one that runs is stopped, as in Caffe."""
        self.stop()
        return (self._to - self._from) * 1000


def _now() -> float:
    if STATE.device.type == "cuda":
        torch.cuda.synchronize(STATE.device)
    return time.perf_counter()
