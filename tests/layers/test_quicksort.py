"""The order of equal values in PVANet's quicksort, against two places that walk towards each other."""

from __future__ import annotations

import numpy as np
import pytest

from nktc.layers.quicksort import quicksorted


def walking(values: list[float], most: int) -> list[int]:
    """Sort downward as the definition has it: one place walks up to a value below the pivot, one down to one above."""
    places = list(range(len(values)))

    def sort(first: int, last: int) -> None:
        pivot, up, down = values[places[first]], first + 1, last
        while up <= down:
            while up <= last and values[places[up]] >= pivot:
                up += 1
            while down > first and values[places[down]] <= pivot:
                down -= 1
            if up <= down:
                places[up], places[down] = places[down], places[up]
                up, down = up + 1, down - 1
        places[first], places[down] = places[down], places[first]
        if first < down - 1:
            sort(first, down - 1)
        if down + 1 < min(most, last):
            sort(down + 1, last)

    if values:
        sort(0, len(values) - 1)
    return places[:most]


@pytest.mark.parametrize("most", [3, 20, 1000])
@pytest.mark.parametrize(("count", "different"), [(0, 1), (1, 1), (2, 1), (60, 3), (60, 12), (60, 10000), (200, 5)])
def test_equal_values_are_where_the_walk_leaves_them(count: int, different: int, most: int) -> None:
    values = np.random.default_rng(count).integers(0, different, count).astype(np.float32)
    assert quicksorted(values, most).tolist() == walking(values.tolist(), most)


def test_a_value_above_the_pivot_takes_its_place() -> None:
    # 3 and 1 change places, and then 2, the pivot, and 3; what equals the pivot stays behind it.
    assert quicksorted(np.array([2, 1, 2, 3, 2], np.float32), 5).tolist() == [3, 0, 2, 4, 1]


def test_boxes_that_all_score_0_stay_in_their_order() -> None:
    assert quicksorted(np.zeros(50000, np.float32), 6000).tolist() == list(range(6000))


def test_values_that_rise_are_sorted_without_going_on_for_ever() -> None:
    values = np.arange(3000, dtype=np.float32).repeat(2)  # each pivot parts off itself alone
    order = quicksorted(values, 6000)
    assert sorted(order.tolist()) == list(range(6000))
    assert (np.diff(values[order]) <= 0).all()
