"""Results as text: what people read, and what programs do."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.inference import FORMS, Detection, Prediction, Result, plain

BEST = (Prediction(3, "cat, big", 0.9), Prediction(0, "dog", 0.0625))
CLASSES = [Result("a.png", BEST), Result("b.png", error="b.png is gone"), Result("c.png", BEST[:1])]
ARRAYS = [
    Result("bad.png", error="gone"),
    Result("a", outputs={"x": np.arange(4, dtype=np.float32).reshape(2, 2), "n": np.int64(7).reshape(())}),
    Result("b", outputs={"x": np.float32([[1, np.nan], [np.inf, 0.1]]), "n": np.int64(8).reshape(())}),
]


def text(form: str, results: list[Result]) -> str:
    return "".join(FORMS[form](iter(results)))


def test_a_table_has_a_paragraph_for_each(golden):
    golden(
        text("table", CLASSES),
        """
        a.png
            90.00%  cat, big
             6.25%  dog
        b.png
          error: b.png is gone
        c.png
            90.00%  cat, big
        """,
    )
    golden(
        text("table", ARRAYS),
        """
        bad.png
          error: gone
        a
          x 2x2  0 1 2 3
          n a single number  7
        b
          x 2x2  1 nan inf 0.1
          n a single number  8
        """,
    )
    assert "  x 100  0 1 2 3 4 5 6 7 …\n" in text("table", [Result("a", outputs={"x": np.arange(100)})])


def test_what_are_no_shares_are_not_shown_as_such(golden):
    golden(
        text("table", [Result("a", (Prediction(1, "1", 12.5), Prediction(0, "0", -3.25)))]),
        """
        a
            12.5000  1
            -3.2500  0
        """,
    )


@pytest.mark.parametrize("results", [[], CLASSES, ARRAYS], ids=["none", "classes", "arrays"])
def test_json_and_json_lines_say_the_same(results):
    whole = json.loads(text("json", results))
    assert whole == [plain(result) for result in results]
    assert [json.loads(line) for line in text("jsonl", results).splitlines()] == whole
    if results is CLASSES:
        assert text("json", results) == json.dumps(whole, indent=2) + "\n"
        assert whole[1] == {"path": "b.png", "predictions": [], "error": "b.png is gone"}


def test_what_is_no_number_is_null_in_json():
    one = plain(ARRAYS[2])
    assert one["outputs"]["x"] == [[1.0, None], [None, pytest.approx(0.1)]]
    assert plain(Result("a", (Prediction(0, "0", float("nan")),)))["predictions"][0]["probability"] is None


def test_csv_has_a_line_for_each_class_and_each_error():
    rows = list(csv.reader(io.StringIO(text("csv", CLASSES))))
    assert rows == [
        ["path", "rank", "index", "label", "probability", "error"],
        ["a.png", "1", "3", "cat, big", "0.9", ""],
        ["a.png", "2", "0", "dog", "0.0625", ""],
        ["b.png", "", "", "", "", "b.png is gone"],
        ["c.png", "1", "3", "cat, big", "0.9", ""],
    ]


def test_csv_of_outputs_has_a_column_for_each_number():
    rows = list(csv.reader(io.StringIO(text("csv", ARRAYS))))
    assert rows[0] == ["path", "x[0]", "x[1]", "x[2]", "x[3]", "n", "error"]
    assert rows[1] == ["bad.png", "", "", "", "", "", "gone"]
    assert rows[2] == ["a", "0.0", "1.0", "2.0", "3.0", "7", ""]
    assert list(csv.reader(io.StringIO(text("csv", ARRAYS[:1])))) == [["path", "error"], ["bad.png", "gone"]]
    with pytest.raises(NktcError) as caught:
        text("csv", [*ARRAYS, Result("c", outputs={"x": np.zeros(3)})])
    assert caught.value.message == "c has 3 numbers, those before it 5, so they have no columns in common"


def test_boxes_have_their_corners_in_every_form(golden):
    cat = Detection(3, "cat", 0.5, (0.25, -0.125, 1.0, 0.75))
    found = [Result("a.png", detector=True), Result("b.png", (cat,), detector=True)]
    golden(
        text("table", found),
        """
        a.png
          nothing found
        b.png
            50.00%  cat  0.2500  -0.1250  1.0000  0.7500
        """,
    )
    empty, one = (json.loads(line) for line in text("jsonl", found).splitlines())
    assert empty["predictions"] == []
    assert one["predictions"] == [{"index": 3, "label": "cat", "probability": 0.5, "box": [0.25, -0.125, 1.0, 0.75]}]
    assert text("csv", found) == (
        "path,rank,index,label,probability,xmin,ymin,xmax,ymax,error\nb.png,1,3,cat,0.5,0.25,-0.125,1.0,0.75,\n"
    )
