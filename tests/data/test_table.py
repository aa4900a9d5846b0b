"""The TableData layer: columns as scikit-learn and the csv module have them, parts, what is missing, refusals."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from nktc.data import Opening, Places, Stream, describe, known_file, open_stream
from nktc.data.parts import part_records
from nktc.data.sets.catalogue import KNOWN
from nktc.data.table_file import read_table
from nktc.errors import LayerError
from nktc.ir import Feed, Layer
from nktc.layers import Part, TableData

NOWHERE = Places((), Path("nowhere"), download=False)
TABLE = """age,town,rooms,price
30,Bern,2,100
41.5,Arth,,250
22,Bern,4,175
 7 ,Zug,1e0,90
"""
ALL = TableData("t.csv", 4, ("price",), missing="MEAN")


def opened(layer: Layer, folder: Path, places: Places = NOWHERE, seed: int = 0, tops: int = 2) -> Stream:
    return open_stream(layer, Opening(places=places, folder=folder, seed=seed, tops=tops))


def write(folder: Path, text: str = TABLE, name: str = "t.csv") -> Path:
    (folder / name).write_text(text)
    return folder


def test_numbers_come_as_they_are_and_words_one_by_one(tmp_path: Path) -> None:
    layer = replace(ALL, missing="DROP")
    assert describe(layer, write(tmp_path)) == Feed(((4, 5), (4, 1)), 3)
    data, label = opened(layer, tmp_path).batch(0)
    # age, then Arth, Bern and Zug, then rooms; the fourth row is the first again.
    rows = [[30, 0, 1, 0, 2], [22, 0, 1, 0, 4], [7, 0, 0, 1, 1]]
    assert data.tolist() == [*rows, rows[0]]
    assert label.tolist() == [[100], [175], [90], [100]]
    assert data.dtype == label.dtype == torch.float32


def test_features_come_in_the_order_in_which_they_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path)
    (data,) = opened(replace(ALL, features=("rooms", "age"), missing="DROP"), tmp_path, tops=1).batch(0)
    assert data[0].tolist() == [2, 30]
    data, label = opened(TableData("t.csv", 2, ("price", "age"), excluded=("rooms",)), tmp_path).batch(0)
    assert data.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert label.tolist() == [[100, 30], [250, 41.5]]


def test_the_mean_takes_the_place_of_what_is_missing(tmp_path: Path) -> None:
    data, _ = opened(ALL, write(tmp_path)).batch(0)
    assert data[1].tolist() == [41.5, 1, 0, 0, pytest.approx(7 / 3)]
    write(tmp_path, "town,y\nBern,1\n,2\nBern,3\nZug,4\n")
    data, _ = opened(replace(ALL, targets=("y",)), tmp_path).batch(0)
    assert data[1].tolist() == [pytest.approx(2 / 3), pytest.approx(1 / 3)], "the shares of the towns"


def made(rows: int = 200) -> list[tuple[str, ...]]:
    random = np.random.default_rng(3)
    towns = ("Bern", "Zug", "Arth")
    return [
        (
            "" if random.random() < 0.1 else f"{random.normal(50, 20):.3f}",
            towns[random.integers(3)],
            f"{random.integers(1, 9)}",
            f"{random.normal(3e5, 1e5):.0f}",
        )
        for _ in range(rows)
    ]


@pytest.mark.parametrize("part", ["TRAIN", "VALIDATION", "TEST"])
def test_a_common_scale_is_scikit_learns_learned_on_the_training_part(tmp_path: Path, part: str) -> None:
    rows = made()
    write(tmp_path, "\n".join(["age,town,rooms,price", *map(",".join, rows)]))
    split = Part(part, 0.2, 0.1, seed=5)
    layer = TableData("t.csv", 1000, ("price",), standardize=True, standardize_target=True, missing="MEAN", part=split)
    stream = opened(layer, tmp_path)
    table = np.array(rows, dtype=object)
    numbers = np.array([[float(x or "nan") for x in row] for row in table[:, [0, 2, 3]]])
    inputs = np.hstack([numbers[:, :1], table[:, 1:2], numbers[:, 1:2]])
    training, read = (part_records(replace(split, name=name), 200) for name in ("TRAIN", part))
    scale = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer([("a", scale, [0]), ("b", OneHotEncoder(sparse_output=False), [1]), ("c", scale, [2])])
    features = columns.fit(inputs[training]).transform(inputs[read])
    target = StandardScaler().fit(numbers[training, 2:]).transform(numbers[read, 2:])
    count = len(features)
    assert stream.feed.records == describe(layer, tmp_path).records == count
    data, label = stream.batch(0)
    np.testing.assert_allclose(data[:count], features.astype(np.float32), atol=1e-5)
    np.testing.assert_allclose(label[:count], target, atol=1e-5)
    if part == "TRAIN":
        fewer = opened(replace(layer, part=replace(split, records=20)), tmp_path)
        assert fewer.feed.records == 20
        known = {tuple(row) for row in data.tolist()}
        assert all(tuple(row) in known for row in fewer.batch(0)[0].tolist()), "the scale is that of the whole part"


def test_a_column_of_one_value_becomes_zero(tmp_path: Path) -> None:
    write(tmp_path, "a,b,y\n0.1,1,3\n0.1,2,3\n0.1,3,3\n")
    layer = TableData("t.csv", 3, ("y",), standardize=True, standardize_target=True)
    data, label = opened(layer, tmp_path).batch(0)
    np.testing.assert_allclose(data, [[0, -(1.5**0.5)], [0, 0], [0, 1.5**0.5]], atol=1e-6)
    assert label.tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("values", "classes", "label"),
    [
        (("b", "a", "c", "a"), ("a", "b", "c"), [1, 0, 2, 0]),
        (("10", "9", "9.0", "-1"), ("-1", "9", "10"), [2, 1, 1, 0]),
        (("1", "2", "0.5", "x"), ("0.5", "1", "2", "x"), [1, 2, 0, 3]),
        (("0.5", "2", "0.5", "2"), ("0.5", "2"), [0, 1, 0, 1]),
    ],
)
def test_the_values_of_a_target_sorted_are_the_classes(
    tmp_path: Path, values: Sequence[str], classes: tuple[str, ...], label: list[int]
) -> None:
    write(tmp_path, "\n".join(["x,kind", *(f"{i},{value}" for i, value in enumerate(values))]))
    layer = TableData("t.csv", 4, ("kind",), classes=True)
    assert describe(layer, tmp_path) == Feed(((4, 1), (4,)), 4, classes)
    stream = opened(layer, tmp_path)
    assert stream.feed.labels == classes
    assert stream.batch(0)[1].tolist() == label


def test_a_parquet_file_is_read_as_its_types_say(tmp_path: Path) -> None:
    columns = {
        "n": pa.array([1, None, 3], pa.int64()),
        "f": pa.array([0.5, 1.5, 2.5], pa.float32()),
        "yes": pa.array([True, False, True]),
        "code": pa.array(["7", "8", "7"]),
        "kind": pa.array(["b", "a", "b"]).dictionary_encode(),
        "day": pa.array([date(2026, 11, 21)] * 3),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    layer = TableData("t.parquet", 3, ("kind",), excluded=("day",), classes=True, missing="MEAN")
    stream = opened(layer, tmp_path)
    data, label = stream.batch(0)
    assert data.tolist() == [[1, 0.5, 1, 1, 0], [2, 1.5, 0, 0, 1], [3, 2.5, 1, 1, 0]]
    assert (label.tolist(), stream.feed.labels) == ([1, 0, 1], ("a", "b"))
    for name, excluded, said, help in (
        ("t.parquet", (), 'column "day" holds date32[day], neither numbers nor words', 'leave it out: exclude: "day"'),
        ("t.parquet", ("day", "yes"), 'row 2: column "n" has no value', ""),
    ):
        with pytest.raises(LayerError) as refusal:
            describe(replace(layer, source_path=name, excluded=excluded, missing="STOP"), tmp_path)
        assert refusal.value.message.endswith(said)
        assert refusal.value.help == help or not help
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-20])
    with pytest.raises(LayerError, match=r"source .*cut.parquet is a damaged Parquet file: "):
        describe(replace(layer, source_path="cut.parquet"), tmp_path)


def test_quotes_and_empty_lines_are_those_of_the_csv_module(tmp_path: Path) -> None:
    text = '\ufeff\r\na,"b, c",y\r\n1,"x\r\ny",3\r\n\r\n2,"""q""",4\r\n'
    (tmp_path / "t.csv").write_text(text, newline="", encoding="utf-8")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8-sig") as file:
        header, *rows = (row for row in csv.reader(file) if row)
    table = read_table(tmp_path / "t.csv")
    assert list(table.columns) == header
    assert [list(row) for row in zip(*(c.to_pylist() for c in table.columns.values()), strict=True)] == rows
    assert [table.at(row) for row in (0, 1)] == [f"{tmp_path}/t.csv:3", f"{tmp_path}/t.csv:6"]


def test_rows_are_mixed_anew_in_each_epoch_and_a_batch_is_a_function_of_its_number(tmp_path: Path) -> None:
    write(tmp_path, "\n".join(["x,y", *(f"{i},{-i}" for i in range(50))]))
    layer = TableData("t.csv", 10, ("y",), shuffle=True)
    one, again, other = (opened(layer, tmp_path, seed=seed) for seed in (1, 1, 2))
    epochs = [torch.cat([one.batch(5 * epoch + k)[0] for k in range(5)]).flatten().tolist() for epoch in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(50))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    for k in (7, 0, 13):
        data, label = one.batch(k)
        assert torch.equal(data, -label)
        assert torch.equal(data, again.batch(k)[0])
        assert not torch.equal(data, other.batch(k)[0])
    one.batch(3)[0].zero_()
    assert torch.equal(one.batch(3)[0], again.batch(3)[0]), "a batch is the caller's own"


@pytest.mark.parametrize(
    ("text", "changes", "said", "help", "field"),
    [
        (TABLE, {"missing": "STOP"}, '{}:3: column "rooms" has no value', "leave such rows out: missing: DROP, or", ""),
        (TABLE.replace("90", ""), {}, '{}:5: column "price" has no value', "leave such rows out: missing: DROP", ""),
        (TABLE.replace("22", "2x2"), {}, '{}:4: column "age" has "2x2", which is no number', "mend it, or", ""),
        (TABLE.replace("22", "inf"), {}, '{}:4: column "age" has "inf", which is no number', "mend it, or", ""),
        (TABLE.replace("22", "1e39"), {}, '{}:4: column "age" has 1e+39, more than a 32-bit number holds', "", ""),
        (TABLE.replace("100", "x"), {}, '{}:2: column "price" has "x", which is no number', "mend it", ""),
        (TABLE, {"targets": ("prise",)}, '{} has no column "prise"', 'did you mean "price"?', "target"),
        (TABLE, {"features": ("q",)}, '{} has no column "q"', "it has age, town, rooms, price", "feature"),
        (TABLE, {"excluded": ("ag",)}, '{} has no column "ag"', 'did you mean "age"?', "exclude"),
        (TABLE, {"excluded": ("age", "town", "rooms")}, "no column of {} is left to predict from", "", ""),
        ("", {}, "source {} is empty", "", ""),
        ("age,price\n", {}, "source {} has no rows", "", ""),
        ("a,price\n1,2\n\n3\n", {}, "{}:4: has 1 values, the first line names 2 columns", "", ""),
        ("a,price\n1,2,3\n", {}, "{}:2: has 3 values, the first line names 2 columns", "", ""),
        ("a,a,price\n1,2,3\n", {}, 'source {} has more than one column "a"', "", ""),
        ("a,price\n?,1\nNA,2\n", {}, '{}: column "a" has no values to take the mean of', 'exclude: "a"', ""),
        ("a,price\n,1\n2,\n", {"missing": "DROP"}, "every row of {} lacks a value", "", "missing"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    tmp_path: Path, text: str, changes: dict[str, object], said: str, help: str, field: str
) -> None:
    write(tmp_path, text)
    layer = replace(ALL, **changes)  # type: ignore[arg-type]
    for refused in (lambda: describe(layer, tmp_path), lambda: opened(layer, tmp_path)):
        with pytest.raises(LayerError) as refusal:
            refused()
        assert refusal.value.message == said.format(tmp_path / "t.csv")
        assert help in refusal.value.help
        assert refusal.value.field == (field or "source")


def test_a_mistake_below_a_value_longer_than_pythons_reader_takes_is_told_with_its_row(tmp_path: Path) -> None:
    long = "x" * (csv.field_size_limit() + 1)
    write(tmp_path, f"town,age,price\nBern,1,2\n{long},2,3\nZug,old,4\n")
    with pytest.raises(LayerError) as refusal:
        read_table(tmp_path / "t.csv").numbers("age")
    assert refusal.value.message == f'{tmp_path / "t.csv"}: row 3: column "age" has "old", which is no number'
    write(tmp_path, f"town,age,price\nBern,old,2\n{long},2,3\n")
    with pytest.raises(LayerError, match=r't\.csv:2: column "age" has "old"'):
        read_table(tmp_path / "t.csv").numbers("age")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("a,price\nZürich,1\n".encode("latin-1"))
    (tmp_path / "cut.csv").write_bytes(b"PAR1")
    (tmp_path / "nul.csv").write_bytes(b"a,price\n\0,1\n1,2\n2,3\n")
    (tmp_path / "folder").mkdir()
    write(tmp_path, "\n".join(["id,price", *(f"n{i},{i}" for i in range(1001))]), "ids.csv")
    for name, said in (
        ("latin.csv", "is no UTF-8 text, nor is it Parquet"),
        ("cut.csv", "is a damaged Parquet file"),
        ("nul.csv", "which is no number"),
        ("folder", "cannot be read: it is a folder"),
        ("gone.csv", "does not exist"),
        ("n" * 300, "does not exist"),
        ("a\0b", "does not exist"),
        ("ids.csv", 'column "id" has 1,001 different words, and each would be a feature'),
    ):
        with pytest.raises(LayerError, match=said):
            describe(replace(ALL, source_path=name), tmp_path)
    with pytest.raises(LayerError) as refusal:
        describe(replace(ALL, source_path="california_housing"), tmp_path)
    assert refusal.value.help == 'did you mean "california-housing"?'


HOUSING = TableData("california-housing", 8, ("median_house_value",), missing="MEAN")


def test_the_shapes_of_a_known_table_need_no_data() -> None:
    assert describe(HOUSING, Path()) == Feed(((8, 13), (8, 1)), 20_640)
    assert describe(replace(HOUSING, missing="DROP"), Path()).records is None
    kinds = describe(replace(HOUSING, targets=("ocean_proximity",), classes=True), Path())
    assert kinds == Feed(((8, 9), (8,)), 20_640, KNOWN["california-housing"].words["ocean_proximity"])
    with pytest.raises(LayerError, match='california-housing has no column "value"'):
        describe(replace(HOUSING, targets=("value",)), Path())
    with pytest.raises(LayerError, match='the data of "california-housing" is missing') as refusal:
        opened(HOUSING, Path())
    assert "--data PATH" in refusal.value.help


@pytest.mark.parametrize(("targets", "classes"), [(("median_house_value",), False), (("ocean_proximity",), True)])
def test_what_is_known_of_a_table_is_what_its_file_holds(
    shared: Path, tmp_path: Path, targets: tuple[str, ...], classes: bool
) -> None:
    places = Places((str(shared / "data" / "housing"),), tmp_path, download=False)
    layer = replace(HOUSING, targets=targets, classes=classes)
    assert opened(layer, Path(), places).feed == describe(layer, Path())
    assert describe(replace(layer, source_path=str(known_file("california-housing", places))), Path()) == describe(
        layer, Path()
    )
    dropped = opened(replace(layer, missing="DROP", part=Part("TRAIN", 0.1, 0.1)), Path(), places)
    assert dropped.feed.records == 20_433 - 2 * 2043


def test_a_damaged_file_is_read_or_refused_in_words(tmp_path: Path) -> None:
    columns = {"a": [1, 2, 3], "kind": ["x", "y", None], "price": [1.5, None, 3]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "whole")
    random = np.random.default_rng(0)
    found = set()
    for whole in (TABLE.encode(), (tmp_path / "whole").read_bytes()):
        for n in range(300):
            content = bytearray(whole)
            at = int(random.integers(len(content)))
            content[at : at + n % 3] = random.integers(0, 256, n % 4, np.uint8).tobytes()
            (tmp_path / "t.csv").write_bytes(content if n % 5 else content[:at])
            try:
                describe(ALL, tmp_path)
                found.add("read")
            except LayerError as refusal:
                found.add("refused" if "\n" not in refusal.message else refusal.message)
    assert found == {"read", "refused"}
