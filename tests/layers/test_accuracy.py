"""Accuracy against Caffe's count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nktc.layers import Accuracy


def counted(scores: np.ndarray, label: np.ndarray, layer: Accuracy) -> tuple[float, list[float]]:
    """scores[n c], label[n]: the share found, over all and for each class, one item at a time."""
    found, seen = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    for row, wanted in zip(scores, label.astype(int), strict=True):
        if wanted == layer.ignore:
            continue
        better = sum(row >= row[wanted]) - 1
        found[wanted] += better < layer.top_k
        seen[wanted] += 1
    return found.sum() / max(1, seen.sum()), list(found / np.maximum(1, seen))


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("ignore", [None, 2, 255])
def test_it_is_the_share_of_labels_among_the_best_scores(top_k: int, ignore: int | None) -> None:
    random = np.random.default_rng(1)
    scores = random.integers(0, 4, (60, 4)).astype(np.float32)  # many ties
    label = random.integers(0, 3, 60).astype(np.float32)  # a class that never occurs
    if ignore == 255:
        label[::5] = 255
    layer = Accuracy(top_k, 1, ignore, per_class=True)
    total, classes = layer.forward(torch.from_numpy(scores), torch.from_numpy(label))
    expected, of_each = counted(scores, label, layer)
    assert total.item() == pytest.approx(expected)
    assert classes.tolist() == pytest.approx(of_each)


def test_a_tie_counts_against_the_label() -> None:
    assert Accuracy().forward(torch.tensor([[1.0, 1.0]]), torch.tensor([0.0])).item() == 0
    assert Accuracy(2).forward(torch.tensor([[1.0, 1.0]]), torch.tensor([0.0])).item() == 1


def test_nothing_but_ignored_items_is_zero() -> None:
    assert Accuracy(ignore=1).forward(torch.randn(3, 2), torch.ones(3)).item() == 0


@pytest.mark.parametrize(("axis", "shape"), [(0, (3, 2, 4)), (1, (2, 3, 4)), (-1, (2, 4, 3))])
def test_the_classes_are_on_any_axis(axis: int, shape: tuple[int, ...]) -> None:
    scores, label = torch.randn(shape), torch.randint(0, 3, (2, 4)).float()
    rows = scores.movedim(axis, -1).reshape(-1, 3)
    expected, _ = counted(rows.numpy(), label.flatten().numpy(), Accuracy())
    assert Accuracy(axis=axis).forward(scores, label).item() == pytest.approx(expected)


def test_a_second_top_has_the_classes(layer: Callable[..., Accuracy]) -> None:
    assert layer("Accuracy", "", (4, 3), (4,)).shape((4, 3), (4,)) == ()
    assert layer("Accuracy", "", (4, 3), (4,), tops=2).shape((4, 3), (4,)) == [(), (3,)]


def test_refusals(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("Accuracy", "accuracy_param { top_k: 4 }", (4, 3), (4,)) == (
        "top_k 4 is more than its 3 classes",
        "top_k: 4",
    )
    assert refusal("Accuracy", "accuracy_param { top_k: 0 }", (4, 3), (4,)) == ("top_k is 0", "top_k: 0")
    assert refusal("Accuracy", "", (4, 3), (4, 2)) == (
        "its scores 4x3 are 4 items, its label 4x2 has 8",
        'bottom: "x1"',
    )
    assert refusal("Accuracy", "accuracy_param { ignore_label: 1 }", (4, 3), (4, 3)) == (
        "its label 4x3 has one share a class, and no label to ignore",
        "ignore_label: 1",
    )


@pytest.mark.parametrize("tops", [1, 2])
def test_of_a_label_with_one_share_a_class_the_largest_is_taken(layer: Callable[..., Any], tops: int) -> None:
    random = torch.Generator().manual_seed(1)
    scores, shares = torch.rand(40, 5, 3, generator=random), torch.rand(40, 5, 3, generator=random)
    by_share = layer("Accuracy", "", (40, 5, 3), (40, 5, 3), tops=tops).forward(scores, shares)
    by_number = layer("Accuracy", "", (40, 5, 3), (40, 3), tops=tops).forward(scores, shares.argmax(1).float())
    torch.testing.assert_close(by_share, by_number, rtol=0, atol=0)
