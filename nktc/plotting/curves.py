"""Curves out of what training wrote: the journal of a run, or a log of Caffe's."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from nktc.errors import NktcError
from nktc.files import read_bytes
from nktc.runs import Run

AXES = ("iterations", "time", "epochs")

STAMP = re.compile(r"[IWEF](\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)? ")
SOLVING = re.compile(r"\] Solving ")
ITERATION = re.compile(r"\bIteration (\d+)(?:[ ,](.*))?$")
LOSS = re.compile(r"\bloss = ([^\s,]+)")
RATE = re.compile(r"\blr = ([^\s,]+)")
TESTING = re.compile(r"Testing net(?: \(#(\d+)\))?")
OUTPUT = re.compile(r"\b(Train|Test) net output #\d+: (\S+) = (\S+)(?: \(\* \S+ = (\S+) loss\))?")
TEST_LOSS = re.compile(r"\] Test loss: (\S+)")
OLD_SCORE = re.compile(r"\] Test (score #\d+): (\S+)")  # Caffe of 2013


@dataclass(frozen=True, eq=False)
class Curve:
    """One number over a run, in the order of its iterations.

    `metric` is "loss" for the objective, "lr" for the rate, and otherwise the name of an output of the net, with [k]
    behind for the k-th of several numbers. `net` counts test nets from 0 and is None for the training net. `seconds`
    are those spent in training since its start, pauses and what a resumed run did again left out; NaN where they are
    not known. `values` are NaN where they were not finite.
    """

    metric: str
    net: int | None
    iterations: np.ndarray  # i64[n]
    seconds: np.ndarray  # f64[n]
    values: np.ndarray  # f64[n]


@dataclass(frozen=True, eq=False)
class Curves:
    """All curves of a run. `losses` are the outputs that are known to be terms of the objective; `epoch` is the
    iterations in one, None where it is not known."""

    path: Path
    curves: tuple[Curve, ...]
    losses: frozenset[str] = frozenset()
    epoch: float | None = None

    def of(self, metric: str) -> list[Curve]:
        """A metric's curves: of the training net, of the test nets, or of both."""
        return [curve for curve in self.curves if curve.metric == metric]

    def along(self, curve: Curve, axis: str) -> np.ndarray:
        """A curve's places on an axis of AXES; time in seconds. Raises NktcError where they are not known."""
        if axis == "time":
            if np.isnan(curve.seconds).any():
                raise NktcError(f"{self.path} does not say when its lines were written", help="give --x iterations")
            return curve.seconds
        if axis == "epochs":
            if self.epoch is None:
                help = "give --x iterations; the journal of a run says it where the data has an end"
                raise NktcError(f"{self.path} does not say how many iterations an epoch has", help=help)
            return curve.iterations / self.epoch
        return curve.iterations


def read_curves(path: Path) -> Curves:
    """The curves of a run's folder, or of a Caffe log. Raises NktcError where there are none."""
    if path.is_dir():
        if not (path / "journal.jsonl").is_file():
            help = "give a folder that nktc train made, or a log of Caffe's"
            raise NktcError(f"{path} is not the folder of a run: it has no journal.jsonl", help=help)
        found = _read_journal(path)
        if not found.curves:
            raise NktcError(f"nothing is logged in {path} yet", help="its solver's display and test_interval say when")
        return found
    if path.name == "journal.jsonl":
        return read_curves(path.parent)
    found = _read_log(path)
    if not found.curves:
        raise NktcError(f"{path} has no line of a Caffe log", help="give a run's folder, or what caffe train printed")
    return found


@dataclass
class _Reading:
    """Points as they come, by metric and net, then by iteration: what comes later wins."""

    points: dict[tuple[str, int | None], dict[int, tuple[float, float]]] = field(default_factory=dict)
    zero: float = 0.0  # the clock when training began, moved on by its pauses

    def begin(self, iteration: int, clock: float) -> None:
        """Training begins, or goes on, at an iteration: all from there on is void."""
        for points in self.points.values():
            for void in [n for n in points if n >= iteration]:
                del points[void]
        self.zero = clock - max(
            (seconds for points in self.points.values() for seconds, _ in points.values()), default=0
        )

    def add(self, metric: str, net: int | None, iteration: int, clock: float, value: float) -> None:
        self.points.setdefault((metric, net), {})[iteration] = (clock - self.zero, value)

    def curves(self) -> tuple[Curve, ...]:
        return tuple(_curve(metric, net, points) for (metric, net), points in self.points.items() if points)


def _curve(metric: str, net: int | None, points: dict[int, tuple[float, float]]) -> Curve:
    iterations = np.array(sorted(points))
    seconds, values = np.array([points[n] for n in iterations.tolist()]).T
    return Curve(metric, net, iterations, seconds, np.where(np.isfinite(values), values, np.nan))


def _read_journal(folder: Path) -> Curves:
    reading, epoch = _Reading(), None
    for event in Run(folder).events():
        try:
            clock, n = float(event["time"]), int(event["iteration"])
            match event["event"]:
                case "started":
                    reading.begin(n, clock)
                    if event.get("records") and event.get("batch"):
                        epoch = event["records"] / event["batch"]
                case "stepped":
                    reading.add("loss", None, n, clock, _number(event["loss"]))
                    reading.add("lr", None, n, clock, _number(event["lr"]))
                case "tested":
                    net = int(event["net"])
                    for name, scores in event["scores"].items():
                        for metric, value in _numbers(name, scores):
                            if metric != "loss":
                                reading.add(metric, net, n, clock, value)
                    reading.add("loss", net, n, clock, _number(event["loss"]))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):  # a line that is not what nktc writes
            continue
    return Curves(folder, reading.curves(), epoch=epoch)


def _numbers(name: str, scores: Any) -> Iterator[tuple[str, float]]:
    """The numbers of an output, one or nested lists of them, by name."""
    if isinstance(scores, list):
        flat = np.array(scores, dtype=float).reshape(-1).tolist()
        yield from ((f"{name}[{k}]", value) for k, value in enumerate(flat))
    else:
        yield name, _number(scores)


@dataclass
class _Block:
    """What a log says from one "Iteration N" to the next. `start` is the clock where training began or went on just
    before it, None elsewhere; `terms` are the weighted losses among the test outputs."""

    iteration: int
    clock: float
    start: float | None
    said: str
    outputs: dict[str, list[float]] = field(default_factory=dict)
    terms: list[float] = field(default_factory=list)
    losses: set[str] = field(default_factory=set)
    objective: float | None = None


def _read_log(path: Path) -> Curves:
    """A log of ours or of any Caffe's. Where it does not print a test's objective, that is the sum of its terms."""
    # A last line without an end is still being written.
    lines = read_bytes(path, "log").decode(errors="replace").split("\n")[:-1]
    reading, losses, last = _Reading(), set[str](), -1
    for block in _blocks(lines):
        n, clock, net = block.iteration, block.clock, None
        if block.start is not None or n < last or last < 0:
            reading.begin(n, clock if block.start is None else block.start)
        last = n
        losses |= block.losses
        if at := TESTING.search(block.said):
            net = int(at[1] or 0)
            if block.terms or block.objective is not None:
                reading.add("loss", net, n, clock, sum(block.terms) if block.objective is None else block.objective)
        elif at := LOSS.search(block.said):
            reading.add("loss", None, n, clock, _number(at[1]))
        elif at := RATE.search(block.said):
            reading.add("lr", None, n, clock, _number(at[1]))
        for name, values in block.outputs.items():
            if name != "loss":
                for metric, value in _numbers(name, values if len(values) > 1 else values[0]):
                    reading.add(metric, net, n, clock, value)
    return Curves(path, reading.curves(), frozenset(losses))


def _blocks(lines: list[str]) -> Iterator[_Block]:
    block, start = None, None
    for clock, line in _clocked(lines):
        if SOLVING.search(line):
            start = clock
        elif at := ITERATION.search(line):
            if block:
                yield block
            block, start = _Block(int(at[1]), clock, start, at[2] or ""), None
        elif block is None:
            continue
        elif at := OUTPUT.search(line):
            block.outputs.setdefault(at[2], []).append(_number(at[3]))
            if at[4]:
                block.losses.add(at[2])
                block.terms.append(_number(at[4]))
        elif at := OLD_SCORE.search(line):
            block.outputs[at[1]] = [_number(at[2])]
        elif at := TEST_LOSS.search(line):
            block.objective = _number(at[1])
    if block:
        yield block


def _clocked(lines: list[str]) -> Iterator[tuple[float, str]]:
    """Lines with the seconds on the clock at each, which never goes back; NaN before the first that has a time."""
    # glog wrote no year for long; any will do that has the days there are.
    year = 2000 if any(line[1:5] == "0229" for line in lines) else 2001
    clock, month = math.nan, 1
    for line in lines:
        if at := STAMP.match(line):
            if month - int(at[2]) > 6:
                year += 1
            month = int(at[2])
            with suppress(ValueError):  # no day of any month
                moment = datetime(int(at[1] or year), month, int(at[3]), int(at[4]), int(at[5]), int(at[6]))
                seconds = (moment - datetime(2000, 1, 1)).total_seconds() + float(at[7] or 0)
                clock = seconds if math.isnan(clock) else max(clock, seconds)
        yield clock, line


def _number(value: Any) -> float:
    """A number; NaN for null, and for what Windows prints in its place."""
    try:
        return math.nan if value is None else float(value)
    except ValueError:
        return math.nan
