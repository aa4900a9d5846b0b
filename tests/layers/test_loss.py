"""SoftmaxWithLoss, EuclideanLoss: values, floors, divisors, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import EuclideanLoss, SoftmaxWithLoss

FLOOR = float(np.finfo(np.float32).tiny)


def expected(scores: np.ndarray, label: np.ndarray, layer: SoftmaxWithLoss) -> tuple[float, np.ndarray]:
    """scores[n c p], label[n p]: Caffe's loss and gradient, one item at a time."""
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    loss, gradient, valid = 0.0, probabilities.copy(), 0
    for n, p in np.ndindex(*label.shape):
        wanted = int(label[n, p])
        if wanted == layer.ignore:
            gradient[n, :, p] = 0
            continue
        valid += 1
        loss -= math.log(max(probabilities[n, wanted, p], FLOOR))
        gradient[n, wanted, p] -= 1
    divisor = {"FULL": label.size, "VALID": valid, "BATCH_SIZE": len(label), "NONE": 1}[layer.normalization]
    return loss / max(1, divisor), gradient / max(1, divisor)


@pytest.mark.parametrize("ignore", [None, 1, 255, "all"])
@pytest.mark.parametrize("normalization", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_it_is_the_mean_log_of_the_labels_probability(normalization: str, ignore: int | str | None) -> None:
    random = np.random.default_rng(1)
    scores, label = random.normal(size=(4, 3, 5)) * 3, random.integers(0, 3, (4, 5))
    label[0, :2] = 255 if ignore == 255 else 0
    if ignore == "all":
        label[:], ignore = 1, 1
    assert not isinstance(ignore, str)
    layer = SoftmaxWithLoss(1, ignore, normalization)
    given = torch.from_numpy(scores).requires_grad_()
    loss = layer.forward(given, torch.from_numpy(label).float())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    value, gradient = expected(scores, label, layer)
    assert loss.item() == pytest.approx(value)
    np.testing.assert_allclose(given.grad, gradient, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("distance", [50.0, 87.0, 100.0, 1e4, 1e8])
def test_the_floor_of_a_probability_is_one_of_the_value_not_of_the_gradient(distance: float) -> None:
    scores = torch.tensor([[0.0, distance]], requires_grad=True)
    loss = SoftmaxWithLoss().forward(scores, torch.zeros(1))
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert loss.item() == pytest.approx(min(distance, -math.log(FLOOR)), rel=1e-6)
    assert scores.grad is not None
    assert scores.grad.tolist() == [[pytest.approx(-1), pytest.approx(1)]]


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1, 1)])
def test_a_label_has_any_shape_of_one_number_an_item(shape: tuple[int, ...]) -> None:
    scores, label = torch.randn(4, 3), torch.tensor([0.0, 2.0, 1.0, 2.0])
    found = SoftmaxWithLoss().forward(scores, label.reshape(shape))
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(scores, label.long()))
    assert SoftmaxWithLoss().shape((4, 3), shape) == ()


def test_a_label_that_is_no_class_is_an_error_even_if_torch_would_ignore_it() -> None:
    with pytest.raises(IndexError):
        SoftmaxWithLoss().forward(torch.randn(1, 3), torch.tensor([-100.0]))


def test_a_second_top_has_the_probabilities_and_takes_no_gradient(
    layer: Callable[..., SoftmaxWithLoss],
) -> None:
    it = layer("SoftmaxWithLoss", "loss_weight: 1 loss_weight: 0", (2, 3), (2,), tops=2)
    scores = torch.randn(2, 3, requires_grad=True)
    loss, probabilities = it.forward(scores, torch.zeros(2))
    torch.testing.assert_close(probabilities, scores.detach().softmax(1))
    assert loss.requires_grad
    assert not probabilities.requires_grad


@pytest.mark.parametrize(
    ("settings", "normalization"),
    [
        ("", "VALID"),
        ("normalization: FULL", "FULL"),
        ("normalize: false", "BATCH_SIZE"),
        ("normalize: true", "VALID"),
        ("normalize: false normalization: NONE", "NONE"),
    ],
)
def test_the_old_spelling_of_normalization_counts_alone(
    layer: Callable[..., SoftmaxWithLoss], settings: str, normalization: str
) -> None:
    it = layer("SoftmaxWithLoss", f"loss_param {{ {settings} }}", (2, 3), (2,))
    assert it.normalization == normalization


def test_the_euclidean_loss_is_half_the_squared_distance_over_the_batch() -> None:
    a, b = torch.randn(3, 4, requires_grad=True), torch.randn(3, 2, 2, requires_grad=True)
    loss = EuclideanLoss().forward(a, b)
    loss.backward()
    difference = a.detach() - b.detach().reshape(3, 4)
    torch.testing.assert_close(loss.detach(), (difference**2).sum() / 6)
    torch.testing.assert_close(a.grad, difference / 3)
    torch.testing.assert_close(b.grad, -(difference / 3).reshape(3, 2, 2))


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("SoftmaxWithLoss", [(2, 3), (3,)], "its inputs 2x3 and 3 differ in axis 0, the batch"),
        ("SoftmaxWithLoss", [(2, 3, 4), (2, 3)], "its scores 2x3x4 are 8 items, its label 2x3 has 6"),
        ("EuclideanLoss", [(2, 3), (2, 4)], "its inputs 2x3 and 2x4 differ"),
        ("EuclideanLoss", [(2, 3), (3, 2)], "its inputs 2x3 and 3x2 differ in axis 0, the batch"),
    ],
)
def test_inputs_that_do_not_match_are_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert refusal(kind, "", *shapes) == (message, 'bottom: "x1"')
