"""Listeners: Caffe's log, the progress bar, the run's journal."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from rich.progress import Progress, TaskID
from torch import Tensor

from nktc.ir import Graph
from nktc.runs import Run
from nktc.train.events import Ended, Event, Hook, Saved, Started, Stepped, Tested, Testing
from nktc.train.settings import Settings


def caffe_log(write: Callable[[str], None], settings: Settings, train: Graph, tests: list[Graph]) -> Hook:
    """Caffe's log lines, one call of `write` each; its parse_log and plot_training_log read them.

    Formats are those of a C++ stream: six significant digits.
    """
    window: deque[Tensor] = deque(maxlen=settings.average_loss)
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

    def smoothed() -> float:
        return sum(loss.item() for loss in window) / len(window) if window else math.nan

    def hear(event: Event) -> None:
        nonlocal last_time, last_iteration
        match event:
            case Started(iteration):
                last_iteration = iteration
                say("caffe.cpp", 248, "Starting Optimization")
                say("solver.cpp", 279, f"Solving {train.name}")
                say("solver.cpp", 280, f"Learning Rate Policy: {settings.lr_policy}")
            case Testing(iteration, net):
                say("solver.cpp", 337, f"Iteration {iteration}, Testing net (#{net})")
            case Tested(_, net, scores, loss):
                if settings.test_compute_loss:
                    say("solver.cpp", 397, f"Test loss: {loss.item():g}")
                outputs("Test", scores, tests[net])
            case Stepped(iteration, loss, values, rate):
                window.append(loss)
                if settings.display and iteration % settings.display == 0:
                    now = time.perf_counter()
                    lapse = now - last_time
                    speed = (iteration - last_iteration) / (lapse or 1)
                    say(
                        "solver.cpp",
                        239,
                        f"Iteration {iteration} ({speed:g} iter/s, {lapse:g}s/{settings.display} iters),"
                        f" loss = {smoothed():g}",
                    )
                    outputs("Train", values, train)
                    say("sgd_solver.cpp", 112, f"Iteration {iteration}, lr = {rate:g}")
                    last_time, last_iteration = now, iteration
            case Saved(_, weights, state):
                kind = "HDF5" if settings.hdf5 else "binary proto"
                say("solver.cpp", 464, f"Snapshotting to {kind} file {weights}")
                say("sgd_solver.cpp", 284, f"Snapshotting solver state to {kind} file {state}")
            case Ended(iteration, stopped, _):
                if stopped:
                    say("solver.cpp", 295, "Optimization stopped early.")
                else:
                    if settings.display and iteration % settings.display == 0:
                        say("solver.cpp", 317, f"Iteration {iteration}, loss = {smoothed():g}")
                    say("solver.cpp", 322, "Optimization Done.")

    return hear


def journal(run: Run, settings: Settings) -> Hook:
    """One line of JSON an event in the run's journal; steps at the solver's `display`."""

    def hear(event: Event) -> None:
        match event:
            case Started(iteration):
                run.record("started", iteration=iteration, max_iter=settings.max_iter)
            case Stepped(iteration, loss, _, rate) if settings.display and iteration % settings.display == 0:
                run.record("stepped", iteration=iteration, loss=_finite(loss.item()), lr=rate)
            case Tested(iteration, net, scores, loss):
                found = {name: _finite(v) if v.numel() == 1 else v.tolist() for name, v in scores.items()}
                run.record("tested", iteration=iteration, net=net, scores=found, loss=_finite(loss.item()))
            case Saved(iteration, weights, state):
                run.record("saved", iteration=iteration, weights=str(weights), state=str(state))
            case Ended(iteration, stopped, _):
                run.record("ended", iteration=iteration, stopped=stopped)

    return hear


def progress(bar: Progress, task: TaskID, batch: int) -> Hook:
    """Keep a progress bar's iteration, loss, rate and images/s up to date, ten times a second at most."""
    shown, since, first = 0.0, time.perf_counter(), 0

    def hear(event: Event) -> None:
        nonlocal shown, since, first
        match event:
            case Started(iteration):
                bar.update(task, completed=iteration)
                since, first = time.perf_counter(), iteration
            case Testing(_, net):
                bar.update(task, what=f"testing net #{net}", refresh=True)
            case Stepped(iteration, loss, _, rate) if time.perf_counter() - shown > 0.1:
                shown = time.perf_counter()
                speed = (iteration + 1 - first) * batch / (shown - since)
                what = f"loss {loss.item():.4g}  lr {rate:.3g}  {speed:,.0f} images/s"
                bar.update(task, completed=iteration + 1, what=what)
            case Ended(iteration, _, loss):
                bar.update(task, completed=iteration, refresh=True)

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
