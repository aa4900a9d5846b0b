"""The order in which the C++ library's std::sort leaves equal values, which SSD's choice of boxes hangs on.

It is libstdc++'s: quicksort around the median of three until pieces are short, heapsort where that goes too deep, and
insertion at the end. Only where values are equal is the order not that of any other sort.
"""

from __future__ import annotations

import numpy as np

SHORT = 16  # pieces up to this length are left to the insertion at the end


def introsorted(values: np.ndarray) -> np.ndarray:
    """The places of the values in falling order; equal ones are in the order that std::sort leaves them in."""
    if len(np.unique(values)) == len(values):
        return np.argsort(-values, kind="stable")
    keys = [-value for value in values.tolist()]
    places = list(range(len(keys)))
    _pieces(keys, places, 0, len(keys), 2 * (len(keys).bit_length() - 1))
    # Insertion keeps the order of equal values.
    found = np.array(places)
    return found[np.argsort(-values[found], kind="stable")]


def _pieces(keys: list[float], places: list[int], first: int, last: int, depth: int) -> None:
    """Bring places[first:last], by their keys, into pieces of `SHORT` at most that are in order among each other."""
    while last - first > SHORT:
        if not depth:
            places[first:last] = _heapsorted(keys, places[first:last])
            return
        depth -= 1
        cut = _parted(keys, places, first, last)
        _pieces(keys, places, cut, last, depth)
        last = cut


def _parted(keys: list[float], places: list[int], first: int, last: int) -> int:
    """Part places[first:last] around the median of three; gives where the second part begins."""
    second, middle, end = first + 1, first + (last - first) // 2, last - 1
    median = (second, middle, end)[_median(*(keys[places[at]] for at in (second, middle, end)))]
    places[first], places[median] = places[median], places[first]
    pivot = keys[places[first]]
    low, high = second, last
    while True:
        while keys[places[low]] < pivot:
            low += 1
        high -= 1
        while pivot < keys[places[high]]:
            high -= 1
        if low >= high:
            return low
        places[low], places[high] = places[high], places[low]
        low += 1


def _median(a: float, b: float, c: float) -> int:
    """Which of the three std::sort takes for the median."""
    if a < b:
        return 1 if b < c else 2 if a < c else 0
    return 0 if a < c else 2 if b < c else 1


def _heapsorted(keys: list[float], places: list[int]) -> list[int]:
    """The places as std::partial_sort leaves them when it sorts them all."""
    heap = list(places)
    for start in reversed(range(len(heap) // 2)):
        _sink(keys, heap, start, len(heap), heap[start])
    for end in reversed(range(1, len(heap))):
        last = heap[end]
        heap[end] = heap[0]
        _sink(keys, heap, 0, end, last)
    return heap


def _sink(keys: list[float], heap: list[int], hole: int, end: int, place: int) -> None:
    """Put `place` into the heap heap[:end], whose element at `hole` is free, as std::__adjust_heap does."""
    top, child = hole, hole
    while child < (end - 1) // 2:
        child = 2 * child + 2
        if keys[heap[child]] < keys[heap[child - 1]]:
            child -= 1
        heap[hole] = heap[child]
        hole = child
    if end % 2 == 0 and child == (end - 2) // 2:
        child = 2 * child + 1
        heap[hole] = heap[child]
        hole = child
    parent = (hole - 1) // 2
    while hole > top and keys[heap[parent]] < keys[place]:
        heap[hole] = heap[parent]
        hole, parent = parent, (parent - 1) // 2
    heap[hole] = place
