"""The metric that steers a run: against torch's ReduceLROnPlateau, a loop by hand, and whole small runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nktc import weights
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.train import events
from nktc.train.watch import Watch, stopped_gaining, watch

NET = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 32 dim: 8 } shape { dim: 32 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" loss_weight: 2 }
layer { name: "hits" type: "Accuracy" bottom: "ip" bottom: "y" top: "hits" include { phase: TEST } }
layer { name: "far" type: "EuclideanLoss" bottom: "ip" bottom: "ip" top: "far" include { phase: TEST } }
"""


def feed(one: Watch, values: list[float]) -> list[bool]:
    return [one.take(i, {"m": torch.tensor(v)}, torch.tensor(0.0)) for i, v in enumerate(values)]


def series(seed: int) -> list[float]:
    """A curve that falls, stalls, jumps, and is not a number now and then."""
    draws = np.random.default_rng(seed)
    values = 1 / np.sqrt(1 + np.arange(60)) + 0.05 * draws.standard_normal(60)
    values[draws.random(60) < 0.05] = math.nan
    return [float(v) for v in values.astype(np.float32)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("higher", [False, True])
@pytest.mark.parametrize(("patience", "gain"), [(1, 0.0), (3, 0.0), (2, 0.02)])
def test_plateau_drops_where_torchs_does_with_one_patience_less(seed, higher, patience, gain):
    values = [-v if higher else v for v in series(seed)]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    mode = "max" if higher else "min"
    theirs = ReduceLROnPlateau(
        optimizer, mode, factor=0.5, patience=patience - 1, threshold=gain, threshold_mode="abs", eps=0
    )
    ours, expected, found = Watch("m", higher, gain, patience), [], []
    for i, value in enumerate(values):
        theirs.step(value)
        ours.take(i, {"m": torch.tensor(value)}, torch.tensor(0.0))
        expected.append(optimizer.param_groups[0]["lr"])
        found.append(0.5**ours.drops)
    assert found == expected
    assert found[-1] < 1


@pytest.mark.parametrize("seed", range(4))
def test_early_stopping_is_the_loop_that_one_writes(told, seed):
    values, settings = series(seed), told("early_stop_tests: 4")
    best, bad, end = math.inf, 0, None
    for i, value in enumerate(values):
        if value < best:
            best, bad = value, 0
        else:
            bad += 1
        if bad == 4:
            end = i
            break
    one, stopped = Watch("m", False, 0.0, 0), None
    for i, value in enumerate(values):
        one.take(i, {"m": torch.tensor(value)}, torch.tensor(0.0))
        if stopped_gaining(settings, one):
            stopped = i
            break
    assert stopped == end is not None


def test_a_plateau_goes_on_dropping_and_early_stopping_counts_on():
    one = Watch("m", True, 0.0, 2)
    assert feed(one, [0.5, 0.4, 0.4, 0.5, 0.3, 0.6, 0.1]) == [True, False, False, False, False, True, False]
    assert (one.drops, one.since, one.waited, one.best) == (2, 1, 1, pytest.approx(0.6))


def test_what_is_not_finite_is_no_gain():
    one = Watch("m", False, 0.0, 0)
    assert feed(one, [math.nan, -math.inf, 2.0, math.nan, math.inf, 1.0]) == [False, False, True, False, False, True]


def test_a_resumed_watch_goes_on_as_if_nothing_had_been():
    whole, first = Watch("m", False, 0.01, 3), Watch("m", False, 0.01, 3)
    values = series(7)
    feed(whole, values)
    feed(first, values[:25])
    second = Watch("m", False, 0.01, 3)
    second.resume(json.loads(json.dumps(first.facts())))
    # The test that was made at the iteration of the snapshot is made again.
    assert second.take(24, {"m": torch.tensor(values[24])}, torch.tensor(0.0)) is False
    assert second == first
    for i, value in list(enumerate(values))[25:]:
        second.take(i, {"m": torch.tensor(value)}, torch.tensor(0.0))
    assert second == whole
    other = Watch("n", True, 0.01, 3)
    other.resume(first.facts())
    assert (other.best, other.since, other.drops) == (None, 0, first.drops)


@pytest.mark.parametrize(
    ("solver", "metric", "higher"),
    [
        ("", "hits", True),
        ("metric_goal: MIN", "hits", False),
        ('metric: "loss"', "loss", False),
        ('metric: "far"', "far", False),
        ('metric: "far" metric_goal: MAX', "far", True),
    ],
)
def test_a_metric_is_the_accuracy_unless_said_and_losses_get_better_downwards(read, told, solver, metric, higher):
    found = watch(told(solver), [read(NET)])
    assert found
    assert (found.metric, found.higher_is_better) == (metric, higher)


def test_without_an_accuracy_the_objective_is_watched(read, told):
    found = watch(told(""), [read(NET, Phase.TRAIN)])
    assert found
    assert (found.metric, found.higher_is_better) == ("loss", False)
    assert watch(told(""), []) is None
    # The output of that name is a half of it.
    found.take(0, {"loss": torch.tensor(1.0)}, torch.tensor(2.0))
    assert found.best == 2


def test_a_metric_that_the_net_does_not_give_is_refused_in_its_place(small, points, golden):
    with pytest.raises(NktcError) as caught:
        small('test_iter: 1 test_interval: 1 metric: "hit"', NET, points(1))
    golden(
        caught.value,
        """
        solver.prototxt:6:31: error: the test net gives no number "hit"  [solver]
            6 | test_iter: 1 test_interval: 1 metric: "hit"
              |                               ^~~~~~~~~~~~~
        help: did you mean "hits"?
        """,
    )
    with pytest.raises(NktcError, match="the numbers that the test net gives are loss, hits, far"):
        small('test_iter: 1 test_interval: 1 metric: "ip"', NET, points(1))


def test_plateau_lowers_the_rate_of_a_run(small, points):
    # The rate is 0 from the warm-up on, so nothing gains.
    solver = small(
        'lr_policy: "plateau" gamma: 0.5 plateau_tests: 2 base_lr: 1e-30 max_iter: 14 test_iter: 1 test_interval: 2',
        NET,
        points(3),
    )
    rates = []
    solver.hooks = [lambda event: rates.append(event.rate) if isinstance(event, events.Stepped) else None]
    solver.run()
    # Tests at 0 (the first, so the best), 2, 4 (a drop), 6, 8 (a drop), 10, 12 (a drop).
    assert rates == pytest.approx([1e-30] * 4 + [0.5e-30] * 4 + [0.25e-30] * 4 + [0.125e-30] * 2)


def test_a_run_that_gains_nothing_stops_and_says_so(small, points):
    solver = small(
        "early_stop_tests: 3 base_lr: 0 max_iter: 100 test_iter: 1 test_interval: 5 snapshot_after_train: true",
        NET,
        points(3),
    )
    heard = []
    solver.hooks = [heard.append]
    solver.run()
    assert (solver.iteration, solver.stopping) == (15, True)
    assert [e.line for e in heard if isinstance(e, events.Said)] == ["hits gained nothing in 3 tests: stopping"]
    assert Path("solver_iter_15.solverstate").exists()


def test_the_best_snapshot_has_the_weights_of_the_best_test(small, points):
    # A rate that grows: the run learns, then it falls apart.
    solver = small(
        'lr_policy: "exp" gamma: 1.6 base_lr: 0.02 max_iter: 24 test_iter: 2 test_interval: 2 snapshot_best: true'
        ' metric: "loss"',
        NET,
        points(5),
        points(2, seed=1),
    )
    losses, kept, saved = [], [], []

    def hear(event):
        if isinstance(event, events.Tested):
            losses.append(event.loss.item())
            kept.append(solver.net.arrays())
        if isinstance(event, events.Saved):
            saved.append((solver.iteration, event.best))

    solver.hooks = [hear]
    solver.run()
    best = int(np.argmin(losses))
    assert 2 < best < len(losses) - 2
    assert saved[-1] == (2 * best, True)
    assert [iteration for iteration, _ in saved] == [
        2 * i for i, loss in enumerate(losses) if loss == min(losses[: i + 1])
    ]
    held = weights.read("solver_best.caffemodel")
    np.testing.assert_array_equal(held["ip"][0], kept[best]["ip.weight"])
    np.testing.assert_array_equal(held["ip"][1], kept[best]["ip.bias"])
    assert weights.read_state("solver_best.solverstate").iteration == 2 * best
