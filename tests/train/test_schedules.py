"""Learning rates: against torch's schedulers, Caffe's formulas by hand, and at the very iterations they change."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR

from nktc.train import schedules

FORMULAS = {
    'lr_policy: "fixed"': lambda i: 0.5,
    'lr_policy: "step" gamma: 0.25 stepsize: 7': lambda i: 0.5 * 0.25 ** (i // 7),
    'lr_policy: "exp" gamma: 0.75': lambda i: 0.5 * 0.75**i,
    'lr_policy: "inv" gamma: 0.25 power: 0.75': lambda i: 0.5 * (1 + 0.25 * i) ** -0.75,
    'lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 8': lambda i: 0.5 * 0.5 ** ((i >= 3) + (i >= 8)),
    'lr_policy: "poly" power: 2': lambda i: 0.5 * (1 - i / 20) ** 2,
    'lr_policy: "sigmoid" gamma: 0.5 stepsize: 10': lambda i: 0.5 / (1 + math.exp(-0.5 * (i - 10))),
}
OURS = (
    'lr_policy: "cosine" min_lr: 0.125',
    'lr_policy: "onecycle"',
    'lr_policy: "plateau" gamma: 0.5 test_interval: 1',
)


def rates(settings, count=20, drops=0):
    return [schedules.rate(settings, i, drops) for i in range(count)]


def torchs(make, count=20) -> list[float]:
    """The rates of a torch scheduler, iteration by iteration."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler: LRScheduler = make(optimizer)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("text", FORMULAS)
def test_caffes_policies_are_their_formulas(told, text):
    settings = told(f"base_lr: 0.5 max_iter: 20 {text}")
    assert rates(settings) == pytest.approx([FORMULAS[text](i) for i in range(20)], rel=1e-12)


def test_a_rate_drops_at_the_iteration_that_is_named(told):
    step = told('base_lr: 1 max_iter: 20 lr_policy: "step" gamma: 0.5 stepsize: 5')
    assert rates(step, 11) == [1] * 5 + [0.5] * 5 + [0.25]
    multistep = told('base_lr: 1 max_iter: 20 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 3')
    assert rates(multistep, 5) == [1, 1, 0.5, 0.25, 0.25]
    assert [schedules.current_step(multistep, i) for i in range(5)] == [0, 0, 1, 2, 2]


def test_cosine_is_torchs_cosine_annealing(told):
    settings = told('base_lr: 0.5 max_iter: 20 lr_policy: "cosine" min_lr: 0.125')
    assert rates(settings, 21) == pytest.approx(torchs(lambda o: CosineAnnealingLR(o, 20, 0.125), 21), rel=1e-9)


@pytest.mark.parametrize("rise", [0.25, 0.5])
def test_onecycle_is_torchs_but_for_its_last_step(told, rise):
    settings = told(f'base_lr: 0.5 max_iter: 20 lr_policy: "onecycle" rise: {rise}')
    # torch reaches the top after pct_start total_steps - 1 steps and the end after total_steps - 1.
    share = (rise * 20 + 1) / 21
    expected = torchs(
        lambda o: OneCycleLR(
            o, 0.5, 21, pct_start=share, anneal_strategy="cos", cycle_momentum=False, div_factor=25,
            final_div_factor=1e12,
        )
    )  # fmt: skip
    assert rates(settings) == pytest.approx(expected, rel=1e-9)
    assert rates(settings)[0] == pytest.approx(0.02)
    assert max(rates(settings)) == rates(settings)[round(rise * 20)] == 0.5


def test_onecycle_ends_at_min_lr(told):
    settings = told('base_lr: 0.5 max_iter: 20 lr_policy: "onecycle" min_lr: 0.125')
    assert schedules.rate(settings, 20) == pytest.approx(0.125)
    assert min(rates(settings)[6:]) > 0.125


def test_plateau_falls_with_the_drops_to_min_lr(told):
    settings = told('base_lr: 0.5 max_iter: 20 lr_policy: "plateau" gamma: 0.5 test_interval: 1 min_lr: 0.1')
    assert [schedules.rate(settings, 7, drops) for drops in range(5)] == pytest.approx([0.5, 0.25, 0.125, 0.1, 0.1])
    assert schedules.current_step(settings, 7, 3) == 3


@pytest.mark.parametrize("text", [*FORMULAS, *OURS])
def test_a_warm_up_goes_straight_from_warmup_lr_to_what_the_policy_says(told, text):
    plain = told(f"base_lr: 0.5 max_iter: 20 {text}")
    warm = told(f"base_lr: 0.5 max_iter: 20 warmup_iter: 8 warmup_lr: 0.0625 {text}")
    # After the warm-up cosine has as many iterations less for the same way down.
    policy = rates(plain) if "cosine" not in text else [0.5] * 8 + torchs(lambda o: CosineAnnealingLR(o, 12, 0.125), 12)
    line = [0.0625 + (to - 0.0625) * i / 8 for i, to in enumerate(policy[:8])]
    assert rates(warm) == pytest.approx([*line, *policy[8:]], rel=1e-6)
    assert rates(warm)[0] == 0.0625


def test_a_warm_up_to_a_fixed_rate_is_torchs_linear_one(told):
    settings = told('base_lr: 0.5 max_iter: 20 lr_policy: "fixed" warmup_iter: 8 warmup_lr: 0.125')
    expected = torchs(lambda o: LinearLR(o, start_factor=0.25, total_iters=8))
    assert rates(settings) == pytest.approx(expected, rel=1e-9)


def test_rates_beyond_what_a_float_holds_are_those_of_c(told):
    assert schedules.rate(told('base_lr: 0.5 max_iter: 9999 lr_policy: "exp" gamma: 2'), 5000) == math.inf
    early = told('base_lr: 0.5 max_iter: 9999 lr_policy: "sigmoid" gamma: 1 stepsize: 5000')
    assert schedules.rate(early, 0) < 1e-300
    assert schedules.rate(early, 9999) == 0.5


def test_nvidias_rampup_rises_with_the_square_of_the_iteration(told):
    settings = told('base_lr: 0.5 lr_policy: "fixed" max_iter: 9 rampup_interval: 4 rampup_lr: 0.1')
    assert rates(settings, 6) == pytest.approx([0.1, 0.1 + 0.4 / 16, 0.1 + 0.4 / 4, 0.1 + 0.4 * 9 / 16, 0.5, 0.5])


def test_ssds_plateau_waits_for_a_lower_loss_as_long_as_each_window():
    plateau = schedules.Plateau()
    losses = [5.0, 4, 4, 4, 3, 3, 3, 9, 9, 9]
    drops = []
    for iteration, loss in enumerate(losses):
        plateau.take([2, 3], iteration, loss)
        drops.append(plateau.drops)
        again = schedules.Plateau()
        again.resume(plateau.facts())
        assert again == plateau
    assert drops == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
