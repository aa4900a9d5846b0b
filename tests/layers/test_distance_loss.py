"""Losses of distances and margins: values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.ir import Layer
from nktc.layers import ContrastiveLoss, EuclideanLoss, HingeLoss, L1Loss


def test_the_euclidean_loss_is_half_the_squared_distance_over_the_batch() -> None:
    a, b = torch.randn(3, 4, requires_grad=True), torch.randn(3, 2, 2, requires_grad=True)
    loss = EuclideanLoss().forward(a, b)
    loss.backward()
    difference = a.detach() - b.detach().reshape(3, 4)
    torch.testing.assert_close(loss.detach(), (difference**2).sum() / 6)
    torch.testing.assert_close(a.grad, difference / 3)
    torch.testing.assert_close(b.grad, -(difference / 3).reshape(3, 2, 2))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 1, 1), (6, 1, 3)])
def test_the_contrastive_loss_draws_like_pairs_together_and_unlike_ones_apart(
    shape: tuple[int, ...], legacy: bool
) -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 6, 3))
    b[5] = a[5]
    alike = np.array([1, 0, 1, 0, -2, 0])
    left, right = (torch.from_numpy(x.reshape(shape)).requires_grad_() for x in (a, b))
    loss = ContrastiveLoss(2.5, legacy).forward(left, right, torch.from_numpy(alike).float().reshape(6, 1))
    loss.backward()
    expected, gradient = 0.0, np.zeros((6, 3))
    for i, difference in enumerate(a - b):
        d = np.linalg.norm(difference)
        if alike[i]:
            expected += d**2
            gradient[i] = difference
        elif legacy:
            expected += max(0, 2.5 - d**2)
            gradient[i] = -difference * (d**2 < 2.5)
        else:
            expected += max(0, 2.5 - d) ** 2
            gradient[i] = -max(0, 2.5 - d) / (d + 1e-4) * difference
    assert loss.item() == pytest.approx(expected / 12)
    np.testing.assert_allclose(left.grad.reshape(6, 3), gradient / 6, atol=1e-12)
    np.testing.assert_allclose(right.grad.reshape(6, 3), -gradient / 6, atol=1e-12)


def test_the_features_of_a_pair_may_be_a_single_number() -> None:
    a, b = torch.tensor([1.0, 1.0], requires_grad=True), torch.tensor([3.0, 1.5])
    loss = ContrastiveLoss().forward(a, b, torch.tensor([1.0, 0.0]))
    loss.backward()
    assert loss.item() == pytest.approx((2**2 + 0.5**2) / 4)
    np.testing.assert_allclose(a.grad, [-2 / 2, 0.5 * 0.5 / (0.5 + 1e-4) / 2], rtol=1e-6)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("alike", [0.0, 1.0])
def test_equal_features_have_no_gradient(legacy: bool, alike: float) -> None:
    a = torch.ones(2, 3, requires_grad=True)
    loss = ContrastiveLoss(legacy=legacy).forward(a, torch.ones(2, 3), torch.full((2,), alike))
    loss.backward()
    assert loss.item() == (0 if alike else 0.5)
    assert not a.grad.any()


def test_a_label_of_a_pair_is_cut_to_a_whole_number() -> None:
    a, b = torch.zeros(1, 2), torch.ones(1, 2)
    assert ContrastiveLoss(0.0).forward(a, b, torch.tensor([0.9])).item() == 0
    assert ContrastiveLoss(0.0).forward(a, b, torch.tensor([-1.5])).item() == 1


@pytest.mark.parametrize("norm", ["L1", "L2"])
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1, 1), (3, 2, 2)])
def test_the_hinge_loss_is_the_sum_of_the_margins(norm: str, shape: tuple[int, ...]) -> None:
    scores, label = np.random.default_rng(4).normal(size=(3, 4)), [3, 0, 1]
    scores[0, 0] = -1.0  # right at the margin: nothing to gain
    given = torch.from_numpy(scores.reshape(shape)).requires_grad_()
    loss = HingeLoss(norm).forward(given, torch.tensor(label, dtype=torch.float32).reshape(3, 1))
    loss.backward()
    expected, gradient = 0.0, np.zeros((3, 4))
    for n, k in np.ndindex(3, 4):
        sign = -1 if label[n] == k else 1
        margin = max(0.0, 1 + sign * scores[n, k])
        expected += margin if norm == "L1" else margin**2
        gradient[n, k] = sign * (float(margin > 0) if norm == "L1" else 2 * margin)
    assert loss.item() == pytest.approx(expected / 3)
    np.testing.assert_allclose(given.grad.reshape(3, 4), gradient / 3, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("EuclideanLoss", [(2, 3), (2, 4)], "its inputs 2x3 and 2x4 differ"),
        ("EuclideanLoss", [(2, 3), (3, 2)], "its inputs 2x3 and 3x2 differ in axis 0, the batch"),
        ("ContrastiveLoss", [(2, 3), (2, 4), (2,)], "its inputs 2x3 and 2x4 differ"),
        ("ContrastiveLoss", [(2, 3), (2, 3), (3,)], "its inputs 2x3 and 3 differ in axis 0, the batch"),
        ("ContrastiveLoss", [(2, 3), (2, 3), (2, 2)], "its 2 pairs have 2x2 labels"),
        ("HingeLoss", [(2, 3), (3,)], "its inputs 2x3 and 3 differ in axis 0, the batch"),
        ("HingeLoss", [(2, 3), (2, 2)], "its scores 2x3 are 2 items, its label 2x2 has 4"),
    ],
)
def test_inputs_that_do_not_match_are_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert refusal(kind, "", *shapes) == (message, f'bottom: "x{len(shapes) - 1}"')


def test_the_l1_loss_is_the_sum_of_distances_over_the_batch() -> None:
    a = torch.tensor([[1.0, -2], [3, 4], [5, 5]], requires_grad=True)
    b = torch.tensor([[0.0, 1], [3, 4.5], [5, 8]])
    loss = L1Loss().forward(a, b)
    loss.backward()
    assert loss.item() == pytest.approx((1 + 3 + 0 + 0.5 + 0 + 3) / 3)
    torch.testing.assert_close(a.grad, torch.tensor([[1.0, -1], [0, -1], [0, -1]]) / 3)


def smooth(x: float, turn: float, slope: float) -> tuple[float, float]:
    """The cost of x and its slope: half of slope x^2 up to `turn`; linear beyond, from where that has come."""
    if abs(x) < turn:
        return slope * x * x / 2, slope * x
    return abs(x) - turn + slope * turn * turn / 2, float(np.sign(x))


@pytest.mark.parametrize(
    ("settings", "turn", "slope"),
    [
        ("", 1, 1),
        ("smooth_l1_loss_param { sigma: 2 }", 0.25, 4),
        ("smoothl1_param { turn_point: 0.5 }", 0.5, 1),
        ("loss_param { normalization: NONE }", 1, 1),
    ],
)
@pytest.mark.parametrize("weights", [0, 1, 2])
def test_the_smooth_l1_loss_is_square_then_linear(
    layer: Callable[..., Layer], settings: str, turn: float, slope: float, weights: int
) -> None:
    own = layer("SmoothL1Loss", settings, *((3, 4),) * (2 + weights))
    random = np.random.default_rng(0)
    a, b, inside, outside = random.normal(size=(4, 3, 4))
    a[0], b[0] = [1, 0, -1, 0.25], 0
    factors = [inside, outside][:weights]
    left, right = (torch.from_numpy(x).requires_grad_() for x in (a, b))
    loss = own.forward(left, right, *map(torch.from_numpy, factors))
    loss.backward()
    each = [smooth(x, turn, slope) for x in ((a - b) * (inside if weights else 1)).flatten()]
    costs, slopes = (np.reshape(column, (3, 4)) for column in zip(*each, strict=True))
    if weights == 2:
        costs, slopes = costs * outside, slopes * outside * inside  # with one weight SSD's gradient lacks it
    count = 1 if "NONE" in settings else 3
    np.testing.assert_allclose(loss.item(), costs.sum() / count)
    assert left.grad is not None
    assert right.grad is not None
    np.testing.assert_allclose(left.grad, slopes / count)
    np.testing.assert_allclose(right.grad, -slopes / count)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("L1Loss", "l1_loss_param { plateau: 1 }", "plateau, of FlowNet2's L1Loss, is not supported"),
        ("SmoothL1Loss", "smooth_l1_loss_param { sigma: 0 }", "sigma is 0"),
        ("SmoothL1Loss", "smoothl1_param { turn_point: -1 }", "turn_point is -1"),
    ],
)
def test_settings_of_distances_that_are_none_are_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, settings: str, message: str
) -> None:
    assert refusal(kind, settings, (3, 4), (3, 4))[0] == message
