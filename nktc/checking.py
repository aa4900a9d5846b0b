"""What is wrong with a file, if anything: nets and solvers parsed, built in both phases, every shape inferred."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nktc import models, reader, text, train
from nktc.errors import Errors, NktcError, raise_all
from nktc.ir import Graph, Phase, size
from nktc.reader import NetFile


@dataclass(frozen=True)
class Report:
    """One file's verdict: `graphs` it builds, or the error found; `exit_code` is 0 well, 1 wrong, 2 not there."""

    file: Path
    graphs: tuple[Graph, ...] = ()
    error: NktcError | None = None
    exit_code: int = 0

    @property
    def well(self) -> bool:
        return self.error is None

    def __str__(self) -> str:
        if self.error:
            return str(self.error)
        built = ", ".join(f"{graph.phase.name} {len(graph)} layers" for graph in self.graphs)
        weights = max((learned(graph) for graph in self.graphs), default=0)
        return f"{self.file}: ok: {built}, {weights:,} weights"


def check(file: Path) -> Report:
    """Parse, build and infer a net, or a solver and its nets, in both phases."""
    if not os.path.exists(file):
        return Report(file, error=NktcError(f"{file} does not exist"), exit_code=2)
    try:
        return Report(file, tuple(graphs(file, list(Phase))))
    except NktcError as error:
        return Report(file, error=error, exit_code=1)


def graphs(file: Path, phases: Sequence[Phase]) -> list[Graph]:
    """The graphs of a net in each phase, or of a solver's nets in theirs. Raises all that is wrong, each once; a net
    without a layer in any of them is wrong too."""
    if reader.is_solver(text.read(file)):
        settings = train.read(file)
        wanted = [(settings.train_net, Phase.TRAIN, settings.level, settings.stages)]
        wanted += [(test.net, Phase.TEST, test.level, test.stages) for test in settings.test_nets]
        wanted = [one for one in wanted if one[1] in phases]
    else:
        net = reader.read_net(file)
        wanted = [(net, phase, None, ()) for phase in phases]
    built: list[Graph] = []
    errors: dict[str, NktcError] = {}
    for one in wanted:
        try:
            built.append(_build(*one))
        except Errors as several:
            errors.update((str(error), error) for error in several.errors)
        except NktcError as error:
            errors[str(error)] = error
    raise_all([*errors.values()])
    if built and not any(built):
        raise NktcError(f"{file} has no layers", help="a net is a list of layer { ... }")
    return built


def learned(graph: Graph) -> int:
    """How many numbers a graph learns."""
    return sum(size(p.weight.shape) for p in graph.parameters.values() if p.weight.learns)


def _build(net: NetFile, phase: Phase, level: int | None, stages: Sequence[str]) -> Graph:
    return reader.build(net, phase, level=level, stages=stages, feeds=models.feeds(net))
