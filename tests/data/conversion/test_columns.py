"""Comma-separated files, and the tables that conversions make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nktc.data.conversion.columns import classes_of, read_table
from nktc.data.conversion.plan import Unusable
from nktc.data.conversion.plan_table import Columns, plan_of_table
from nktc.errors import NktcError


def written(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return folder / "t.csv"


def test_a_table_is_its_columns(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, '\ufeffa, b\n1,"x, y"\n\n2 ,"two\nlines"\n3\n'))
    assert table.columns == {"a": ("1", "2", "3"), "b": ("x, y", "two\nlines", "")}
    assert list(table.lines) == [2, 5, 6]
    assert table.short == {2: 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [("a,a\n1,2\n", 'has two columns "a"'), ("a,b\n", "has no rows"), ("", "has no rows")],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(NktcError) as refused:
        read_table(file)
    assert refused.value.message == f"{file} {said}"


def test_other_bytes_than_utf8_are_told_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a\n\xe4\n")
    with pytest.raises(NktcError) as refused:
        read_table(tmp_path / "t.csv")
    assert refused.value.message == f"{tmp_path / 't.csv'} is no UTF-8 text: byte 2 is 0xe4"


@pytest.mark.parametrize(
    ("words", "labels", "kind", "classes"),
    [
        (["3", "0", "-1"], [3, 0, -1], "i8", ()),
        (["3", "0.5"], [3, 0.5], "f4", ()),
        (["dog", "cat", "dog", "1"], [2, 1, 2, 0], "i8", ("1", "cat", "dog")),
    ],
)
def test_labels_are_numbers_or_classes(words: list[str], labels: list[float], kind: str, classes: tuple[str]) -> None:
    found, names = classes_of(words)
    assert (found.tolist(), found.dtype, names) == (labels, np.dtype(kind), classes)


def test_features_are_what_is_left_and_rows_that_lack_a_number_are_left_out(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "x,word,y,t\n1,a,2.5,10\n,b,2,20\n3,c,no,30\n4,d,5,\n6,e,7,40\n8,9\n"))
    plan = plan_of_table(table, Columns(("t",), ("word",)))
    assert [plan.read(i).tolist() for i in (0, 4)] == [[1, 2.5], [6, 7]]  # type: ignore[union-attr]
    assert plan.labels[[0, 4]].tolist() == [10, 40]
    said = []
    for i in (1, 2, 3, 5):
        with pytest.raises(Unusable) as unusable:
            plan.read(i)
        said.append(f"{plan.name(i)} {unusable.value}")
    assert said == [
        f"{table.path}:3: x is empty",
        f'{table.path}:4: y is "no", which is no number',
        f"{table.path}:5: t is empty",
        f"{table.path}:7: has 2 fields, the first line 4",
    ]


def test_several_targets_are_a_row_of_numbers_and_words_are_classes(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "x,y,z,w\n1,2,b,0\n3,4.5,a,9\n"))
    numbers = plan_of_table(table, Columns(("x", "y"), ("z",)))
    assert (numbers.labels.tolist(), numbers.strata.tolist()) == ([[1, 2], [3, 4.5]], [0, 0])
    words = plan_of_table(table, Columns(("z",)))
    assert (words.labels.tolist(), words.strata.tolist(), words.classes) == ([1, 0], [1, 0], ("a", "b"))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns(("y",)), 'column z holds words, as "b"'),
        (Columns(("x", "z")), 'column z holds words, as "b"'),
        (Columns(("x",), ("y", "z")), "has no column left for features"),
        (Columns(("w",)), 'has no column "w"'),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path: Path, columns: Columns, said: str) -> None:
    table = read_table(written(tmp_path, "x,y,z\n1,2,b\n3,4.5,a\n"))
    with pytest.raises(NktcError) as refused:
        plan_of_table(table, columns)
    assert said in refused.value.message
