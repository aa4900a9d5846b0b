"""From a solver file to a finished run: everything is opened and checked before the first iteration."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nktc import data, module, reader, runs
from nktc.errors import NktcError
from nktc.ir import Graph, Phase
from nktc.layers import Dataset
from nktc.reader import NetFile
from nktc.runs import Run
from nktc.train import hooks
from nktc.train.feeding import Feeding, open_feeding
from nktc.train.folder import describe_run
from nktc.train.interrupts import interrupts
from nktc.train.settings import Settings
from nktc.train.settings import read as read_settings
from nktc.train.solver import Solver


@dataclass(frozen=True)
class Options:
    """What the command line says beside the solver file."""

    overrides: Sequence[str] = ()
    weights: Sequence[str] = ()
    snapshot: Path | None = None
    run_dir: Path | None = None
    device: str = "auto"
    places: data.Places = field(default_factory=data.Places.from_environment)


@dataclass(frozen=True)
class Outcome:
    """A finished run, and the stand-in data it was made with ("" for the real ones)."""

    run: Run
    iteration: int
    stopped: bool
    stand_in: str


def launch(solver_file: Path, options: Options, console: Console) -> Outcome:
    """Train as a solver file says; Caffe's log goes to `console`, everything else to the run's folder.

    Raises NktcErrors before the first iteration for whatever is wrong with the solver, its nets, data or device.
    """
    settings = read_settings(solver_file, options.overrides)
    if options.snapshot and options.weights:
        raise NktcError("--snapshot and --weights exclude each other", help="a snapshot names its own weights")
    device, why = module.choose(options.device, settings.gpu, settings.device_id)
    if why:
        console.print(
            f"solver_mode is GPU, but {why}: training on the CPU", style="yellow", highlight=False, soft_wrap=True
        )
    seed = settings.seed if settings.seed is not None else random.SystemRandom().randrange(1 << 31)
    torch.manual_seed(seed)

    train = _graph(settings.train_net, Phase.TRAIN, settings.level, settings.stages)
    tests = [_graph(test.net, Phase.TEST, test.level, test.stages) for test in settings.test_nets]
    for graph in (train, *tests):
        if not graph:
            raise NktcError(f"{graph.name} has no layers in the {graph.phase.name} phase")
    feeding = open_feeding(train, options.places, settings.train_net.folder, seed, device)
    test_feedings = [
        open_feeding(graph, options.places, test.net.folder, seed, device)
        for graph, test in zip(tests, settings.test_nets, strict=True)
    ]
    net = module.compile(train, seed).to(device)
    test_nets = [module.compile(graph).to(device) for graph in tests]

    solver = Solver(settings, net, feeding, list(zip(test_nets, test_feedings, strict=True)), device=device)
    _start_from(solver, settings, options, console)

    run = runs.create(options.run_dir, settings.name, resuming=options.snapshot is not None)
    if not settings.snapshot_prefix:
        solver.prefix = run.snapshots / settings.name
    stand_in = _stand_in([(train, feeding), *zip(tests, test_feedings, strict=True)])
    describe_run(run, settings, train, tests, [feeding, *test_feedings], seed, device, stand_in)

    batch = train.inputs[0].shape[0] * settings.iter_size if train.inputs and train.inputs[0].shape else 1
    with _progress(console) as bar, run.log.open("a", encoding="utf-8") as log, interrupts(solver):

        def write(line: str) -> None:
            log.write(line + "\n")
            log.flush()
            console.print(line, markup=False, highlight=False, soft_wrap=True)

        task = bar.add_task(settings.name, total=settings.max_iter, what="")
        _warn(stand_in, console)
        solver.hooks = (
            hooks.caffe_log(write, settings, train, tests),
            hooks.journal(run, settings),
            hooks.progress(bar, task, batch),
        )
        solver.run()
    _warn(stand_in, console)
    return Outcome(run, solver.iteration, solver.stopping, " ".join(stand_in))


def _graph(net: NetFile, phase: Phase, level: int | None, stages: Sequence[str]) -> Graph:
    return reader.build(net, phase, level=level, stages=stages, feeds=lambda layer: data.describe(layer, net.folder))


def _start_from(solver: Solver, settings: Settings, options: Options, console: Console) -> None:
    if options.snapshot:
        solver.restore(options.snapshot)
        if solver.iteration >= settings.max_iter:
            problem = (
                f"{options.snapshot} was made after {solver.iteration} iterations, max_iter is {settings.max_iter}"
            )
            raise NktcError(problem, help="give a larger --max-iter to go on")
        console.print(
            f"Resuming from {options.snapshot}, iteration {solver.iteration}", highlight=False, soft_wrap=True
        )
        return
    for name in options.weights or settings.weights:
        match = solver.take_weights(Path(name))
        console.print(f"Finetuning from {name}: weights for {', '.join(match.taken)}", highlight=False, soft_wrap=True)
        if match.missing:
            console.print(
                f"  none there for {', '.join(match.missing)}", style="yellow", highlight=False, soft_wrap=True
            )


def _stand_in(fed: Sequence[tuple[Graph, Feeding]]) -> list[str]:
    """What is said of every stand-in in use."""
    found = {
        f"{node.layer.name} is missing ({stream.missing}); trained on {stream.stand_in} instead,"
        f" so its accuracy says nothing about {node.layer.name}"
        for graph, feeding in fed
        for node, stream in zip(graph.sources, feeding.streams, strict=True)
        if stream.stand_in and isinstance(node.layer, Dataset)
    }
    return sorted(found)


def _warn(stand_in: Sequence[str], console: Console) -> None:
    for message in stand_in:
        console.print("[bold red]STAND-IN DATA[/]:", escape(message), highlight=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    """A bar that is there on a terminal only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
