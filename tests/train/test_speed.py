"""How the fastest step is found."""

from __future__ import annotations

import pytest
import torch

from nktc.train import speed
from nktc.train.speed import Speed, candidates, parse, pick

CPU = torch.device("cpu")


@pytest.mark.parametrize("text", ["exact", "channels_last", "channels_last,compile", "cuda_graph"])
def test_a_speed_is_written_as_it_is_read(text):
    assert str(parse(text)) == text


def test_what_is_tried_depends_on_length_net_and_device():
    assert candidates(60, pictures=True, captures=False) == [Speed(), Speed(channels_last=True)]
    assert candidates(60, pictures=False, captures=False) == [Speed()]
    assert parse("channels_last,compile") in candidates(10_000, pictures=True, captures=False)
    assert parse("cuda_graph") in candidates(60, pictures=True, captures=True)


@pytest.fixture
def seconds(monkeypatch):
    """What the steps take, a list for each that is gone through again and again; a step is its own name."""
    taken: dict[str, list[float]] = {}
    turn: dict[str, int] = {}

    def timed(step, device):
        name = step()
        turn[name] = turn.get(name, -1) + 1
        return taken[name][turn[name] % len(taken[name])]

    monkeypatch.setattr(speed, "_timed", timed)
    return taken


def prepare(tried):
    return lambda: str(tried)


def test_the_fastest_step_comes_first_whatever_a_busy_machine_adds(seconds):
    seconds.update({"exact": [0.9, 0.5, 0.5], "channels_last": [3.0, 7.0, 0.4, 9.0]})
    assert [(str(t.speed), t.seconds) for t in pick(prepare, CPU, 1000, True, False)] == [
        ("channels_last", 0.4),
        ("exact", 0.5),
    ]


def test_a_short_run_is_not_tried_out(seconds):
    seconds["exact"] = [0.01]
    assert [str(t.speed) for t in pick(prepare, CPU, 1000, True, False)] == ["exact"]


def test_what_fails_is_left_out(seconds):
    seconds.update({"exact": [1.0], "cuda_graph": [0.1]})

    def some(tried):
        if tried.channels_last:
            raise RuntimeError("no such kernel")
        return prepare(tried)

    assert [str(t.speed) for t in pick(some, CPU, 100, True, True)] == ["cuda_graph", "exact"]
