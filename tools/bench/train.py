#!/usr/bin/env python3
"""Training speed against a PyTorch loop written by hand: the same net, weights, batch and update, in one process.

    .venv/bin/python tools/bench/train.py --net all [--precision bf16] [--compile] [--device cuda]
    .venv/bin/python tools/bench/train.py --net alexnet --memory

Rows alternate, a few steps each, in an order drawn anew for each round; nktc's are divided by others of the same
round, and the minimum, median and maximum of these ratios are printed. All rows train on one random batch and start
from the same weights, and the bench stops where their first losses differ. The process keeps memory that is freed, as
`nktc train` does, for all rows. With --memory each row has a process of its own, and the most that it holds beyond
imports and data is printed: resident memory on the CPU, where freed memory goes back at once, torch's on a GPU.

"nktc, reading data" also reads and prepares its batches; NKTC_DATA says where the data is.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from by_hand import MODELS
from by_hand import loss as loss_by_hand
from torch import Tensor, nn

from nets import NETS
from nktc import data, module, reader, train
from nktc.errors import NktcError
from nktc.ir import Graph, Phase, rewrite
from nktc.train.solver import Solver
from nktc.train.speed import Speed
from nktc.train.trial import try_out

ROOT = Path(__file__).parents[2]
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# A first loss may differ by rounding; halves round by 2^-8.
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 2e-2, "fp16": 1e-2}

Batch = tuple[Tensor, ...]
Step = Callable[[], Tensor]
"""Trains on one batch and gives its loss, f32[] on the device."""


class Fixed(data.Stream):
    """One batch, again and again."""

    resident = True

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def batch(self, k: int) -> Batch:
        return self._batch


@dataclass(frozen=True)
class Bench:
    """One net with its solver and its batch on the device."""

    name: str
    settings: train.Settings
    graph: Graph
    images: Tensor
    labels: Tensor
    device: torch.device
    precision: str

    def by_hand(self, channels_last: bool = False, compile: bool = False, equal: bool = True) -> Step:
        """The loop an expert writes; from nktc's weights where `equal`."""
        model = MODELS[self.name]()
        if equal:
            self._copy_weights(model)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model = model.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(self._groups(model), fused=True)
        images, labels = self.images, self.labels.long()
        half = HALVES.get(self.precision)
        scaler = torch.amp.GradScaler(self.device.type, enabled=half is torch.float16)
        forward = torch.compile(model) if compile else model

        def step() -> Tensor:
            optimizer.zero_grad()
            with torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None):
                # Batches come as they are read: their layout is changed in the step.
                loss = loss_by_hand(forward(images.contiguous(memory_format=layout)), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss.detach()

        return step

    def nktc(self, speed: Speed) -> Step:
        """The solver's step on the batch."""
        return self._solver(train.Feeding([Fixed((self.images, self.labels))]), speed)

    def auto(self, compile: bool) -> Step:
        """The solver's step as `--speed auto` picks it for a run of a minute, or for one that earns compiling back."""
        feeding = train.Feeding([Fixed((self.images, self.labels))])
        solver = Solver(self.settings, module.compile(self.graph, 0).to(self.device), feeding, device=self.device)
        s, batches = self.settings.message, feeding.ahead(0)
        solver.step(batches, 0.0, 0)
        s.max_iter = 10**9 if compile else round(60 / timed(lambda: solver.step(batches, 0.0, 0)[0], 1, self.device))
        solver.run_as(Speed())
        solver.run_as(try_out(solver, print))
        iterations = itertools.count()
        return lambda: solver.step(batches, s.base_lr, next(iterations))[0]

    def reading(self, speed: Speed) -> Step:
        """The solver's step on the net's own data."""
        folder = self.settings.train_net.folder
        return self._solver(
            train.open_feeding(self.graph, data.Places.from_environment(), folder, 0, self.device), speed
        )

    def _solver(self, feeding: train.Feeding, speed: Speed) -> Step:
        net = module.compile(self.graph, 0).to(self.device)
        solver = Solver(self.settings, net, feeding, device=self.device, speed=speed)
        batches: Iterator[Batch] = feeding.ahead(0)
        iterations = itertools.count()
        return lambda: solver.step(batches, self.settings.message.base_lr, next(iterations))[0]

    def _copy_weights(self, model: nn.Module) -> None:
        net = module.compile(self.graph, 0)
        with torch.no_grad():
            for own, given in zip(model.parameters(), net.parameters(), strict=True):
                own.copy_(given)

    def _groups(self, model: nn.Module) -> list[dict[str, object]]:
        """The parameters by their factors on rate and decay."""
        s = self.settings.message
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        learned = [p for p in self.graph.parameters.values() if p.weight.learns]
        for known, parameter in zip(learned, model.parameters(), strict=True):
            groups.setdefault((known.lr_mult, known.decay_mult), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": s.base_lr * lr_mult,
                "momentum": s.momentum,
                "weight_decay": s.weight_decay * decay_mult,
            }
            for (lr_mult, decay_mult), parameters in groups.items()
        ]


def open_bench(name: str, batch: int, device: torch.device, precision: str) -> Bench:
    """The bench of a net; batch 0 takes its own."""
    override = [f"precision={precision.upper()}"]
    if name in NETS:
        make, size = NETS[name]
        with tempfile.TemporaryDirectory() as folder:
            solver = Path(folder, f"{name}.prototxt")
            rule = 'base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 max_iter: 1'
            solver.write_text(f"{rule}\nnet_param {{ {make(batch or size)} }}")
            settings = train.read(solver, override)
        graph = reader.build(settings.train_net, Phase.TRAIN)
    else:
        settings = train.read(ROOT / "solvers" / f"{name}.prototxt", override)
        folder = settings.train_net.folder
        graph = reader.build(settings.train_net, Phase.TRAIN, feeds=lambda layer: data.describe(layer, folder))
        graph = rewrite.with_batch(graph, batch) if batch else graph
    torch.manual_seed(0)
    images, labels = (torch.rand(value.shape, device=device) for value in graph.inputs)
    return Bench(name, settings, graph, images, (labels * 10).floor(), device, precision)


def rows(bench: Bench, compile: bool, reading: bool, equal: bool = True) -> dict[str, Callable[[], Step]]:
    """What is compared, by name."""
    found: dict[str, Callable[[], Step]] = {
        "by hand": lambda: bench.by_hand(equal=equal),
        "by hand, channels last": lambda: bench.by_hand(True, equal=equal),
    }
    if compile:
        found["by hand, compiled"] = lambda: bench.by_hand(compile=True, equal=equal)
        found["by hand, channels last, compiled"] = lambda: bench.by_hand(True, True, equal)
    found["nktc, exact"] = lambda: bench.nktc(Speed())
    found["nktc, channels last"] = lambda: bench.nktc(Speed(channels_last=True))
    if compile:
        found["nktc, compiled"] = lambda: bench.nktc(Speed(compile=True))
        found["nktc, channels last, compiled"] = lambda: bench.nktc(Speed(channels_last=True, compile=True))
    found["nktc, auto"] = lambda: bench.auto(compile)
    if reading:
        found["nktc, reading data"] = lambda: bench.reading(Speed(channels_last=True))
    return found


def counterpart(row: str) -> str:
    """The row written by hand that does what a row of nktc's does."""
    like = {"nktc, exact": "by hand", "nktc, auto": "by hand", "nktc, reading data": "by hand, channels last"}
    return like.get(row, row.replace("nktc", "by hand"))


def timed(step: Step, steps: int, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds a step."""
    start = clock()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / steps


def compare(bench: Bench, args: argparse.Namespace) -> None:
    """Time the rows and print the table."""
    made = rows(bench, args.compile, not args.no_data and bench.name not in NETS)
    steps: dict[str, Step] = {}
    losses: dict[str, float] = {}
    for name, make in made.items():
        steps[name] = make()
        torch.manual_seed(1)  # the same dropout for all
        losses[name] = float(steps[name]())
    first = losses["by hand"]
    for name, loss in losses.items():
        if "reading" not in name and abs(loss - first) > TOLERANCE[bench.precision] * abs(first):
            raise NktcError(f"{bench.name}: the first loss of {name} is {loss:.6g}, that by hand {first:.6g}")
    count = args.steps or max(1, round(0.5 / timed(steps["by hand"], 1, bench.device)))
    for step in steps.values():
        timed(step, 2, bench.device)
    clock = time.process_time if args.cpu_time else time.perf_counter
    found: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(args.rounds):
        # No row always runs after the same other, whose memory and cache it would get.
        for name in random.Random(turn).sample(list(steps), len(steps)):
            found[name].append(timed(steps[name], count, bench.device, clock))
    batch = bench.images.shape[0]
    best = min((name for name in found if name.startswith("by hand")), key=lambda name: statistics.median(found[name]))
    print(f"{'':32} {'images/s':>9}   to its like by hand     to the best, {best}")
    for name, seconds in found.items():
        line = f"{name:32} {batch / statistics.median(seconds):9.1f}"
        if not name.startswith("by hand"):
            line += f"   {ratio(found[counterpart(name)], seconds)}   {ratio(found[best], seconds)}"
        print(line, flush=True)


def ratio(theirs: list[float], ours: list[float]) -> str:
    """How many times as fast as theirs ours are: median (minimum to maximum) over the rounds."""
    found = [a / b for a, b in zip(theirs, ours, strict=True)]
    return f"{statistics.median(found):6.3f} ({min(found):.2f} to {max(found):.2f})"


def compare_memory(bench: Bench, args: argparse.Namespace) -> None:
    """Measure each row in a process of its own and print the table."""
    found: dict[str, float] = {}
    # The peak is that of what is held, and not of what was kept for later.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    print(f"{'':32} {'peak MiB':>9}   to its like by hand")
    for name in rows(bench, args.compile, False):
        own = [sys.executable, __file__, "--net", bench.name, "--batch", str(bench.images.shape[0]), "--row", name]
        own += ["--device", str(bench.device), "--precision", bench.precision, *(["--compile"] if args.compile else [])]
        done = subprocess.run(own, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = float(done.stdout.split()[-1])
        like = "" if name.startswith("by hand") else f"   {found[name] / found[counterpart(name)]:6.3f}"
        print(f"{name:32} {found[name]:9.1f}{like}", flush=True)


def memory(bench: Bench, row: str, compile: bool) -> float:
    """The most memory that a row takes beyond what there is now, MiB."""
    _warm_up(bench.device)
    if bench.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _resident("VmRSS")
    step = rows(bench, compile, False, equal=False)[row]()
    for _ in range(3):
        step()
    peak = torch.cuda.max_memory_allocated() if bench.device.type == "cuda" else _resident("VmHWM")
    return (peak - before) / 2**20


def _warm_up(device: torch.device) -> None:
    """Have torch load what it loads on first use."""
    layer = nn.Conv2d(8, 8, 3).to(device)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, fused=True)
    layer(torch.rand(8, 8, 64, 64, device=device)).sum().backward()
    optimizer.step()


def _resident(field: str) -> int:
    """Bytes of this process in memory now (VmRSS) or at most (VmHWM); Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=[*MODELS, "all"], default="cifar10_quick")
    parser.add_argument("--batch", type=int, default=0, help="images a step; the net's own unless given")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=0, help="steps of a row in a round; about half a second's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=TOLERANCE, default="fp32", help="of all rows")
    parser.add_argument("--compile", action="store_true", help="rows with torch.compile too: slow to start")
    parser.add_argument("--memory", action="store_true", help="measure peak memory and not speed")
    parser.add_argument("--no-data", action="store_true", help="leave out the row that reads data")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cpu-time", action="store_true", help="one thread's own seconds, on a machine that is shared")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.threads or args.cpu_time:
        torch.set_num_threads(1 if args.cpu_time else args.threads)
    module.keep_freed()  # where the environment does not say otherwise
    torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    for name in MODELS if args.net == "all" else [args.net]:
        bench = open_bench(name, args.batch, torch.device(args.device), args.precision)
        if args.row:
            print(memory(bench, args.row, args.compile))
            continue
        where = f"{args.device}, {torch.get_num_threads()} threads" if args.device == "cpu" else args.device
        print(f"{name}, batch {bench.images.shape[0]}, {args.precision}, {where}, torch {torch.__version__}")
        (compare_memory if args.memory else compare)(bench, args)


if __name__ == "__main__":
    try:
        main()
    except NktcError as error:
        sys.exit(str(error))
