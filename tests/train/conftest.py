"""Small trainings: a net and a solver from text, fed with given tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nktc import data, module, reader, train
from nktc.errors import Source
from nktc.ir import Feed, Phase
from nktc.schema import SolverParameter
from nktc.text import bind, parse
from nktc.train import freezing

Batch = tuple[Tensor, ...]


class Given(data.Stream):
    """Batches from a list, around and around."""

    resident = True

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.feed = Feed(tuple(tuple(blob.shape) for blob in batches[0]), sum(len(batch[0]) for batch in batches))

    def batch(self, k: int) -> Batch:
        return tuple(blob.clone() for blob in self.batches[k % len(self.batches)])


@pytest.fixture
def told() -> Callable[[str], train.Settings]:
    """The settings of a solver's text that names no net."""

    def settings(text: str) -> train.Settings:
        message = bind(parse(Source("solver.prototxt", text)), SolverParameter)
        return train.Settings("solver", None, None, (), (), message)  # type: ignore[arg-type]

    return settings


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., train.Solver]:
    """A solver ready to run, in a folder of its own: its text, the net's, batches for the TRAIN net and the TEST net;
    fixed rate and no snapshots unless the solver says otherwise."""
    monkeypatch.chdir(tmp_path)

    def build(solver: str, net: str, batches: Sequence[Batch], tests: Sequence[Batch] = (), **more: object):
        Path("net.prototxt").write_text(net)
        defaults = {"lr_policy": '"fixed"', "base_lr": "0.1", "max_iter": "3", "snapshot_after_train": "false"}
        said = "".join(f"{name}: {value}\n" for name, value in defaults.items() if f"{name}:" not in solver)
        Path("solver.prototxt").write_text(f'net: "net.prototxt"\n{said}{solver}\n')
        settings = train.read("solver.prototxt")
        graph = freezing.freeze(settings, reader.build(settings.train_net, Phase.TRAIN))
        tested = [reader.build(test.net, Phase.TEST) for test in settings.test_nets]
        return train.Solver(
            settings,
            module.compile(graph, seed=1),
            train.Feeding([Given(batches)]),
            [(module.compile(one, seed=2), train.Feeding([Given(tests or batches)])) for one in tested],
            **more,  # type: ignore[arg-type]
        )

    return build


@pytest.fixture
def points() -> Callable[..., list[Batch]]:
    """Batches of learnable points: `classes` noisy corners of a cube of `size` axes, with labels."""

    def draw(count: int, batch: int = 32, size: int = 8, classes: int = 4, seed: int = 0) -> list[Batch]:
        draws = torch.Generator().manual_seed(seed)
        corners = torch.randn(classes, size, generator=torch.Generator().manual_seed(99))
        labels = torch.randint(classes, (count, batch), generator=draws)
        points = corners[labels] + 0.3 * torch.randn(count, batch, size, generator=draws)
        return [(x, y.float()) for x, y in zip(points, labels, strict=True)]

    return draw
