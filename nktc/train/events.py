"""What the solver reports. Listeners are functions of these; losses stay on the device, and whoever prints pays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on, at `iteration`."""

    iteration: int


@dataclass(frozen=True)
class Testing:
    """Test net `net` is about to be evaluated."""

    iteration: int
    net: int


@dataclass(frozen=True)
class Tested:
    """`scores` are the outputs of test net `net`, averaged over its batches; `loss` its objective."""

    iteration: int
    net: int
    scores: Mapping[str, Tensor]
    loss: Tensor


@dataclass(frozen=True)
class Stepped:
    """Iteration `iteration` was done at `rate`: its loss, and the outputs of its last forward."""

    iteration: int
    loss: Tensor
    outputs: Mapping[str, Tensor]
    rate: float


@dataclass(frozen=True)
class Said:
    """A line about iteration `iteration` for whoever follows the training; `where` is Caffe's source file of it."""

    iteration: int
    line: str
    where: str = "solver.cpp"


@dataclass(frozen=True)
class Saved:
    """A snapshot of the state after `iteration` iterations. `weights` are those to use, averaged ones where an average
    is kept; `best`, it has the best metric so far."""

    iteration: int
    weights: Path
    state: Path
    best: bool = False


@dataclass(frozen=True)
class Ended:
    """Training is over after `iteration` iterations; `stopped` early by the user, or at max_iter."""

    iteration: int
    stopped: bool
    loss: Tensor | None


Event = Started | Testing | Tested | Stepped | Said | Saved | Ended
Hook = Callable[[Event], None]
