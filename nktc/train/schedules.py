"""The learning rate of an iteration: Caffe's lr policies, and cosine, onecycle and plateau; a warm-up before any."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nktc.train.settings import Settings


@dataclass
class Plateau:
    """How often SSD's plateau has lowered the rate, `drops`: each time when the smoothed loss has had no new `lowest`
    for as many iterations as plateau_winsize says of that drop. `since` is the iteration of the last lowest or drop."""

    lowest: float = math.inf
    since: int = 0
    drops: int = 0

    def take(self, windows: Sequence[int], iteration: int, smoothed: float) -> None:
        """Take in the smoothed loss that an iteration has before its update."""
        if smoothed < self.lowest:
            self.lowest, self.since = smoothed, iteration
        if self.drops < len(windows) and iteration >= self.since + windows[self.drops]:
            self.drops, self.since = self.drops + 1, iteration

    def facts(self) -> dict[str, Any]:
        """What a snapshot keeps of it, for JSON."""
        return asdict(self) | {"lowest": self.lowest if math.isfinite(self.lowest) else None}

    def resume(self, facts: Mapping[str, Any]) -> None:
        """Take up what a snapshot kept."""
        self.lowest = math.inf if facts["lowest"] is None else facts["lowest"]
        self.since, self.drops = facts["since"], facts["drops"]


def rate(settings: Settings, iteration: int, drops: int = 0) -> float:
    """The rate of iteration `iteration`, counted from 0. `drops` is how often plateau has lowered it.

    Over the first warmup_iter iterations it goes in a straight line from warmup_lr to what the policy says; over the
    first rampup_interval ones with the square of the iteration from rampup_lr to base_lr.
    """
    s = settings.message
    if iteration < s.rampup_interval:
        return s.rampup_lr + (s.base_lr - s.rampup_lr) * (iteration / s.rampup_interval) ** 2
    found = policy(settings, iteration, drops)
    if iteration < s.warmup_iter:
        return s.warmup_lr + (found - s.warmup_lr) * iteration / s.warmup_iter
    return found


def policy(settings: Settings, iteration: int, drops: int = 0) -> float:
    """base_lr as changed by lr_policy after `iteration` iterations.

    sigmoid is base_lr / (1 + exp(-gamma (iteration - stepsize))), so with Caffe's gamma >= 0 it rises. cosine falls
    from base_lr to min_lr along half a cosine, from the end of the warm-up on (Loshchilov and Hutter 2017). onecycle
    rises from base_lr / 25 to base_lr at iteration rise max_iter and falls to min_lr at max_iter, both along half a
    cosine (Smith and Topin 2018; torch's OneCycleLR is at each an iteration earlier). plateau is base_lr gamma^drops,
    min_lr at least.
    """
    s = settings.message
    match s.lr_policy:
        case "step":
            return s.base_lr * _power(s.gamma, iteration // s.stepsize)
        case "exp":
            return s.base_lr * _power(s.gamma, iteration)
        case "inv":
            return s.base_lr * _power(1 + s.gamma * iteration, -s.power)
        case "multistep":
            return s.base_lr * _power(s.gamma, current_step(settings, iteration))
        case "poly":
            return s.base_lr * _power(1 - iteration / s.max_iter, s.power)
        case "sigmoid":
            # Beyond exp(700) the rate is 0 in 32 bits, and Python refuses.
            return s.base_lr / (1 + math.exp(min(700.0, -s.gamma * (iteration - s.stepsize))))
        case "cosine":
            return _cosine(s.base_lr, s.min_lr, (iteration - s.warmup_iter) / max(1, s.max_iter - s.warmup_iter))
        case "onecycle":
            top = s.rise * s.max_iter
            if iteration < top:
                return _cosine(s.base_lr / 25, s.base_lr, iteration / top)
            return _cosine(s.base_lr, s.min_lr, (iteration - top) / max(1.0, s.max_iter - top))
        case "plateau":
            return max(s.min_lr, s.base_lr * _power(s.gamma, drops))
    return s.base_lr


def current_step(settings: Settings, iteration: int, drops: int = 0) -> int:
    """How many steps down the rate has taken, as a .solverstate records it."""
    s = settings.message
    if s.lr_policy == "step":
        return iteration // s.stepsize
    if s.lr_policy == "plateau":
        return drops
    return sum(iteration >= value for value in s.stepvalue)


def _power(base: float, exponent: float) -> float:
    """As in C, infinite where it is too large for a float."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf


def _cosine(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, max(0.0, share)))) / 2
