"""What an engine is, and where engines come from.

Engines register under the entry-point group `nktc.engines`, ours and a stranger's through the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import numpy as np

from nktc.errors import NktcError, near
from nktc.ir import Graph


@dataclass(frozen=True)
class Options:
    """How an engine is to run: `device` is auto, cpu, cuda or cuda:N; `threads` 0 leaves the choice to the engine."""

    device: str = "auto"
    threads: int = 0


class Session(Protocol):
    """A graph ready to run. `device` says in words what it runs on."""

    device: str

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs by name, f32, any batch in axis 0 -> the graph's outputs by name. The arrays are the caller's."""


class Engine(Protocol):
    """Turns a graph into something that runs."""

    def missing(self) -> str:
        """Why it cannot run here, as advice: "pip install nktc[openvino]". Empty when it can."""

    def build(self, graph: Graph, options: Options) -> Session:
        """Raises NktcError where the graph or the device is beyond it."""


def names() -> list[str]:
    """The engines that are registered, by name."""
    return sorted(_registered())


def engine(name: str) -> Engine:
    """The engine of that name, ready to build. Raises NktcError where it is unknown or cannot run here."""
    registered = _registered()
    if name not in registered:
        help = near(name, registered) or f"the backends are {', '.join(sorted(registered))}"
        raise NktcError(f'unknown backend "{name}"', help=help)
    found: Engine = registered[name].load()()
    if problem := found.missing():
        raise NktcError(f"the backend {name} cannot run here", help=problem)
    return found


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="nktc.engines")}
