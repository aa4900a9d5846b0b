"""From a solver file to a finished run: everything is opened and checked before the first iteration."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from nktc import data, module, reader, runs
from nktc.errors import NktcError
from nktc.ir import Graph, Phase
from nktc.layers import Dataset
from nktc.reader import NetFile
from nktc.runs import Run
from nktc.schema import SolverParameter
from nktc.train import chance, checkpoint, freezing, hooks, precision, progress, ranks, speed
from nktc.train.evaluate import check_whole
from nktc.train.events import Hook
from nktc.train.feeding import Feeding, open_feeding, skips
from nktc.train.folder import describe_run
from nktc.train.interrupts import Effects, interrupts
from nktc.train.limiting import limited
from nktc.train.loggers import About, find_logger
from nktc.train.ranks import Ranks
from nktc.train.settings import Settings
from nktc.train.settings import read as read_settings
from nktc.train.solver import Solver
from nktc.train.synchronising import synchronised
from nktc.train.trial import try_out

LATEST = "latest"
PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True}


@dataclass(frozen=True)
class Options:
    """What the command line says beside the solver file."""

    overrides: Sequence[str] = ()
    weights: Sequence[str] = ()
    snapshot: str | None = None  # a .solverstate, a run's folder, or latest
    run_dir: Path | None = None
    device: str = "auto"
    places: data.Places = field(default_factory=data.Places.from_environment)
    effects: Effects = field(default_factory=Effects)
    loggers: Sequence[str] = ()
    cache: int | None = None  # bytes of data to keep, None for a quarter of the free memory
    records: int | None = None  # of the training data, None for all
    workers: int | None = None  # processes that read for a layer, None for as many as the machine suggests
    level: int | None = None  # of train_state
    stages: Sequence[str] = ()  # beside those of train_state


@dataclass(frozen=True)
class Outcome:
    """A finished run, the stand-in data it was made with ("" for the real ones), and the rank that tells of it."""

    run: Run
    iteration: int
    stopped: bool
    stand_in: str
    rank: int = 0


@dataclass(frozen=True)
class _Nets:
    """The nets of a run with what feeds them, the training net first."""

    graphs: Sequence[Graph]
    feedings: Sequence[Feeding]

    @property
    def batch(self) -> int:
        """Records that the training net takes in one forward."""
        return self.feedings[0].size_of_batch


def launch(solver_file: Path, options: Options, console: Console) -> Outcome:
    """Train as a solver file says; Caffe's log goes to `console`, everything else to the run's folder.

    Raises NktcErrors before the first iteration for whatever is wrong with the solver, its nets, data or device.
    """
    with ranks.join() as group:
        console.quiet |= group.rank > 0
        settings = read_settings(solver_file, options.overrides, options.level, options.stages)
        for warning in settings.warnings:
            console.print(str(warning), style="yellow", **PLAIN)
        if options.records:
            settings = replace(settings, train_net=limited(settings.train_net, options.records))
        if options.snapshot and options.weights:
            raise NktcError("--snapshot and --weights exclude each other", help="a snapshot names its own weights")
        own = ranks.local_rank() if ranks.started() else settings.message.device_id
        device, why = module.choose(options.device, settings.message.solver_mode == 1, own)
        if why:
            console.print(f"solver_mode is GPU, but {why}: training on the CPU", style="yellow", **PLAIN)
        group.place(device)
        if device.type == "cpu":
            module.keep_freed()
        if ranks.may_restart() and not options.run_dir:
            raise NktcError("a restart does not know where the run was", help="give --run-dir, or no --max-restarts")
        return _train(settings, options, console, device, group)


def _train(settings: Settings, options: Options, console: Console, device: torch.device, group: Ranks) -> Outcome:
    loggers = [find_logger(text) for text in options.loggers]
    snapshot, run_dir = _snapshot(settings, options, console, group)
    extra = checkpoint.read_extra(snapshot) if snapshot else None
    known = extra.facts if extra else {}
    fresh = known.get("seed", random.SystemRandom().randrange(1 << 31))
    (seed, *_) = group.gather(fresh if settings.seed is None else settings.seed)
    chance.start(seed, group.rank, settings.message.deterministic)
    precision.set_tf32(settings.message.precision)

    nets = _open(settings, options, seed, device, group)
    settings = _in_iterations(settings, nets, group)
    nets = _Nets([freezing.freeze(settings, nets.graphs[0]), *nets.graphs[1:]], nets.feedings)
    _check(settings, nets, device, group)
    train = module.compile(synchronised(nets.graphs[0], settings.message.sync_batch_norm), seed).to(device)
    tests = [module.compile(graph).to(device) for graph in nets.graphs[1:]]
    solver = Solver(
        settings,
        train,
        nets.feedings[0],
        list(zip(tests, nets.feedings[1:], strict=True)),
        hooks=[group.hear],
        device=device,
        ranks=group,
        seed=seed,
    )
    if settings.message.precision == SolverParameter.TF32 and device.type != "cuda":
        console.print("precision TF32 is plain FP32 on a CPU", style="yellow", **PLAIN)
    if settings.message.precision == SolverParameter.BF16 and not precision.computes_bf16(device):
        said = "this CPU has no instructions for BF16, so it trains many times slower than in FP32"
        console.print(said, style="yellow", **PLAIN)
    chosen = known.get("speed") if settings.message.speed == "auto" else settings.message.speed
    solver.run_as(speed.parse(chosen) if chosen else try_out(solver, lambda said: console.print(said, **PLAIN)))
    _start_from(solver, settings, snapshot, options.weights, console)

    resuming = options.snapshot is not None or ranks.restarted()
    (run, *_) = group.gather(None if group.rank else runs.create(run_dir, settings.name, resuming))
    group.tell_folder(str(run.folder))
    if not settings.message.snapshot_prefix:
        solver.prefix = run.snapshots / settings.name
    stand_in = _stand_in(nets)
    if not group.rank:
        describe_run(
            run,
            settings,
            nets.graphs[0],
            nets.graphs[1:],
            nets.feedings,
            seed,
            device,
            solver.speed,
            group.size,
            stand_in,
        )
    _warn(stand_in, console)
    with _listening(run, settings, nets, solver, console, loggers), interrupts(solver, options.effects):
        solver.run()
    _warn(stand_in, console)
    _tell_skipped(nets, run, group, console)
    return Outcome(run, solver.iteration, solver.stopping, " ".join(stand_in), group.rank)


def _open(settings: Settings, options: Options, seed: int, device: torch.device, group: Ranks) -> _Nets:
    """Build every net and open its data. Raises NktcErrors."""
    wanted = [(settings.train_net, Phase.TRAIN, settings.level, settings.stages)]
    wanted += [(test.net, Phase.TEST, test.level, test.stages) for test in settings.test_nets]
    graphs = [_graph(*one) for one in wanted]
    for graph in graphs:
        if not graph:
            raise NktcError(f"{graph.name} has no layers in the {graph.phase.name} phase")
    workers = data.suggested_workers(device, group.size) if options.workers is None else options.workers
    feedings = [
        open_feeding(graph, options.places, net.folder, seed, device, group, True, options.cache, workers)
        for graph, (net, *_) in zip(graphs, wanted, strict=True)
    ]
    return _Nets(graphs, feedings)


def _graph(net: NetFile, phase: Phase, level: int | None, stages: Sequence[str]) -> Graph:
    return reader.build(net, phase, level=level, stages=stages, feeds=lambda layer: data.describe(layer, net.folder))


def _in_iterations(settings: Settings, nets: _Nets, group: Ranks) -> Settings:
    """The settings with epochs brought to iterations. Raises a located NktcError where an epoch has no end."""
    records = nets.feedings[0].records
    if settings.counts_epochs and not records:
        raise settings.refusal(
            "the training data has no end, so nothing can be said in epochs", "max_epoch", "give max_iter"
        )
    for test, graph, feeding in zip(settings.test_nets, nets.graphs[1:], nets.feedings[1:], strict=True):
        if test.iterations:
            continue
        if not feeding.records:
            raise settings.refusal(
                "the test data has no end, so it cannot be tested whole", "test_all", "give test_iter"
            )
        check_whole(graph, feeding)
    return settings.in_iterations(records / (nets.batch * settings.message.iter_size * group.size))


def _check(settings: Settings, nets: _Nets, device: torch.device, group: Ranks) -> None:
    """Refuse what this device cannot do."""
    s = settings.message
    asked = speed.parse("exact" if s.speed in ("auto", "exact") else s.speed)
    if s.precision == SolverParameter.FP16 and device.type != "cuda":
        help = "precision: BF16 is the half precision of a CPU"
        raise settings.refusal("FP16 trains on a GPU only", "precision", help)
    if asked.cuda_graph and device.type != "cuda":
        raise settings.refusal("cuda_graph needs a GPU", "speed", "leave it out")
    if asked.cuda_graph and group.size > 1:
        raise settings.refusal("cuda_graph captures the step of one GPU, not of several", "speed", "leave it out")
    if asked.cuda_graph and s.precision == SolverParameter.FP16:
        help = "precision: BF16 needs no loss scale"
        raise settings.refusal("cuda_graph cannot leave out updates, which FP16's loss scale asks for", "speed", help)


def _snapshot(settings: Settings, options: Options, console: Console, group: Ranks) -> tuple[Path | None, Path | None]:
    """The .solverstate to go on from, None to start; and the folder that the run was given or goes on in. Raises
    NktcError."""
    asked, folder = options.snapshot, options.run_dir
    if ranks.restarted() and folder:
        saved = [Path(event["state"]) for event in runs.Run(folder).events() if event["event"] == "saved"]
        found = group.gather(next((path for path in reversed(saved) if path.exists()), None))[0]
        if found:
            return found, folder
    if asked not in (None, LATEST) and not Path(asked).exists():
        raise NktcError(f"snapshot {asked} does not exist")
    if asked is None or (asked != LATEST and not Path(asked).is_dir()):
        return Path(asked) if asked else None, folder
    if asked != LATEST:
        folder = folder or Path(asked)
        prefix = runs.Run(Path(asked)).snapshots
    elif settings.message.snapshot_prefix:
        prefix = Path(settings.message.snapshot_prefix)
    elif folder:
        prefix = runs.Run(folder).snapshots
    else:
        raise NktcError("--snapshot latest does not say of which run", help="give --run-dir too")
    found, passed_over = group.gather(None if group.rank else checkpoint.newest(prefix))[0]
    for problem in passed_over:
        console.print(f"passed over: {problem}", style="yellow", **PLAIN)
    if found is None and asked != LATEST:
        raise NktcError(f"{asked} has no whole snapshot", help="give a .solverstate, or train it from the start")
    return found, folder


def _start_from(
    solver: Solver, settings: Settings, snapshot: Path | None, given: Sequence[str], console: Console
) -> None:
    max_iter = settings.message.max_iter
    if snapshot:
        solver.restore(snapshot)
        if solver.iteration >= max_iter:
            problem = f"{snapshot} was made after {solver.iteration} iterations, max_iter is {max_iter}"
            raise NktcError(problem, help="give a larger --max-iter to go on")
        console.print(f"Resuming from {snapshot}, iteration {solver.iteration}", **PLAIN)
        if not checkpoint.read_extra(snapshot):
            console.print("  no random state is beside it, so not to the bit", style="yellow", **PLAIN)
        return
    for name in given or settings.weights:
        match = solver.take_weights(Path(name))
        console.print(f"Finetuning from {name}: weights for {', '.join(match.taken)}", **PLAIN)
        if match.missing:
            console.print(f"  none there for {', '.join(match.missing)}", style="yellow", **PLAIN)


@contextlib.contextmanager
def _listening(
    run: Run,
    settings: Settings,
    nets: _Nets,
    solver: Solver,
    console: Console,
    loggers: Sequence[Callable[[About], Hook]],
) -> Iterator[None]:
    """The solver's hooks, while it runs: the log, the journal, the progress bar and the loggers, on rank 0."""
    if solver.ranks.rank:
        yield
        return
    train, *tests = nets.graphs
    batch = nets.batch * settings.message.iter_size * solver.ranks.size
    with progress.bar(console) as bar, run.log.open("a", encoding="utf-8") as log:

        def say(line: str) -> None:
            console.print(line, markup=False, **PLAIN)

        def write(line: str) -> None:
            log.write(line + "\n")
            log.flush()
            say(line)

        listeners: list[Hook] = [
            hooks.caffe_log(write, settings, train, tests, solver.smoothed),
            hooks.journal(run, settings, batch=batch, records=nets.feedings[0].records),
            progress.Progress(bar, settings, batch),
        ]
        about = About(run, settings, solver.net, tests, settings.message.display, batch, say)
        listeners += [open(about) for open in loggers]
        solver.hooks = [*solver.hooks, *listeners]
        yield


def _stand_in(nets: _Nets) -> list[str]:
    """What is said of every stand-in in use."""
    found = {
        f"{node.layer.name} is missing ({stream.missing}); trained on {stream.stand_in} instead,"
        f" so its accuracy says nothing about {node.layer.name}"
        for graph, feeding in zip(nets.graphs, nets.feedings, strict=True)
        for node, stream in zip(graph.sources, feeding.streams, strict=True)
        if stream.stand_in and isinstance(node.layer, Dataset)
    }
    return sorted(found)


def _tell_skipped(nets: _Nets, run: Run, group: Ranks, console: Console) -> None:
    """Say and write down how many records of each layer could not be used, in all ranks together."""
    for graph, feeding in zip(nets.graphs, nets.feedings, strict=True):
        for node, skipped in feeding.skipped(graph, group):
            if group.rank:
                continue
            run.record("skipped", net=graph.phase.name, layer=node.name, records=list(skipped.values()))
            console.print(f"{graph.phase.name} {skips(node, skipped)}", style="yellow", **PLAIN)


def _warn(stand_in: Sequence[str], console: Console) -> None:
    for message in stand_in:
        console.print("[bold red]STAND-IN DATA[/]:", escape(message), **PLAIN)
