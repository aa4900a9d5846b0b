"""What all loggers log: the numbers of a run by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from torch import Tensor

from nktc.errors import NktcError
from nktc.train.events import Event, Hook, Started, Stepped, Tested, Testing
from nktc.train.loggers.logger import About
from nktc.train.settings import Settings

MOST = 100  # numbers of one output: a thousand curves serve nobody, and stall a service


def scalars(about: About, write: Callable[[Mapping[str, float], int], None]) -> Hook:
    """Calls `write` with numbers by name and their iteration.

    train/loss, train/lr and train/images_per_second come where they are due, test/loss, the objective, and test/OUTPUT
    at each test; a second test net's are test1/…, and an output of several numbers is OUTPUT/0, OUTPUT/1, … Images per
    second are those since the last time, testing left out.
    """
    steps, since, paused = 0, None, 0.0

    def hear(event: Event) -> None:
        nonlocal steps, since, paused
        match event:
            case Started():
                steps, since = 0, None
            case Testing():
                paused = time.perf_counter()
            case Tested(iteration, net, scores, loss):
                if since is not None:
                    since += time.perf_counter() - paused
                place = f"test{net or ''}"
                found = {
                    f"{place}/{name}": value for name, score in scores.items() for name, value in _each(name, score)
                }
                write(found | {f"{place}/loss": loss.item()}, iteration)
            case Stepped(iteration, loss, _, rate):
                steps += 1
                if not about.due(iteration):
                    return
                found = {"train/loss": loss.item(), "train/lr": rate}
                now = time.perf_counter()
                # The first time has no lapse, and its step what is done but once.
                if since is not None:
                    found["train/images_per_second"] = steps * about.batch / max(now - since, 1e-9)
                steps, since = 0, now
                write(found, iteration)

    return hear


def fields(settings: Settings) -> dict[str, Any]:
    """The solver's fields that were given, by name; its nets left out."""
    found = MessageToDict(settings.message, preserving_proto_field_name=True)
    return {name: value for name, value in found.items() if not name.endswith("net_param")}


def only(logger: str, options: Sequence[str], what: str) -> str | None:
    """The one option of a logger that has but one, None where it is not given. Raises NktcError for more."""
    if len(options) > 1:
        raise NktcError(f"{logger} is given {len(options)} options", help=f"write {logger}={what}")
    return options[0] if options else None


def _each(name: str, score: Tensor) -> Sequence[tuple[str, float]]:
    if score.numel() == 1:
        return [(name, score.item())]
    return [(f"{name}/{k}", value) for k, value in enumerate(score.reshape(-1)[:MOST].tolist())]
