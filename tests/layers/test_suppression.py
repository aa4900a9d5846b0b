"""Which boxes stay, against a plain loop written from the definition."""

from __future__ import annotations

import numpy as np
import pytest

from nktc.layers.suppression import LOWEST, Choice, greedy


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection by union; swapped sides have no area."""

    def area(box: np.ndarray) -> float:
        return 0.0 if box[2] < box[0] or box[3] < box[1] else float((box[2] - box[0]) * (box[3] - box[1]))

    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = float(width * height) if width > 0 and height > 0 else 0.0
    return common / (area(a) + area(b) - common) if common else 0.0


def plainly(boxes: np.ndarray, scores: np.ndarray, choice: Choice) -> list[list[float]]:
    rows = []
    for image in range(len(boxes)):
        found: list[tuple[float, int, int]] = []
        for label in range(scores.shape[1]):
            if label == choice.background:
                continue
            likely = scores[image, label]
            order = sorted((p for p in range(len(likely)) if likely[p] > choice.threshold), key=lambda p: -likely[p])
            own = boxes[image, :, 0 if boxes.shape[2] == 1 else label]
            kept: list[int] = []
            limit = choice.overlap
            for p in order if choice.top_k < 0 else order[: choice.top_k]:
                if all(overlap(own[p], own[q]) <= limit for q in kept):
                    kept.append(p)
                    if choice.eta < 1 and limit > 0.5:
                        limit *= choice.eta
            found += [(float(likely[p]), label, p) for p in kept]
        if 0 <= choice.keep_top_k < len(found):
            found = sorted(found, key=lambda one: -one[0])[: choice.keep_top_k]
        for score, label, p in sorted(found, key=lambda one: (one[1], -one[0])):
            rows.append([image, label, score, *boxes[image, p, 0 if boxes.shape[2] == 1 else label].tolist()])
    return rows


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "choice",
    [
        Choice(0, LOWEST, 0.3, 1.0, -1, -1),
        Choice(2, 0.4, 0.5, 1.0, 9, 6),
        Choice(-1, 0.5, 0.0, 1.0, 12, 40),
        Choice(0, 0.1, 0.9, 0.8, -1, 11),
        Choice(1, 0.2, 1.0, 1.0, 5, 3),
    ],
)
def test_rows_are_those_of_a_plain_loop(choice: Choice, shared: bool) -> None:
    random = np.random.default_rng(1)
    corners = random.random((2, 30, 1 if shared else 4, 2))
    sides = random.normal(0.3, 0.25, corners.shape)  # some are swapped
    boxes = np.concatenate([corners, corners + sides], -1).astype(np.float32)
    scores = random.random((2, 4, 30)).astype(np.float32)
    found = choice.rows(boxes, scores)
    np.testing.assert_allclose(found, np.array(plainly(boxes, scores, choice)), rtol=1e-6)


@pytest.mark.parametrize(
    "choice", [Choice(0, 2.0, 0.3, 1.0, -1, -1), Choice(0, 0.0, 0.3, 1.0, 0, -1), Choice(0, 0.0, 0.3, 1.0, -1, 0)]
)
def test_where_nothing_is_found_each_image_has_a_row_of_ones_below_zero(choice: Choice) -> None:
    found = choice.rows(np.ones((2, 5, 1, 4), np.float32), np.ones((2, 3, 5), np.float32))
    assert found.tolist() == [[0, *[-1] * 6], [1, *[-1] * 6]]


def test_a_score_at_the_threshold_is_none_and_that_of_no_number_either() -> None:
    scores = np.array([[[0, 0, 0], [0.5, np.nan, 0.6]]], np.float32)
    found = Choice(0, 0.5, 0.3, 1.0, -1, -1).rows(np.zeros((1, 3, 1, 4), np.float32), scores)
    np.testing.assert_allclose(found[:, :3], [[0, 1, 0.6]])


def test_equal_scores_keep_the_order_of_their_priors() -> None:
    boxes = np.arange(12, dtype=np.float32).reshape(1, 3, 1, 4)
    found = Choice(0, 0.0, 0.3, 1.0, -1, -1).rows(boxes, np.ones((1, 2, 3), np.float32))
    np.testing.assert_array_equal(found[:, 3], [0, 4, 8])


def test_greedy_stops_when_it_has_enough() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]], np.float32)
    assert greedy(boxes, np.arange(4), 0.5, most=2).tolist() == [0, 2]
