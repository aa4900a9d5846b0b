"""What classify and detect read and write."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.pycaffe import scripts

FOUND = [
    {"filename": "a.jpg", "window": np.array([1, 2, 3, 4]), "prediction": np.array([[[0.25]], [[0.75]]])},
    {"filename": "b.jpg", "window": [5, 6, 7, 8], "prediction": np.array([1.0, 0.0])},
]


def test_pictures_come_from_files_folders_and_arrays(tmp_path: Path):
    for i, name in enumerate(["b.jpg", "a.jpg", "c.png"]):
        cv2.imwrite(str(tmp_path / name), np.full((2 + i, 3, 3), 51, np.uint8))
    assert [picture.shape for picture in scripts.load_pictures(tmp_path)] == [(3, 3, 3), (2, 3, 3)]
    (picture,) = scripts.load_pictures(tmp_path / "c.png")
    np.testing.assert_allclose(picture, 0.2, atol=1e-6)
    stacked = np.random.default_rng(0).random((2, 4, 5, 3))
    np.testing.assert_array_equal(scripts.load_pictures(scripts.save_array(tmp_path / "x", stacked)), stacked)
    assert (tmp_path / "x.npy").exists()
    with pytest.raises(NktcError, match=r"holds no \*\.bmp"):
        scripts.load_pictures(tmp_path, "bmp")


def test_means_are_pictures_or_numbers_for_channels(tmp_path: Path):
    mean = np.random.default_rng(0).random((3, 4, 5))
    path = scripts.save_array(tmp_path / "mean.npy", mean)
    np.testing.assert_array_equal(scripts.load_mean(str(path)), mean)
    np.testing.assert_allclose(scripts.load_mean(str(path), channels=True), mean.reshape(3, -1).mean(1))
    assert scripts.load_mean("") is None


def test_windows_are_read_by_the_names_of_columns_and_kept_together(tmp_path: Path):
    (tmp_path / "w.csv").write_text("xmin,ymin, filename,xmax,ymax\n2,1,b.jpg,4,3\n5,6,a.jpg,7,8.0\n9,9,b.jpg,10,11\n")
    found = scripts.load_windows(tmp_path / "w.csv", "list")
    assert [(name, [*map(list, windows)]) for name, windows in found] == [
        ("b.jpg", [[1, 2, 3, 4], [9, 9, 11, 10]]),
        ("a.jpg", [[6, 5, 8, 7]]),
    ]


def test_detections_are_written_as_csv_and_hdf5(tmp_path: Path):
    scripts.save_detections(tmp_path / "out.csv", FOUND)
    rows = [*csv.reader((tmp_path / "out.csv").read_text().splitlines())]
    assert rows[0] == ["filename", "ymin", "xmin", "ymax", "xmax", "class0", "class1"]
    assert rows[1:] == [["a.jpg", "1", "2", "3", "4", "0.25", "0.75"], ["b.jpg", "5", "6", "7", "8", "1.0", "0.0"]]
    scripts.save_detections(tmp_path / "out.h5", FOUND)
    with h5py.File(tmp_path / "out.h5") as file:
        assert [*file["filename"]] == [b"a.jpg", b"b.jpg"]
        np.testing.assert_array_equal(file["window"], [[1, 2, 3, 4], [5, 6, 7, 8]])
        np.testing.assert_array_equal(file["prediction"], [[0.25, 0.75], [1, 0]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("filename,ymin,xmin,ymax\n", "w.csv has no column xmax"),
        ("", "w.csv has no column filename, ymin, xmin, ymax, xmax"),
        ("filename,ymin,xmin,ymax,xmax\n", "w.csv names no windows"),
        ("filename,ymin,xmin,ymax,xmax\na,1,2,3,4\na,1,2,x,4\n", "w.csv:3: the sides of a window are numbers"),
        ("filename,ymin,xmin,ymax,xmax\na,1,2\n", "w.csv:2: the sides of a window are numbers"),
    ],
)
def test_lists_of_windows_that_are_none_are_refused(tmp_path: Path, text: str, said: str):
    (tmp_path / "w.csv").write_text(text)
    with pytest.raises(NktcError, match=said):
        scripts.load_windows(tmp_path / "w.csv", "list")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"no array"])
def test_files_that_hold_no_numbers_are_refused_and_never_unpickled(tmp_path: Path, content: bytes):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(NktcError, match=r"x\.npy is not an \.npy file of numbers"):
        scripts.load_mean(str(tmp_path / "x.npy"))
    np.save(tmp_path / "x.npy", np.array([{"an": "object"}]), allow_pickle=True)
    with pytest.raises(NktcError, match=r"x\.npy is not an \.npy file of numbers"):
        scripts.load_pictures(tmp_path / "x.npy")
