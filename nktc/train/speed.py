"""How the step is run fastest: memory layout, compilation, a captured CUDA graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch

LONG = 20.0  # seconds: a run that is shorter gains nothing from a trial
COMPILED = 900.0  # seconds: a run that is shorter may not earn back the time that compiling takes
TRIAL = 1.0  # seconds of steps in one turn of a candidate
LEAST = 5  # steps in one turn


@dataclass(frozen=True)
class Speed:
    """What is done to the step; nothing of it changes what is computed, but for rounding."""

    channels_last: bool = False
    compile: bool = False
    cuda_graph: bool = False

    def __str__(self) -> str:
        return ",".join(f.name for f in fields(self) if getattr(self, f.name)) or "exact"


def parse(text: str) -> Speed:
    """The speed that a list names ("channels_last,compile"); exact is none of them."""
    return Speed(**{name: True for name in text.split(",") if name != "exact"})


def candidates(seconds: float, pictures: bool, captures: bool) -> list[Speed]:
    """What is tried, the plain step first. `seconds` is what the run will take, `pictures`, whether there is a layout
    to choose, `captures`, whether the step can be a CUDA graph."""
    layouts = [False, True] if pictures else [False]
    found = [Speed(last) for last in layouts] + [Speed(last, cuda_graph=True) for last in layouts if captures]
    return found + ([Speed(pictures, compile=True, cuda_graph=captures)] if seconds > COMPILED else [])


@dataclass(frozen=True)
class Trial:
    """What was tried, and the seconds that its fastest step took."""

    speed: Speed
    seconds: float


def pick(
    prepare: Callable[[Speed], Callable[[], object]],
    device: torch.device,
    iterations: int,
    pictures: bool,
    captures: bool,
) -> list[Trial]:
    """Trials of what may be fastest, the fastest first; of the plain step alone where the run is too short to gain.

    `prepare` makes a step that is free of consequences; the one before it is done with, so that no two need memory at a
    time. What is cheap to prepare gets a second turn, and the fastest step of each counts, so that what else the
    machine does weighs on none. A candidate that fails is left out.
    """
    once = _fastest(prepare(Speed()), device, 0.0)
    if iterations * once < LONG:
        return [Trial(Speed(), once)]
    tried = candidates(iterations * once, pictures, captures)
    best: dict[Speed, float] = {}
    for speed in [*tried, *(speed for speed in tried if not (speed.compile or speed.cuda_graph))]:
        try:
            seconds = _fastest(prepare(speed), device, TRIAL)
            best[speed] = min(seconds, best.get(speed, seconds))
        except (RuntimeError, NotImplementedError):
            best.pop(speed, None)
    found = [Trial(speed, seconds) for speed, seconds in best.items()] or [Trial(Speed(), once)]
    return sorted(found, key=lambda trial: trial.seconds)


def _fastest(step: Callable[[], object], device: torch.device, least: float) -> float:
    """Seconds of the fastest of some steps, of as many as `least` seconds take."""
    _timed(step, device)
    found = [_timed(step, device) for _ in range(LEAST)]
    while sum(found) < least:
        found.append(_timed(step, device))
    return min(found)


def _timed(step: Callable[[], object], device: torch.device) -> float:
    """Seconds that a step takes."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
