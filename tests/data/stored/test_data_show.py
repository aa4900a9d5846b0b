"""Batches and records brought back to what can be looked at, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from damage import NOWHERE, picture

from nktc.data import (
    Box,
    Opening,
    Places,
    describe_labels,
    open_stream,
    show_batch,
    show_stored,
    subject_of,
    subjects_of,
)
from nktc.data.databases.datum import pack
from nktc.data.databases.lmdb import write_database
from nktc.data.mean import write_mean
from nktc.data.stored.eye import boxes_of, captions, for_the_eye, undone
from nktc.data.stored.histogram import histogram
from nktc.ir import Phase, Transform
from nktc.layers import Data, Dataset


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(
    "transform",
    [
        Transform(),
        Transform(scale=1 / 256, mean_values=(104, 117, 123)),
        Transform(mean_values=(120.0,), std_values=(58.0, 57.0, 57.5)),
        Transform(mean_file="mean", scale=0.5),
        Transform(mean_values=(100.0,), crop=6),
    ],
)
def test_pictures_come_back_as_they_were(transform: Transform, phase: Phase, tmp_path: Path) -> None:
    write_mean(tmp_path / "mean", np.random.RandomState(0).rand(3, 9, 8).astype(np.float32) * 255)
    write_database(tmp_path / "db", ((b"%d" % i, pack(picture(i).transpose(2, 0, 1), i)) for i in range(4)))
    layer = Data("db", 4, "LMDB", transform, phase)
    stream = open_stream(layer, Opening(NOWHERE, tmp_path))
    back, _ = undone(stream.batch(0)[0].numpy(), stream.preprocessing, phase)
    plain = Data("db", 4, "LMDB", Transform(crop=transform.crop), phase)
    expected = open_stream(plain, Opening(NOWHERE, tmp_path)).batch(0)[0].numpy()
    np.testing.assert_array_equal(back, expected)


def test_what_is_no_picture_of_bytes_is_stretched() -> None:
    back, how = undone(np.array([-3, -1, 1], np.float32).reshape(1, 1, 1, 3), None, Phase.TEST)
    assert (back.ravel().tolist(), how) == ([0, 128, 255], "each stretched to its own range")


def test_blue_first_becomes_red_first() -> None:
    planes = np.arange(3, dtype=np.uint8).reshape(3, 1, 1)
    assert for_the_eye(planes, "BGR").ravel().tolist() == [2, 1, 0]
    assert for_the_eye(planes, "RGB").ravel().tolist() == [0, 1, 2]


def test_captions_are_names_numbers_or_the_two_largest_shares() -> None:
    classes = ("cat", "dog", "cow")
    assert captions(np.array([1.0, 7.0]), 2, classes) == [("dog",), ("7",)]
    assert captions(np.array([[0.1, 0.7, 0.2], [0, 0, 1]]), 2, classes) == [("dog 70%", "cow 20%"), ("cow 100%",)]
    assert captions(np.array([[1.5, -2], [0.25, 4]]), 2, ()) == [("1.5 -2",), ("0.25 4",)]
    assert captions(None, 2, ()) == [(), ()]


def test_boxes_go_to_their_pictures() -> None:
    label = np.full((1, 1, 3, 8), -1, np.float32)
    label[0, 0, 0] = [1, 2, 0, 0.25, 0.5, 0.75, 1, 0]
    first, second = boxes_of(label, 2, ())
    assert first == ()
    assert second == (Box((0.25, 0.5, 0.75, 1.0), "2", 2),)


def test_a_histogram_has_a_bar_a_class_those_without_records_too() -> None:
    assert histogram(np.array([0, 0, 0, 0, 2, 2, 7], np.float32), ("cat", "dog", "cow")) == [
        "cat  4  57.14%  ████████████████████████████████████████",
        "dog  0   0.00%",
        "cow  2  28.57%  ████████████████████",
        "7    1  14.29%  ██████████",
    ]


def test_of_many_classes_the_largest_and_smallest_are_shown() -> None:
    lines = histogram(np.repeat(np.arange(100), np.arange(1, 101)).astype(np.float32))
    assert len(lines) == 41
    assert [lines[0].split()[:2], lines[30], lines[-1].split()[:2]] == [["99", "100"], "... 60 more ...", ["0", "1"]]


def test_of_numbers_the_quartiles_are_told() -> None:
    values = np.random.RandomState(0).rand(101).astype(np.float32)
    found = [float(line.split()[-1]) for line in histogram(values)]
    expected = [values.min(), *np.percentile(values, (25, 50, 75)), values.max(), values.mean()]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_batch_is_drawn_and_told(tmp_path: Path) -> None:
    layer = Dataset("digits", 5, Phase.TRAIN)
    shown = show_batch(layer, Phase.TRAIN, Opening(NOWHERE, tmp_path), 2, None)
    assert shown.lines[0] == "batch 2: 5x1x8x8, 5"
    stored = subject_of(layer, NOWHERE, tmp_path).open("BGR")
    for item, cell in zip(stored.look(np.arange(10, 15)), shown.cells, strict=True):
        assert item.values is not None
        np.testing.assert_array_equal(cell.picture, item.values[0])
        assert cell.caption == (f"{item.labels[0]:g}",)


def test_data_itself_is_drawn_as_it_is_stored_bad_records_named(tmp_path: Path) -> None:
    records = [pack(picture(0).transpose(2, 0, 1), 3), b"\xff"]
    write_database(tmp_path / "db", ((b"%d" % i, value) for i, value in enumerate(records)))
    (subject,) = subjects_of(str(tmp_path / "db"), "", NOWHERE)
    shown = show_stored(subject, 0, None)
    assert shown.lines[-1] == 'bad: record 1, key "1": its 1 bytes are no Datum'
    (cell,) = shown.cells
    np.testing.assert_array_equal(cell.picture, picture(0)[:, :, ::-1])
    assert describe_labels("db", subject.open("")) == [
        "db: 2 records, 1 labels",
        f"  3  1  100.00%  {'█' * 40}",
    ]


def test_a_table_is_rows_of_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("size,town\n1.5,Ulm\n2,\n")
    (subject,) = subjects_of(str(tmp_path / "t.csv"), "", NOWHERE)
    shown = show_stored(subject, 0, None)
    assert shown.lines == ["records: 2", "  size  town", "   1.5   Ulm", "     2      "]
    assert not shown.cells


def test_so_many_pictures_are_shown_as_are_asked_for(tmp_path: Path) -> None:
    layer = Dataset("digits", 10, Phase.TRAIN)
    opening = Opening(Places((), tmp_path / "cache", download=False), tmp_path)
    for count, expected in ((4, 4), (10, 10), (25, 10), (None, 10)):
        shown = show_batch(layer, Phase.TRAIN, opening, 0, count)
        assert len(shown.cells) == expected
    assert show_batch(layer, Phase.TRAIN, opening, 0, 4).how.startswith("the first 4 of 10")


def test_labels_and_values_that_are_no_numbers_are_shown_as_such(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        data = np.arange(3 * 3 * 4 * 4, dtype=np.float32).reshape(3, 3, 4, 4)
        data[0, 0, 0, 0] = np.nan
        file["data"], file["label"] = data, np.array([1, np.nan, np.inf], np.float32)
    (subject,) = subjects_of(str(tmp_path / "rows.h5"), "", NOWHERE)
    shown = show_stored(subject, 0, None)
    assert [cell.caption for cell in shown.cells] == [("1",), ("nan",), ("inf",)]
    assert shown.lines[1:] == ["values: 1 to 143, mean 72", "1 values are NaN or infinite"]


def test_records_without_values_are_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["data"], file["label"] = np.zeros((3, 0)), np.arange(3)
    (subject,) = subjects_of(str(tmp_path / "rows.h5"), "", NOWHERE)
    shown = show_stored(subject, 0, None)
    assert (shown.lines, shown.how) == (
        ["records: 3, sizes of those looked at: 0", "values: none"],
        "its records are no pictures",
    )
