"""The moving average of the weights: its closed form, and tests on it that leave no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nktc import train
from nktc.train.average import Average

NET = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 32 dim: 8 } shape { dim: 32 } } }
layer { name: "first" type: "InnerProduct" bottom: "x" top: "h"
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "h" top: "n" }
layer { name: "ip" type: "InnerProduct" bottom: "n" top: "ip"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }
"""


class Spoiled(Exception):
    pass


def learned(solver):
    return {name: array for name, array in solver.net.arrays().items() if not name.startswith("bn")}


@pytest.mark.parametrize("decay", [0.9, 0.25])
def test_the_average_is_its_closed_form(small, points, decay):
    solver = small(f'ema_decay: {decay} max_iter: 12 type: "Adam" momentum: 0.9 base_lr: 0.01', NET, points(3))
    history = [learned(solver)]
    solver.hooks = [lambda e: history.append(learned(solver)) if isinstance(e, train.Stepped) else None]
    solver.run()
    # average = sum over t of (1 - d_t) weight_t times all later d, and all d for the first weights.
    d = [min(decay, (1 + t) / (10 + t)) for t in range(12)]
    shares = [np.prod(d), *((1 - d[t]) * np.prod(d[t + 1 :]) for t in range(12))]
    assert sum(shares) == pytest.approx(1)
    assert len(set(d)) > 2
    for name, mean in solver.average.means.items():
        expected = sum(share * at[name].astype(np.float64) for share, at in zip(shares, history, strict=True))
        np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_an_update_by_a_tensor_is_that_by_a_number(small, points):
    solver = small("ema_decay: 0.9", NET, points(1))
    a, b = (Average(solver.net, 0.9) for _ in range(2))
    with torch.no_grad():
        solver.net.tensor("ip.weight").add_(1)
    a.update(0.25)
    b.update(torch.tensor(0.25))
    assert all(torch.equal(x, y) for x, y in zip(a.means.values(), b.means.values(), strict=True))


def test_frozen_weights_and_sums_are_not_averaged(small, points):
    solver = small('ema_decay: 0.9 freeze: "first" max_iter: 3', NET, points(2))
    solver.run()
    assert list(solver.average.means) == ["ip.weight", "ip.bias"]
    with solver.average.in_place():
        assert solver.net.tensor("bn.count").item() > 1


def test_tests_see_the_average_and_leave_the_weights_as_they_were(small, points):
    solver = small(
        "ema_decay: 0.9 max_iter: 5 test_iter: 1 test_interval: 5 test_initialization: false", NET, points(3)
    )
    seen = []

    def hear(event):
        if isinstance(event, train.Testing):
            means = solver.average.means  # the weights lie there meanwhile
            test = solver.tests[0][0]
            seen.append(({n: test.tensor(n).detach().clone() for n in means}, {n: m.clone() for n, m in means.items()}))
        if isinstance(event, train.Tested):
            losses.append(event.loss.item())

    losses: list[float] = []
    solver.hooks = [hear]
    solver.run()
    weights, means = learned(solver), solver.average.means
    ((tested, put_aside),) = seen
    for name in means:
        np.testing.assert_array_equal(tested[name].numpy(), means[name].numpy())
        np.testing.assert_array_equal(put_aside[name].numpy(), weights[name])
        assert not np.array_equal(means[name].numpy(), weights[name])
    # The loss is that of a net with the average loaded.
    solver.net.load({name: mean.numpy() for name, mean in means.items()})
    plain = train.evaluate(solver.objective(solver.tests[0][0]), solver.tests[0][1], 1)
    assert plain
    assert plain[1].item() == losses[0]


@pytest.mark.parametrize("error", [Spoiled, KeyboardInterrupt])
def test_the_weights_come_back_after_a_test_that_fails(small, points, error):
    solver = small(
        "ema_decay: 0.9 max_iter: 5 test_iter: 1 test_interval: 5 test_initialization: false", NET, points(3)
    )
    before = {}

    def hear(event):
        if isinstance(event, train.Stepped):
            before.update(learned(solver))
            before["means"] = {name: mean.clone() for name, mean in solver.average.means.items()}
        if isinstance(event, train.Testing):
            raise error

    solver.hooks = [hear]
    with pytest.raises(error):
        solver.run()
    for name, array in learned(solver).items():
        np.testing.assert_array_equal(array, before[name])
        assert torch.equal(solver.average.means[name], before["means"][name])


def test_an_average_is_taken_up_and_starts_with_the_weights_where_there_is_none(small, points):
    solver = small("ema_decay: 0.9", NET, points(1))
    mean = torch.full((6, 8), 3.0)
    solver.average.load({"first.weight": mean})
    assert torch.equal(solver.average.means["first.weight"], mean)
    assert torch.equal(solver.average.means["ip.weight"], solver.net.tensor("ip.weight"))
