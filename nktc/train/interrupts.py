"""Ctrl-C and other signals, while a solver runs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from nktc.train.solver import Solver


@contextlib.contextmanager
def interrupts(solver: Solver) -> Iterator[None]:
    """Ctrl-C and SIGTERM: finish the iteration, snapshot, stop; again: stop at once. SIGHUP: snapshot and go on."""

    def stop(number: int, _: object) -> None:
        if solver.stopping:
            signal.default_int_handler(number, None)
        solver.stopping = True

    def snapshot(*_: object) -> None:
        solver.snapshot_asked = True

    handlers: dict[int, Callable[..., None]] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = snapshot
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
