"""Frozen weights: left alone by gradients, decay and histories, and not gone through backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nktc import train
from nktc.errors import NktcError

NET = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 32 dim: 8 } shape { dim: 32 } } }
layer { name: "conv1" type: "InnerProduct" bottom: "x" top: "h"
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "conv2" type: "InnerProduct" bottom: "h" top: "g"
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "g" top: "ip"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }
"""
ALL = {f"{layer}.{weight}" for layer in ("conv1", "conv2", "ip") for weight in ("weight", "bias")}


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        ('"conv*"', {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}),
        ('"conv1"', {"conv1.weight", "conv1.bias"}),
        ('"conv?.bias"', {"conv1.bias", "conv2.bias"}),
        ('["conv2.weight", "ip.b*"]', {"conv2.weight", "ip.bias"}),
        ('"*.bias"', {"conv1.bias", "conv2.bias", "ip.bias"}),
    ],
)
@pytest.mark.parametrize("type", ["SGD", "Adam"])
def test_what_a_pattern_names_stays_to_the_bit_and_all_else_learns(small, points, type, freeze, frozen):
    solver = small(f'freeze: {freeze} type: "{type}" momentum: 0.9 weight_decay: 0.1 max_iter: 4', NET, points(3))
    before = solver.net.arrays()
    solver.run()
    after = solver.net.arrays()
    assert {name for name in ALL if np.array_equal(before[name], after[name])} == frozen
    assert {one.name for one in solver.optimizer.learned} == ALL - frozen
    assert all(solver.net.tensor(name).grad is None for name in frozen)


def test_nothing_runs_backward_below_the_lowest_weight_that_learns(small, points):
    values = {}
    for freeze in ('"conv*"', '"conv2"'):
        net = small(f"freeze: {freeze}", NET, points(1)).net
        values[freeze] = {name for name, value in net.values(*points(1)[0]).items() if value.requires_grad}
    assert values['"conv*"'] == {"ip", "loss"}
    assert values['"conv2"'] == {"h", "g", "ip", "loss"}


def test_a_frozen_weight_is_one_with_lr_mult_0(small, points):
    frozen = small('freeze: "conv2" momentum: 0.9 weight_decay: 0.1 max_iter: 4', NET, points(3))
    spec = "param { lr_mult: 0 } param { lr_mult: 0 }"
    said = small("momentum: 0.9 weight_decay: 0.1 max_iter: 4", NET.replace('top: "g"', f'top: "g" {spec}'), points(3))
    frozen.run()
    said.run()
    for name, array in frozen.net.arrays().items():
        np.testing.assert_array_equal(array, said.net.arrays()[name])


def test_a_net_that_is_frozen_whole_has_nothing_to_learn_and_runs(small, points):
    solver = small('freeze: "*" max_iter: 2', NET, points(1))
    losses = []
    solver.hooks = [lambda e: losses.append(e.loss.item()) if isinstance(e, train.Stepped) else None]
    solver.run()
    assert losses[0] == losses[1]
    assert not any(isinstance(p, torch.Tensor) and p.requires_grad for p in solver.net.parameters())


def test_a_pattern_that_names_nothing_is_refused_in_its_place(small, points, golden):
    with pytest.raises(NktcError) as caught:
        small('freeze: "conv" max_iter: 2', NET, points(1))
    golden(
        caught.value,
        """
        solver.prototxt:5:1: error: freeze "conv" names no layer with weights  [solver]
            5 | freeze: "conv" max_iter: 2
              | ^~~~~~~~~~~~~~
        help: did you mean "conv*"?
        """,
    )
    with pytest.raises(NktcError, match='did you mean "conv2"'):
        small('freeze: "comv2"', NET, points(1))
    with pytest.raises(NktcError, match=r"patterns name layers \(conv\*\) or weights \(conv1.bias\)"):
        small('freeze: "loss"', NET, points(1))
