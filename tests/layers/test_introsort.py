"""The order of equal values, as libstdc++ leaves it."""

from __future__ import annotations

import numpy as np
import pytest

from nktc.layers import introsort
from nktc.layers.introsort import introsorted

# What a program that calls std::sort once, with >, printed: g++ 12.2.
FORTY = [i * i % 7 for i in range(40)]
DEEP = [value for i in range(19) for value in (-i, -19 - i)] + [-i for i in range(1, 39)]
PRINTED = [
    (
        FORTY,
        (
            "30 16 33 12 19 9 37 23 5 2 26 39 31 24 25 18 17 32 11 10 38 4 3 34 36 29 20 27 22 15 13 8 6 1 28 21 "
            "0 14 35 7"
        ),
    ),
    ([0] * 20, ("10 19 18 17 16 15 14 13 12 11 0 9 8 7 6 5 4 3 2 1")),
    (
        DEEP,
        (
            "0 38 2 39 4 40 6 41 8 42 10 43 12 14 44 45 16 46 18 20 47 48 22 49 24 50 26 51 28 52 30 53 32 54 34 "
            "55 36 1 56 57 3 58 5 59 7 60 9 61 11 62 13 63 15 17 64 19 65 21 66 23 67 25 68 69 27 29 70 31 71 72 "
            "33 73 35 37 74 75"
        ),
    ),
]


@pytest.mark.parametrize(("values", "printed"), PRINTED)
def test_equal_values_are_where_the_library_leaves_them(values: list[int], printed: str) -> None:
    assert introsorted(np.array(values, np.float32)).tolist() == [int(place) for place in printed.split()]


def test_where_quicksort_goes_too_deep_a_heap_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, heapsorted = [], introsort._heapsorted
    monkeypatch.setattr(introsort, "_heapsorted", lambda *given: calls.append(given) or heapsorted(*given))
    introsorted(np.array(DEEP, np.float32))
    assert calls


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 300])
def test_any_values_are_sorted_downward(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 40, count).astype(np.float32)
    order = introsorted(values)
    assert sorted(order.tolist()) == list(range(count))
    np.testing.assert_array_equal(values[order], np.sort(values)[::-1])


def test_up_to_sixteen_equal_values_keep_their_order() -> None:
    values = np.array([2, 1] * 8, np.float32)
    assert introsorted(values).tolist() == [*range(0, 16, 2), *range(1, 16, 2)]
