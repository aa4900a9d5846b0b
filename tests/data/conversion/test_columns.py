"""The tables that conversions make records of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from nktc.data.conversion.columns import labels_of
from nktc.data.conversion.plan import Unusable
from nktc.data.conversion.plan_table import Columns, plan_of_table
from nktc.data.table_columns import class_numbers
from nktc.data.table_file import Table, read_table
from nktc.errors import NktcError


def table_of(folder: Path, text: str) -> Table:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return read_table(folder / "t.csv")


@pytest.mark.parametrize(
    ("words", "labels", "kind", "classes"),
    [
        (["3", "0", "-1"], [3, 0, -1], "i8", ()),
        (["3", "0.5", "2"], [3, 0.5, 2], "f4", ()),
        (["dog", "cat", "dog", "1"], [2, 1, 2, 0], "i8", ("1", "cat", "dog")),
    ],
)
def test_labels_are_numbers_or_classes(
    tmp_path: Path, words: list[str], labels: list[float], kind: str, classes: tuple[str]
) -> None:
    table = table_of(tmp_path, "t,u\n" + "".join(f"{word},0\n" for word in words))
    found, there, names = labels_of(table, "t")
    assert (found.tolist(), found.dtype, names, there.all()) == (labels, np.dtype(kind), classes, True)
    if classes:
        named, places = class_numbers(table, "t")
        assert (named, places.tolist()) == (classes, labels)


@pytest.mark.parametrize("nothing", ["", "NA", "nan", "?", "n/a", "None"])
def test_a_column_of_numbers_stays_one_where_some_are_missing(tmp_path: Path, nothing: str) -> None:
    table = table_of(tmp_path, f"x,t\n1,10\n2,{nothing}\n3,30\n{nothing},40\n")
    plan = plan_of_table(table, Columns(("t",)))
    assert (plan.classes, plan.labels[[0, 2, 3]].tolist()) == ((), [10, 30, 40])
    said = []
    for i in (1, 3):
        with pytest.raises(Unusable) as unusable:
            plan.read(i)
        said.append(f"{plan.name(i)} {unusable.value}")
    assert said == [f"{table.path}:3: t has no value", f"{table.path}:5: x has no value"]
    assert [plan.read(i).tolist() for i in (0, 2)] == [[1], [3]]  # type: ignore[union-attr]


def test_a_word_among_the_numbers_of_a_target_is_refused_at_its_line(tmp_path: Path) -> None:
    table = table_of(tmp_path, "x,t\n1,10\n2,20\n3,3O\n4,40\n")
    with pytest.raises(NktcError) as refused:
        plan_of_table(table, Columns(("t",)))
    assert str(refused.value) == (
        f'error: {table.path}:4: column "t" has "3O", which is no number\n'
        "help: mend it; where it names a class, let more than half of the column be words"
    )


def test_lines_are_counted_where_values_have_several(tmp_path: Path) -> None:
    table = table_of(tmp_path, '\ufeffa,b\n1,"two\nlines"\n\n,c\n')
    plan = plan_of_table(table, Columns(("b",)))
    assert [plan.name(i) for i in range(2)] == [f"{table.path}:2:", f"{table.path}:5:"]


def test_a_parquet_file_gives_what_the_same_csv_gives(tmp_path: Path) -> None:
    columns = {"x": [1.5, None, 3.0], "y": [1, 2, 3], "t": ["b", "a", "b"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    plans = [
        plan_of_table(table, Columns(("t",)))
        for table in (read_table(tmp_path / "t.parquet"), table_of(tmp_path, "x,y,t\n1.5,1,b\n,2,a\n3,3,b\n"))
    ]
    assert plans[0].classes == plans[1].classes == ("a", "b")
    assert plans[0].labels.tolist() == plans[1].labels.tolist() == [1, 0, 1]
    for i in (0, 2):
        np.testing.assert_array_equal(plans[0].read(i), plans[1].read(i))  # type: ignore[arg-type]
    assert plans[0].name(1) == f"{tmp_path / 't.parquet'}: row 2:"


def test_several_targets_are_a_row_of_numbers_and_words_are_classes(tmp_path: Path) -> None:
    table = table_of(tmp_path, "x,y,z,w\n1,2,b,0\n3,4.5,a,9\n")
    numbers = plan_of_table(table, Columns(("x", "y"), ("z",)))
    assert (numbers.labels.tolist(), numbers.strata.tolist()) == ([[1, 2], [3, 4.5]], [0, 0])
    words = plan_of_table(table, Columns(("z",)))
    assert (words.labels.tolist(), words.strata.tolist(), words.classes) == ([1, 0], [1, 0], ("a", "b"))


def test_whole_numbers_are_classes_of_a_split_where_there_are_ten_of_each(tmp_path: Path) -> None:
    for count, strata in ((20, {0, 1}), (19, {0})):
        table = table_of(tmp_path, "x,t\n" + "".join(f"{i},{i % 2}\n" for i in range(count)))
        assert {*plan_of_table(table, Columns(("t",))).strata.tolist()} == strata


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns(("y",)), ':2: column "z" has "b", which is no number'),
        (Columns(("x", "z"), ("e",)), ':2: column "z" has "b", which is no number'),
        (Columns(("y",), ("z",)), 'column "e" has no values'),
        (Columns(("x",), ("y", "z", "e")), "has no column left for features"),
        (Columns(("w",)), 'has no column "w"'),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path: Path, columns: Columns, said: str) -> None:
    table = table_of(tmp_path, "x,y,z,e\n1,2,b,\n3,4.5,a,\n")
    with pytest.raises(NktcError) as refused:
        plan_of_table(table, columns)
    assert said in refused.value.message
