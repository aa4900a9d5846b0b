"""CenterLoss against its definition and against the rule of its centres."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.ir import Layer, Phase

SETTINGS = 'center_loss_param {{ num_output: 4 distance_type: "{}" }}'


@pytest.mark.parametrize("distance", ["L1", "L2"])
def test_centres_follow_their_features_by_their_own_rule(layer: Callable[..., Layer], distance: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0.0, 2, 2, 0, 2, 3])
    center = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    it = layer("CenterLoss", SETTINGS.format(distance), (6, 2, 3), (6,), phase=Phase.TRAIN)
    assert it.weights((6, 2, 3), (6,))["center"].shape == (4, 6)
    loss = it.forward(x, label, center)
    apart = x.detach().reshape(6, 6) - center.detach()[label.long()]
    each = apart.abs() if distance == "L1" else apart**2 / 2
    torch.testing.assert_close(loss, each.sum() / 6)
    to_x, to_center = torch.autograd.grad(7 * loss, (x, center))
    slope = apart.sign() if distance == "L1" else apart
    torch.testing.assert_close(to_x.reshape(6, 6), 7 * slope / 6)
    expected = torch.zeros(4, 6, dtype=torch.float64)
    for one in range(4):
        members = [i for i in range(6) if label[i] == one]
        # However much the loss weighs.
        expected[one] = -sum((slope[i] for i in members), torch.zeros(6)) / (1 + len(members))
    torch.testing.assert_close(to_center, expected)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, of Function
def test_the_rule_compiles_in_one_piece(layer: Callable[..., Layer]) -> None:
    it = layer("CenterLoss", SETTINGS.format("L2"), (3, 2), (3,), phase=Phase.TRAIN)
    x, label, center = torch.randn(3, 2), torch.tensor([1.0, 0, 1]), torch.randn(4, 2, requires_grad=True)
    torch.compiler.reset()
    one_piece = torch.compile(it.forward, backend="aot_eager", fullgraph=True)
    (expected,) = torch.autograd.grad(it.forward(x, label, center), center)
    (found,) = torch.autograd.grad(one_piece(x, label, center), center)
    torch.testing.assert_close(found, expected)


def test_in_test_the_loss_is_the_same(layer: Callable[..., Layer]) -> None:
    x, label, center = torch.randn(3, 2), torch.tensor([1.0, 0, 1]), torch.randn(4, 2)
    learning = layer("CenterLoss", SETTINGS.format("L2"), (3, 2), (3,), phase=Phase.TRAIN)
    testing = layer("CenterLoss", SETTINGS.format("L2"), (3, 2), (3,))
    torch.testing.assert_close(learning.forward(x, label, center), testing.forward(x, label, center))


@pytest.mark.parametrize(
    ("settings", "shapes", "message"),
    [
        ("", ((3, 2), (3,)), "has no num_output"),
        ('num_output: 2 distance_type: "cosine"', ((3, 2), (3,)), 'unknown distance_type "cosine"'),
        ("num_output: 2 axis: 2", ((3, 2, 2), (3,)), "axis 2 of its 3-axis input is not 1"),
        ("num_output: 2", ((3, 2), (4,)), "its inputs 3x2 and 4 differ in axis 0, the batch"),
        ("num_output: 2", ((3, 2), (3, 2)), "its scores 3x2 are 3 items, its label 3x2 has 6"),
    ],
)
def test_what_has_no_centre_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, shapes: tuple[tuple[int, ...], ...], message: str
) -> None:
    found, _ = refusal("CenterLoss", f"center_loss_param {{ {settings} }}", *shapes)
    assert found == message
