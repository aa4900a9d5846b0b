"""The progress bar: what it says of speed and of the time that is left."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from nktc import train
from nktc.schema import SolverParameter
from nktc.train import progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""
    held = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: held.now)
    return held


def test_speed_leaves_tests_out_and_the_time_left_has_them_in(clock):
    settings = SimpleNamespace(name="net", message=SolverParameter(max_iter=100, test_interval=50))
    bar = progress.bar(Console(file=StringIO(), force_terminal=True))
    hear = progress.Progress(bar, settings, batch=10)
    (task,) = bar.tasks
    hear(train.Started(0))
    hear(train.Testing(0, 0))
    assert task.fields["what"] == "testing net #0"
    clock.now += 7
    hear(train.Tested(0, 0, {"accuracy": torch.tensor(0.25), "loss": torch.tensor(2.0)}, torch.tensor(2.0)))
    for iteration in range(50):
        clock.now += 0.2
        hear(train.Stepped(iteration, torch.tensor(1.5), {}, 0.01))
    assert task.completed == 50
    assert task.fields["what"] == "loss 1.5  lr 0.01  50 images/s  accuracy 0.25"
    assert task.fields["left"] == "0:00:17"  # 50 iterations of 0.2 s, and the last test
    hear(train.Ended(100, False, None))
    assert task.completed == 100


def test_the_loss_is_not_looked_at_for_each_of_many_quick_steps(clock):
    settings = SimpleNamespace(name="net", message=SolverParameter(max_iter=1000))
    bar = progress.bar(Console(file=StringIO(), force_terminal=True))
    hear = progress.Progress(bar, settings, batch=10)
    looks = []
    loss = SimpleNamespace(item=lambda: looks.append(1) or 0.5)
    hear(train.Started(0))
    for iteration in range(1000):
        clock.now += 0.001
        hear(train.Stepped(iteration, loss, {}, 0.01))
    assert 5 <= len(looks) <= 10
