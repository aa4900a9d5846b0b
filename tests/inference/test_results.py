"""The best classes, and which output scores them."""

from __future__ import annotations

import numpy as np
import pytest

from nktc.inference.results import Detection, Prediction, best, boxes, detecting, scoring
from nktc.ir import Value


def test_the_most_probable_come_first_and_of_equals_the_lower_number():
    scores = np.array([0.1, 0.4, 0.4, 0.1], np.float32)
    found = best(scores, ("a", "b", "c", "d"), 3)
    assert [(p.index, p.label) for p in found] == [(1, "b"), (2, "c"), (0, "a")]
    assert found[0].probability == pytest.approx(0.4)
    assert len(best(scores, (), 9)) == 4
    assert [p.index for p in best(np.full(1000, 0.001), (), 5)] == [0, 1, 2, 3, 4]


def test_classes_have_numbers_where_the_labels_do_not_count_up():
    assert best(np.eye(3)[1], ("one", "two"), 1) == (Prediction(1, "1", 1.0),)


@pytest.mark.parametrize(
    ("shapes", "blobs", "classes", "expected"),
    [
        ({"a": (0, 10)}, (), 0, "a"),
        ({"a": (1, 10, 1, 1)}, (), 0, "a"),
        ({"a": (0, 10), "b": (0, 3)}, (), 0, "b"),
        ({"a": (0, 10), "b": (0, 3)}, (), 10, "a"),
        ({"a": (0, 10), "b": (0, 3)}, ("b",), 0, "a"),
        ({"a": (0, 10, 7, 7), "b": (0, 3)}, ("b",), 0, "b"),
        ({"a": (0, 10, 7, 7), "b": (5,)}, (), 0, ""),
    ],
)
def test_the_scores_are_the_last_row_of_the_models_own_or_that_with_a_number_for_each_label(
    shapes, blobs, classes, expected
):
    outputs = [Value(name, shape) for name, shape in shapes.items()]
    assert scoring(outputs, blobs, classes) == expected


def test_the_surest_boxes_come_first_and_a_row_of_nothing_is_none():
    rows = np.array([[0, 1, 0.25, 0, 0, 0.5, 1], [0, 2, 0.75, 0.5, 0, 1, 1], [0, 1, 0.75, 0, 0, 1, 1]], np.float32)
    assert boxes(rows, ("none", "cat"), 2) == (
        Detection(2, "2", 0.75, (0.5, 0.0, 1.0, 1.0)),
        Detection(1, "cat", 0.75, (0.0, 0.0, 1.0, 1.0)),
    )
    assert boxes(np.full((1, 7), -1, np.float32), (), 5) == ()


def test_boxes_are_in_the_output_of_as_many_rows_as_are_found():
    shapes = {"a": (0, 10), "b": (1, 1, 0, 7), "c": (1, 1, 0, 5)}
    assert detecting([Value(name, shape) for name, shape in shapes.items()]) == "b"
    assert detecting([Value("b", (1, 1, 7, 7))]) == ""
