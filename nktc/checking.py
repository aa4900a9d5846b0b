"""What is wrong with a file, if anything: nets and solvers parsed, built in both phases, every shape inferred."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nktc import models, reader, train
from nktc.errors import Diagnostic, Errors, NktcError, NktcWarning, Span, coded, raise_all, split
from nktc.ir import Graph, Phase, Shape, size
from nktc.lint import lint
from nktc.reader import NetFile


@dataclass(frozen=True)
class Built:
    """A graph and what it was built of."""

    net: NetFile
    graph: Graph
    stages: Sequence[str]

    def __str__(self) -> str:
        stages = f" (stage {', '.join(self.stages)})" if self.stages else ""
        return f"{self.graph.phase.name}{stages} {len(self.graph)} layers"


@dataclass(frozen=True)
class Report:
    """One file's verdict: what it builds, or the error found; `exit_code` is 0 well, 1 wrong, 2 not there. `warnings`
    are told of what was built."""

    file: Path
    built: tuple[Built, ...] = ()
    error: NktcError | None = None
    warnings: tuple[NktcWarning, ...] = ()
    exit_code: int = 0

    @property
    def well(self) -> bool:
        return self.error is None

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """Every error and warning."""
        return [*(split(self.error) if self.error else ()), *self.warnings]

    def __str__(self) -> str:
        if self.error:
            return str(self.error)
        weights = max((learned(one.graph) for one in self.built), default=0)
        return f"{self.file}: ok: {', '.join(map(str, self.built))}, {weights:,} weights"

    def plain(self) -> dict[str, Any]:
        """The report as JSON has it; `nktc check --help` tells what is in it."""
        phases = [
            {
                "phase": one.graph.phase.name,
                "stages": list(one.stages),
                "layers": len(one.graph),
                "weights": learned(one.graph),
            }
            for one in self.built
        ]
        diagnostics = [
            {
                "severity": one.severity,
                "code": one.code,
                "message": one.message,
                **_place(one.at),
                "notes": [{"message": note.message, **_place(note.at)} for note in one.notes],
                "help": one.help,
            }
            for one in self.diagnostics
        ]
        return {"file": str(self.file), "ok": self.well, "phases": phases, "diagnostics": diagnostics}


def _place(at: Span | None) -> dict[str, Any]:
    if at is None:
        return dict.fromkeys(("file", "line", "column", "width"))
    return {"file": at.source.name, "line": at.line, "column": at.column, "width": at.width}


def check(file: Path, shapes: Mapping[str, Shape] = {}, level: int | None = None, stages: Sequence[str] = ()) -> Report:
    """Parse, build and infer a net, or a solver and its nets, in both phases; see `graphs`."""
    if not os.path.exists(file):
        missing = NktcError(f"{file} does not exist", code="file-missing")
        return Report(file, error=missing, exit_code=2)
    try:
        built, errors, told = _build_all(file, list(Phase), shapes, level, stages)
    except NktcError as stop:
        built, errors, told = [], [*split(stop)], ()
    linted = (warning for one in built for warning in lint(one.net, one.graph))
    warnings = {str(warning): warning for warning in (*told, *linted)}.values()
    if errors:
        error = errors[0] if len(errors) == 1 else Errors(errors)
        return Report(file, error=error, warnings=tuple(warnings), exit_code=1)
    return Report(file, tuple(built), warnings=tuple(warnings))


def graphs(
    file: Path,
    phases: Sequence[Phase],
    shapes: Mapping[str, Shape] = {},
    level: int | None = None,
    stages: Sequence[str] = (),
) -> list[Graph]:
    """The graphs of a net in each phase, or of a solver's nets in theirs, `shapes` being those that are said of what
    they are fed (see `models.named`). Raises all that is wrong, each once; a net without a layer in any of them is
    wrong too.

    Without `stages`, a net that does not build as it is gets each stage that its rules name, until it does. A phase
    that no rule names, and in which nothing feeds the net, is not one of its phases."""
    built, errors, _ = _build_all(file, phases, shapes, level, stages)
    raise_all(errors)
    return [one.graph for one in built]


def in_vain(file: Path) -> tuple[NktcWarning, ...]:
    """What forks of Caffe wrote in a net or a solver that does nothing here. Raises NktcErrors."""
    tree = reader.read_tree(file)
    return train.read(file).warnings if reader.is_solver(tree) else tuple(reader.in_vain(tree))


def learned(graph: Graph) -> int:
    """How many numbers a graph learns."""
    return sum(size(p.weight.shape) for p in graph.parameters.values() if p.weight.learns)


@dataclass(frozen=True)
class _Wanted:
    net: NetFile
    phase: Phase
    level: int | None = None
    stages: Sequence[str] = ()

    def build(self, shapes: Mapping[str, Shape]) -> Graph:
        supposed, feeds = models.supposed(self.net, shapes), models.feeds(self.net)
        return reader.build(self.net, self.phase, level=self.level, stages=self.stages, feeds=feeds, supposed=supposed)


def _build_all(
    file: Path, phases: Sequence[Phase], shapes: Mapping[str, Shape], level: int | None, stages: Sequence[str]
) -> tuple[list[Built], list[NktcError], tuple[NktcWarning, ...]]:
    """What can be built, what is wrong with the others, each once, and what is told of a solver itself."""
    told: tuple[NktcWarning, ...] = ()
    if solver := reader.is_solver(reader.read_tree(file)):
        settings = train.read(file)
        told = settings.warnings
        wanted = [_Wanted(settings.train_net, Phase.TRAIN, settings.level, settings.stages)]
        wanted += [_Wanted(test.net, Phase.TEST, test.level, test.stages) for test in settings.test_nets]
        wanted = [one for one in wanted if one.phase in phases]
    else:
        net = reader.read_net(file, strict=False)
        wanted = [_Wanted(net, phase, level, stages) for phase in phases]
    with coded("input-shape"):
        shapes = models.named(shapes, [one.net for one in wanted])
    built: list[Built] = []
    failed: list[tuple[_Wanted, NktcError]] = []
    for one in wanted:
        named = () if solver or stages else _stages(one.net)
        try:
            built.append(_first([one, *(replace(one, stages=(stage,)) for stage in named)], shapes))
        except NktcError as error:
            failed.append((one, error))
    errors: dict[str, NktcError] = {}
    unfed = [one for one, refusal in failed if not solver and _is_no_phase(one, refusal)]
    for one, refusal in failed:
        vain = one in unfed and len(unfed) < len(wanted)
        real = (single for single in split(refusal) if not vain or single.code != "unknown-bottom")
        errors.update((str(single), single) for single in real)
    if solver and not errors:
        try:
            train.check([one.graph for one in built], settings)
        except NktcError as error:
            errors["solver"] = error
    if built and not errors and not any(len(one.graph) for one in built):
        help = "a net is a list of layer { ... }"
        errors["none"] = NktcError(f"{file} has no layers", help=help, code="no-layers")
    return built, [*errors.values()], told


def _first(wanted: Sequence[_Wanted], shapes: Mapping[str, Shape]) -> Built:
    """The first that builds. Raises what is wrong with the first that is fed when none does."""
    refusals = []
    for one in wanted:
        try:
            return Built(one.net, one.build(shapes), one.stages)
        except NktcError as error:
            refusals.append(error)
    fed = (one for one in refusals if not any(single.code == "unknown-bottom" for single in split(one)))
    raise next(fed, refusals[0])


def _stages(net: NetFile) -> list[str]:
    """The stages that the net's rules name."""
    rules = [rule for layer in net.message.layer for rule in (*layer.include, *layer.exclude)]
    return list(dict.fromkeys(stage for rule in rules for stage in (*rule.stage, *rule.not_stage)))


def _is_no_phase(one: _Wanted, error: NktcError) -> bool:
    """Whether nothing feeds the net in a phase that it never names."""
    named = any(
        rule.HasField("phase") and Phase(rule.phase) is one.phase
        for layer in one.net.message.layer
        for rule in layer.include
    )
    return not named and any(single.code == "unknown-bottom" for single in split(error))
