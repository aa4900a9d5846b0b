"""Listeners: Caffe's log, and the run's journal."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from torch import Tensor

from nktc.ir import Graph
from nktc.runs import Run
from nktc.train.events import Ended, Event, Hook, Said, Saved, Started, Stepped, Tested, Testing
from nktc.train.settings import Settings


def caffe_log(
    write: Callable[[str], None],
    settings: Settings,
    train: Graph,
    tests: Sequence[Graph],
    smoothed: Callable[[], float],
) -> Hook:
    """Caffe's log lines, one call of `write` each; its parse_log and plot_training_log read them.

    `smoothed` gives the loss averaged over average_loss iterations. Formats are those of a C++ stream: six significant
    digits.
    """
    s = settings.message
    last_time, last_iteration = time.perf_counter(), 0

    def say(file: str, line: int, message: str) -> None:
        now = datetime.now()
        write(f"I{now:%m%d %H:%M:%S.%f} {os.getpid():5} {file}:{line}] {message}")

    def outputs(kind: str, values: Mapping[str, Tensor], graph: Graph) -> None:
        weights = dict(graph.losses)
        for number, (name, value) in enumerate(numbers(values, graph)):
            text = f"    {kind} net output #{number}: {name} = {value:g}"
            if weight := weights.get(name, 0.0):
                text += f" (* {weight:g} = {weight * value:g} loss)"
            say("solver.cpp", 414 if kind == "Test" else 258, text)

    def hear(event: Event) -> None:
        nonlocal last_time, last_iteration
        match event:
            case Started(iteration):
                last_iteration = iteration
                say("caffe.cpp", 248, "Starting Optimization")
                say("solver.cpp", 279, f"Solving {train.name}")
                say("solver.cpp", 280, f"Learning Rate Policy: {s.lr_policy}")
            case Testing(iteration, net):
                say("solver.cpp", 337, f"Iteration {iteration}, Testing net (#{net})")
            case Tested(_, net, scores, loss):
                if s.test_compute_loss:
                    say("solver.cpp", 397, f"Test loss: {loss.item():g}")
                outputs("Test", scores, tests[net])
            case Stepped(iteration, _, values, rate):
                if s.display and iteration % s.display == 0:
                    now = time.perf_counter()
                    lapse = now - last_time
                    speed = (iteration - last_iteration) / (lapse or 1)
                    say(
                        "solver.cpp",
                        239,
                        f"Iteration {iteration} ({speed:g} iter/s, {lapse:g}s/{s.display} iters),"
                        f" loss = {smoothed():g}",
                    )
                    outputs("Train", values, train)
                    say("sgd_solver.cpp", 112, f"Iteration {iteration}, lr = {rate:g}")
                    last_time, last_iteration = now, iteration
            case Said(_, line, where):
                say(where, 0, line)
            case Saved(_, weights, state):
                kind = "HDF5" if settings.hdf5 else "binary proto"
                say("solver.cpp", 464, f"Snapshotting to {kind} file {weights}")
                say("sgd_solver.cpp", 284, f"Snapshotting solver state to {kind} file {state}")
            case Ended(iteration, stopped, _):
                if stopped:
                    say("solver.cpp", 295, "Optimization stopped early.")
                else:
                    if s.display and iteration % s.display == 0:
                        say("solver.cpp", 317, f"Iteration {iteration}, loss = {smoothed():g}")
                    say("solver.cpp", 322, "Optimization Done.")

    return hear


def journal(run: Run, settings: Settings, **start: object) -> Hook:
    """One line of JSON an event in the run's journal; steps at the solver's `display`. `start` goes into its first."""
    s = settings.message

    def hear(event: Event) -> None:
        match event:
            case Started(iteration):
                run.record("started", iteration=iteration, max_iter=s.max_iter, **start)
            case Stepped(iteration, loss, _, rate) if s.display and iteration % s.display == 0:
                run.record("stepped", iteration=iteration, loss=_finite(loss.item()), lr=rate)
            case Tested(iteration, net, scores, loss):
                found = {name: _finite(v) if v.numel() == 1 else v.tolist() for name, v in scores.items()}
                run.record("tested", iteration=iteration, net=net, scores=found, loss=_finite(loss.item()))
            case Saved(iteration, weights, state, best):
                run.record("saved", iteration=iteration, weights=str(weights), state=str(state), best=best)
            case Said(iteration, line, "solver.cpp"):
                run.record("said", iteration=iteration, line=line)
            case Ended(iteration, stopped, _):
                run.record("ended", iteration=iteration, stopped=stopped)

    return hear


def numbers(values: Mapping[str, Tensor], graph: Graph) -> Iterator[tuple[str, float]]:
    """Every number of every output, outputs in the order of their names, as Caffe keeps them."""
    for name in sorted(value.name for value in graph.outputs):
        for number in values[name].reshape(-1).tolist():
            yield name, number


def _finite(value: Tensor | float) -> float | None:
    """JSON has no NaN."""
    number = float(value)
    return number if math.isfinite(number) else None
