"""What a logger is, and where loggers come from.

Loggers register under the entry-point group `nktc.loggers`, ours and a stranger's through the same table; a package is
imported when its logger is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from nktc.errors import NktcError, near
from nktc.ir import Graph
from nktc.module import Net
from nktc.runs import Run
from nktc.train.events import Event, Hook
from nktc.train.settings import Settings


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


@dataclass(frozen=True)
class About:
    """What a logger is told of a run.

    `net` is the training net and `tests` are the graphs of the test nets. What changes with every iteration is logged
    each `display` iterations, all of them when 0; `batch` is the images in one. `warn` takes a line for the user.
    """

    run: Run
    settings: Settings
    net: Net
    tests: Sequence[Graph]
    display: int
    batch: int
    warn: Callable[[str], None] = _to_stderr

    def due(self, iteration: int) -> bool:
        """Whether what changes with every iteration is logged at this one."""
        return iteration % (self.display or 1) == 0


Logger = Callable[[Sequence[str], About], Hook]
"""Opens a log: takes the options that stand behind its name, raises NktcError for those it does not know. With Ended
the hook is done, and all it was told is written."""


def names() -> list[str]:
    """The loggers that are registered, by name."""
    return sorted(_registered())


def find_logger(text: str) -> Callable[[About], Hook]:
    """What opens a log as the user wrote it, NAME or NAME=OPTION,… Raises NktcError where the name is unknown or its
    package is not installed; what it gives, where an option is unknown or the logger does not start."""
    name, _, options = text.partition("=")
    registered = _registered()
    if name not in registered:
        help = near(name, registered) or f"the loggers are {', '.join(names())}"
        raise NktcError(f'unknown logger "{name}"', help=help)
    point = registered[name]
    try:
        logger: Logger = point.load()
    except ImportError as error:
        help = f"pip install 'nktc[{name}]'" if point.value.startswith("nktc.") else ""
        raise NktcError(f"the logger {name} cannot be loaded: {error}", help=help) from None

    def open(about: About) -> Hook:
        try:
            hook = logger([option for option in options.split(",") if option], about)
        except NktcError:
            raise
        except Exception as error:  # whatever a service, its settings or a proxy come up with
            raise NktcError(f"the logger {name} does not start: {_reason(error)}") from error
        return _survived(name, hook, about.warn)

    return open


def _survived(name: str, hook: Hook, warn: Callable[[str], None]) -> Hook:
    """The hook, until it fails: that is told once, and it hears no more. A log is not worth a training."""
    failed = False

    def hear(event: Event) -> None:
        nonlocal failed
        if failed:
            return
        try:
            hook(event)
        except Exception as error:  # whatever a service or a full disk come up with
            failed = True
            warn(f"warning: the logger {name} failed and gets no more: {_reason(error)}")

    return hear


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="nktc.loggers")}
