#!/usr/bin/env python3
"""Training speed against a plain hand-written PyTorch loop: the same net, batch and update, alternating in one process.

    .venv/bin/python tools/bench/train.py [--net cifar10_quick] [--rounds 9] [--steps 20] [--device cpu]

Prints images/s of each and the ratio of nktc to the loop, round by round paired, as minimum, median and maximum. The
batches are the same tensors for both; reading data is nktc's own in a third row, for which NKTC_DATA says where the
data is.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from nktc import data, module, reader, train
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.train.solver import Solver

ROOT = Path(__file__).parents[2]


class Cifar10Quick(nn.Module):
    """What an expert writes for cifar10_quick."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 5, padding=2), nn.Conv2d(32, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 64, 5, padding=2)
        self.ip1, self.ip2 = nn.Linear(1024, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True))
        x = F.avg_pool2d(F.relu(self.conv2(x)), 3, 2, ceil_mode=True)
        x = F.avg_pool2d(F.relu(self.conv3(x)), 3, 2, ceil_mode=True)
        return self.ip2(self.ip1(x.flatten(1)))


class LeNet(nn.Module):
    """What an expert writes for lenet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.ip1, self.ip2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.ip2(F.relu(self.ip1(x.flatten(1))))


NETS: dict[str, Callable[[], nn.Module]] = {"cifar10_quick": Cifar10Quick, "lenet": LeNet}


class Fixed(data.Stream):
    """One batch, again and again."""

    resident = True

    def __init__(self, batch: tuple[torch.Tensor, ...]) -> None:
        self._batch = batch

    def batch(self, k: int) -> tuple[torch.Tensor, ...]:
        return self._batch


def like(model: nn.Module, net: module.Net) -> nn.Module:
    """The model with the net's weights: where maxima lie changes the cost of looking for them."""
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), net.arrays().values(), strict=True):
            parameter.copy_(torch.from_numpy(array))
    return model


def by_hand(
    model: nn.Module, batches: Iterator[tuple[torch.Tensor, ...]], rate: float, decay: float
) -> Callable[[], None]:
    """The plain loop's step."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=decay)

    def step() -> None:
        images, labels = next(batches)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return step


def timed(step: Callable[[], None], steps: int, batch: int, device: torch.device) -> float:
    """Images a second."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return steps * batch / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NETS, default="cifar10_quick")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-data", action="store_true", help="leave out the row that reads data")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)

    settings = train.read(ROOT / "solvers" / f"{args.net}.prototxt")
    net_file = settings.train_net
    graph = reader.build(net_file, Phase.TRAIN, feeds=lambda layer: data.describe(layer, net_file.folder))
    images, labels = (torch.rand(v.shape, device=device) for v in graph.inputs)
    labels = (labels * 10).floor()
    batch = images.shape[0]

    def solver(feeding: train.Feeding) -> Callable[[], None]:
        made = Solver(settings, module.compile(graph, 0).to(device), feeding, device=device)
        batches = feeding.ahead(0)
        return lambda: made.step(batches, settings.base_lr)

    rows = {
        "by hand": by_hand(
            like(NETS[args.net](), module.compile(graph, 0)).to(device),
            itertools.repeat((images, labels.long())),
            settings.base_lr,
            settings.weight_decay,
        ),
        "nktc": solver(train.Feeding([Fixed((images, labels))])),
    }
    if not args.no_data:
        feeding = train.open_feeding(graph, data.Places.from_environment(), net_file.folder, 0, device)
        rows["nktc, reading data"] = solver(feeding)
    for step in rows.values():
        timed(step, 3, batch, device)
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(args.rounds):
        order = list(rows)[turn % len(rows) :] + list(rows)[: turn % len(rows)]  # no row always runs after the same one
        for name in order:
            speeds[name].append(timed(rows[name], args.steps, batch, device))
    print(f"{args.net}, batch {batch}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, found in speeds.items():
        ratios = [a / b for a, b in zip(found, speeds["by hand"], strict=True)]
        print(
            f"{name:20} {statistics.median(found):9.0f} images/s   ratio to by hand:"
            f" min {min(ratios):.3f}  median {statistics.median(ratios):.3f}  max {max(ratios):.3f}"
        )


if __name__ == "__main__":
    try:
        main()
    except NktcError as error:
        sys.exit(str(error))
