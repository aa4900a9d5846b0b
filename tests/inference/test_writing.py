"""Which form an output has, and where results go."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.inference import Prediction, Result, Tally, form_of, write

RESULTS = [
    Result("a", (Prediction(0, "0", 1.0),), outputs={"x": np.ones(3)}),
    Result("b", error="b is gone"),
    Result("c", (Prediction(1, "1", 1.0),), outputs={"x": np.zeros(3)}),
]


@pytest.mark.parametrize(
    ("path", "asked", "form"),
    [
        (None, "", "table"),
        (None, "csv", "csv"),
        ("a.JSON", "", "json"),
        ("a.jsonl", "", "jsonl"),
        ("a.csv", "csv", "csv"),
        ("a.b", "json", "json"),
        ("a.txt", "", "table"),
        ("a.npz", "", "npz"),
        ("a.hdf5", "", "hdf5"),
        ("a.lmdb", "", "lmdb"),
    ],
)
def test_the_form_is_asked_for_or_in_the_name(path, asked, form):
    assert form_of(path and Path(path), asked) == form


def test_names_that_say_nothing_or_something_else_are_refused():
    with pytest.raises(NktcError) as caught:
        form_of(Path("a.xls"))
    assert str(caught.value) == (
        "error: the name of a.xls does not say what it is to hold\n"
        "help: let it end in one of .json, .jsonl, .csv, .txt, .npz, .h5, .hdf5, .lmdb"
    )
    with pytest.raises(NktcError, match=r"a.npz is called as npz is, and json is asked for"):
        form_of(Path("a.npz"), "json")


def test_text_goes_to_standard_output_as_it_comes_and_errors_are_counted(capsys):
    assert write(iter(RESULTS), "table") == Tally(3, 1)
    assert capsys.readouterr().out.splitlines()[0] == "a"


def test_a_file_is_there_whole_or_not_at_all(tmp_path, capsys):
    def failing():
        yield RESULTS[0]
        raise NktcError("the end")

    with pytest.raises(NktcError, match="the end"):
        write(failing(), "json", tmp_path / "out.json")
    assert not list(tmp_path.iterdir())
    assert write(iter(RESULTS), "json", tmp_path / "out.json") == Tally(3, 1)
    assert len(json.loads((tmp_path / "out.json").read_text())) == 3
    assert capsys.readouterr() == ("", "")


def test_arrays_have_no_place_for_errors_so_they_are_told(tmp_path):
    told: list[str] = []
    results = [*RESULTS, Result("d", error="broken")]
    assert write(iter(results), "npz", tmp_path / "f.npz", outputs=["x"], tell=told.append) == Tally(4, 2)
    assert told == ["b is gone", "d: broken"]
    with np.load(tmp_path / "f.npz") as found:
        assert found["names"].tolist() == ["a", "c"]
