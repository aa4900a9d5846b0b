"""Ctrl-C and other signals, while a solver runs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nktc.train.solver import Solver

EFFECTS = ("stop", "snapshot", "none")
"""What a signal does, as Caffe names it."""


@dataclass(frozen=True)
class Effects:
    """What Ctrl-C and SIGHUP do: stop finishes the iteration, saves and stops; snapshot saves and goes on."""

    sigint: str = "stop"
    sighup: str = "snapshot"


@contextlib.contextmanager
def interrupts(solver: Solver, effects: Effects) -> Iterator[None]:
    """Signals have their effects. SIGTERM stops; a second Ctrl-C, or SIGTERM, that stops does so at once, unless
    several ranks train: whoever started those sends each of them more than one."""

    def stop(number: int, _: object) -> None:
        if solver.stop_asked and solver.ranks.size == 1:
            signal.default_int_handler(number, None)
        solver.stop_asked = True

    def snapshot(*_: object) -> None:
        solver.snapshot_asked = True

    meaning: dict[str, Callable[..., None] | signal.Handlers] = {
        "stop": stop,
        "snapshot": snapshot,
        "none": signal.SIG_IGN,
    }
    handlers = {signal.SIGINT: meaning[effects.sigint], signal.SIGTERM: stop}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = meaning[effects.sighup]
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
