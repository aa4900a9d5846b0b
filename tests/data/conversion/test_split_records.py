"""Records dealt out to train, val and test."""

from __future__ import annotations

import sys
from types import FrameType

import numpy as np
import pytest

from nktc.data.conversion.split import deal
from nktc.errors import NktcError


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.0), (0.0, 0.25), (0.15, 0.2), (0.333, 0.333)])
def test_every_record_is_in_one_part_and_each_class_has_its_share(val: float, test: float) -> None:
    classes = np.random.RandomState(0).choice(5, 997, p=[0.5, 0.3, 0.1, 0.07, 0.03])
    parts = deal(classes, val, test, 7)
    assert list(parts) == ["train", *(["val"] if val else []), *(["test"] if test else [])]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(997))
    shares = {"val": val, "test": test}
    for name, records in parts.items():
        assert (np.diff(records) > 0).all()
        if name == "train":
            continue
        assert len(records) == round(shares[name] * 997)
        for one in range(5):
            exact = shares[name] * (classes == one).sum()
            assert abs((classes[records] == one).sum() - exact) < 1


def test_totals_are_right_where_every_class_is_rounded_down() -> None:
    # Ten classes of 9: a tenth of each is 0.9, of all 9.
    parts = deal(np.repeat(np.arange(10), 9), 0.1, 0, 0)
    assert len(parts["val"]) == 9
    assert len({*(parts["val"] // 9).tolist()}) == 9


def test_the_parts_follow_from_the_seed() -> None:
    classes = np.repeat(np.arange(4), 25)
    first, again, other = (deal(classes, 0.2, 0.2, seed) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert first[name].tolist() != other[name].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_classes_of_one_record_each_do_not_go_by_their_order(seed: int) -> None:
    # Prices: were ties given to the lowest, val would have the cheapest.
    prices = np.random.RandomState(seed).permutation(5000)
    parts = deal(prices, 0.1, 0.2, seed)
    assert [len(part) for part in parts.values()] == [3500, 500, 1000]
    for records in parts.values():
        error = prices.std() / np.sqrt(len(records))
        assert abs(prices[records].mean() - prices.mean()) < 3.5 * error


def test_which_class_is_rounded_up_is_drawn_by_the_seed() -> None:
    counts = np.zeros(10)
    for seed in range(200):
        counts[deal(np.repeat(np.arange(10), 5), 0.1, 0, seed)["val"] // 5] += 1
    assert (np.abs(counts - 100) < 35).all()  # 5 of 10 each time; a deviation is 7


def test_more_classes_take_no_more_calls() -> None:
    def calls(classes: int) -> int:
        found = 0

        def count(frame: FrameType, event: str, arg: object) -> None:
            nonlocal found
            found += event in ("call", "c_call")

        labels = np.arange(classes)
        sys.setprofile(count)
        try:
            deal(labels, 0.2, 0.1, 0)
        finally:
            sys.setprofile(None)
        return found

    assert calls(4000) == calls(400)


@pytest.mark.parametrize(
    ("val", "test", "said"),
    [
        (0.5, 0.5, "val 0.5 and test 0.5 leave nothing to train on"),
        (0.01, 0, "its val part is empty: 10 records, val 0.01, test 0"),
    ],
)
def test_shares_that_leave_nothing_are_refused(val: float, test: float, said: str) -> None:
    with pytest.raises(NktcError) as refused:
        deal(np.zeros(10, np.int64), val, test, 0)
    assert refused.value.message == said
