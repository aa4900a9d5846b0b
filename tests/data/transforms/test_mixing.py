"""Mixup and cutmix: pictures and labels told from one share, which is found in the result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nktc.data.transforms import chance, mixing
from nktc.errors import NktcError

SHAPE = (5, 3, 8, 10)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(4)), torch.tensor([0.0, 1, 2, 1, 3])


def counters(k: int) -> np.ndarray:
    return np.arange(5 * k, 5 * k + 5, dtype=np.uint64)


def share_of(labels: torch.Tensor) -> float:
    """The share of the first item's own class; its partner, the last item, has another."""
    return float(labels[0, 0])


def labelled(share: float, numbers: list[int], classes: int) -> np.ndarray:
    expected = np.zeros((len(numbers), classes))
    for i, number in enumerate(numbers):
        expected[i, number] += share
        expected[i, numbers[len(numbers) - 1 - i]] += 1 - share
    return expected


def test_mixup_mixes_pictures_and_labels_by_one_share() -> None:
    seen = []
    for k in range(20):
        x, labels = batch()
        found, shares = mixing.mixed(x.clone(), labels, 6, 1.0, 0.0, 7, counters(k))
        share = share_of(shares)
        for i in range(5):
            np.testing.assert_allclose(found[i], share * x[i] + (1 - share) * x[4 - i], atol=1e-6)
        np.testing.assert_allclose(shares, labelled(share, [0, 1, 2, 1, 3], 6), atol=1e-6)
        seen.append(share)
    assert len(set(seen)) == 20


def test_cutmix_pastes_a_box_and_shares_labels_by_its_true_area() -> None:
    for k in range(40):
        x, labels = batch()
        found, shares = mixing.mixed(x.clone(), labels, 4, 0.0, 1.0, 7, counters(k))
        pasted = (found[0] != x[0]).all(0)
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        if len(rows):
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            assert pasted[box].all()
            assert len(rows) * len(columns) == int(pasted.sum())
        for i in range(5):
            assert torch.equal(found[i], torch.where(pasted, x[4 - i], x[i]))
        share = share_of(shares)
        assert share == pytest.approx(1 - int(pasted.sum()) / 80)
        np.testing.assert_allclose(shares, labelled(share, [0, 1, 2, 1, 3], 4), atol=1e-6)


def test_with_both_each_batch_takes_one_of_them() -> None:
    pastes = 0
    for k in range(200):
        x, labels = batch()
        found, _ = mixing.mixed(x.clone(), labels, 4, 1.0, 1.0, 7, counters(k))
        pastes += bool(((found[0] == x[0]) | (found[0] == x[4])).all())
    assert 75 <= pastes <= 125


def test_a_batch_is_mixed_the_same_again_and_by_another_seed_otherwise() -> None:
    x, labels = batch()
    first, _ = mixing.mixed(x.clone(), labels, 4, 1.0, 1.0, 7, counters(3))
    again, _ = mixing.mixed(x.clone(), labels, 4, 1.0, 1.0, 7, counters(3))
    other, _ = mixing.mixed(x.clone(), labels, 4, 1.0, 1.0, 8, counters(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_middle_item_of_an_odd_batch_stays_as_it_is() -> None:
    x, labels = batch()
    found, shares = mixing.mixed(x.clone(), labels, 4, 0.3, 0.0, 7, counters(0))
    np.testing.assert_allclose(found[2], x[2], atol=1e-6)
    np.testing.assert_allclose(shares[2], [0, 0, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (4.0, "label 4 is outside the 4 classes of mixed labels"),
        (-1.0, "label -1 is outside the 4 classes of mixed labels"),
    ],
)
def test_a_label_outside_the_classes_is_refused(wrong: float, said: str) -> None:
    x, labels = batch()
    labels[3] = wrong
    with pytest.raises(NktcError) as refused:
        mixing.mixed(x, labels, 4, 1.0, 0.0, 7, counters(0))
    assert refused.value.message == said


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0, 50.0])
def test_shares_have_the_mean_and_the_spread_of_a_beta_distribution(alpha: float) -> None:
    drawn = np.array([chance.beta(1, "share", k, alpha) for k in range(1500)])
    assert (drawn >= 0).all()
    assert (drawn <= 1).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert drawn.mean() == pytest.approx(0.5, abs=4 * np.sqrt(variance / 1500))
    assert drawn.var() == pytest.approx(variance, rel=0.12)
    fourth = variance**2 * (3 - 6 / (2 * alpha + 3))
    assert ((drawn - 0.5) ** 4).mean() == pytest.approx(fourth, rel=0.25)


@pytest.mark.parametrize("alpha", [1e-300, 1e-6, 1000.0])
def test_shares_of_extreme_alphas_are_numbers_all_the_same(alpha: float) -> None:
    drawn = [chance.beta(1, "share", k, alpha) for k in range(50)]
    assert all(0 <= share <= 1 for share in drawn)
    if alpha < 1:
        assert all(min(share, 1 - share) < 1e-6 for share in drawn)
        assert 10 < sum(drawn) < 40
