"""Times as figures, and turns that are fair; no test says how fast anything is."""

from __future__ import annotations

import numpy as np
import pytest

from nktc.engines import Times, race


def test_figures_are_those_of_the_seconds():
    seconds = tuple(np.arange(1, 101) / 1000)
    found = Times(4, seconds)
    assert found.median == pytest.approx(0.0505)
    assert found.throughput == pytest.approx(4 * 100 / 5.05)
    plain = found.plain()
    assert [*plain] == ["batch", "forwards", "throughput", "min", "max", "mean", "median", "p90", "p95", "p99"]
    assert (plain["min"], plain["max"], plain["mean"], plain["p90"]) == (1, 100, 50.5, pytest.approx(90.1))
    assert (plain["batch"], plain["forwards"]) == (4, 100)


def test_streams_side_by_side_share_the_time():
    assert Times(1, (1.0, 1.0, 1.0, 1.0), streams=2).throughput == 2


def test_all_have_their_turns_and_a_first_run_that_does_not_count():
    ran: list[str] = []
    found = race({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, {"a": 1, "b": 2}, 0)
    assert {name: times.batch for name, times in found.items()} == {"a": 1, "b": 2}
    assert ran[:2] == ["a", "b"]
    # Whose turn is first is drawn; within one it runs again and again, twice at least.
    assert sum(one != before for one, before in zip(ran, ["", *ran], strict=False)) in range(4, 9)
    assert min(map(ran.count, "ab")) >= 1 + 3 * 2
    for name, times in found.items():
        assert len(times.seconds) == ran.count(name) - 4
