"""The learning rate of an iteration: Caffe's lr policies."""

from __future__ import annotations

import math

from nktc.train.settings import Settings


def rate(settings: Settings, iteration: int) -> float:
    """base_lr as changed by lr_policy after `iteration` iterations.

    sigmoid is base_lr / (1 + exp(-gamma (iteration - stepsize))), so with Caffe's gamma >= 0 it rises.
    """
    s = settings
    match s.lr_policy:
        case "step":
            return s.base_lr * math.pow(s.gamma, iteration // s.stepsize)
        case "exp":
            return s.base_lr * math.pow(s.gamma, iteration)
        case "inv":
            return s.base_lr * math.pow(1 + s.gamma * iteration, -s.power)
        case "multistep":
            return s.base_lr * math.pow(s.gamma, current_step(s, iteration))
        case "poly":
            return s.base_lr * math.pow(1 - iteration / s.max_iter, s.power)
        case "sigmoid":
            return s.base_lr / (1 + math.exp(-s.gamma * (iteration - s.stepsize)))
    return s.base_lr


def current_step(settings: Settings, iteration: int) -> int:
    """How many steps down the rate has taken, as a .solverstate records it."""
    if settings.lr_policy == "step":
        return iteration // settings.stepsize
    return sum(iteration >= value for value in settings.stepvalue)
