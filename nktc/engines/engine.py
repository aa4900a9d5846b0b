"""What an engine is, and where engines come from.

Engines register under the entry-point group `nktc.engines`, ours and a stranger's through the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nktc.errors import NktcError, near
from nktc.ir import Graph, Preprocessing, Value
from nktc.layers import Choice


@dataclass(frozen=True)
class Options:
    """How an engine is to run.

    `device` is auto, cpu, cuda or cuda:N; `threads` 0 leaves the choice to the engine; `batch` 0 takes any batch that
    the graph takes, else the engine is built for that one. `settings` are the engine's own, by name.
    """

    device: str = "auto"
    threads: int = 0
    batch: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What a model says of itself: by input, what a picture goes through to become it; the names of the classes; where
    it came from, and whatever else was written into it, by key; and by NAME what is to be chosen from its outputs
    NAME:boxes and NAME:scores."""

    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)
    detections: Mapping[str, Choice] = field(default_factory=dict)


class Session(Protocol):
    """A model ready to run. `device` says in words what it runs on; in the shapes of `inputs` and `outputs` 0 stands
    for any size."""

    device: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    facts: Facts

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs by name, in the types that `inputs` tells -> the outputs by name, halves as f32. The arrays are the
        caller's. Raises NktcError."""


class Engine(Protocol):
    """Turns a graph, or a file of its own kind, into something that runs.

    `reads` are the suffixes of the files that it opens; `target` is the name of the `export.Target` whose ONNX it is
    given, "" for an engine that needs none.
    """

    reads: tuple[str, ...]
    target: str

    def missing(self) -> str:
        """Why it cannot run here, as advice: "pip install nktc[openvino]". Empty when it can."""

    def version(self) -> str:
        """The version of the runtime; only where nothing is missing."""

    def build(self, graph: Graph, options: Options) -> Session:
        """Raises NktcError where the graph or the device is beyond it."""

    def open(self, path: Path, options: Options, blobs: Sequence[str] = ()) -> Session:
        """A session of a file, with the inner values `blobs` as outputs behind its own. Raises NktcError."""


def names() -> list[str]:
    """The engines that are registered, by name."""
    return sorted(_registered())


def usable() -> list[str]:
    """The engines that can run here."""
    return [name for name in names() if not loaded(name).missing()]


def loaded(name: str) -> Engine:
    """The engine of that name, whether it can run here or not. Raises NktcError where it is unknown."""
    registered = _registered()
    if name not in registered:
        help = near(name, registered) or f"the backends are {', '.join(sorted(registered))}"
        raise NktcError(f'unknown backend "{name}"', help=help)
    found: Engine = registered[name].load()()
    return found


def engine(name: str) -> Engine:
    """The engine of that name, ready to build. Raises NktcError where it is unknown or cannot run here."""
    found = loaded(name)
    if problem := found.missing():
        raise NktcError(f"the backend {name} cannot run here", help=problem)
    return found


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="nktc.engines")}
