"""nktc data: what the commands print and how they end."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from nktc.cli import nktc
from nktc.data import read_mean


def run(*args: object) -> Result:
    return CliRunner().invoke(nktc, ["data", *map(str, args)], catch_exceptions=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for i, name in enumerate(("cat/1.png", "dog/1.png")):
        (tmp_path / "tree" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "tree" / name), np.full((4, 6, 3), (i, 10, 20), np.uint8))
    return tmp_path / "tree"


def test_convert_and_mean(tree: Path, tmp_path: Path) -> None:
    done = run("convert", tree, tmp_path / "db", "--labels", tmp_path / "labels.txt", "--resize", "2x3")
    assert (done.exit_code, done.output) == (0, f"2 records, 2 classes, 3x2x3: {tmp_path / 'db'}\n")
    assert (tmp_path / "labels.txt").read_text() == "cat\ndog\n"
    done = run("mean", tmp_path / "db", tmp_path / "mean.binaryproto")
    assert done.output == f"3x2x3, channels 0.5000 10.0000 20.0000: {tmp_path / 'mean.binaryproto'}\n"
    assert read_mean(tmp_path / "mean.binaryproto")[:, 0, 0].tolist() == [0.5, 10, 20]


def test_pictures_left_out_are_named_and_the_exit_status_tells(tree: Path, tmp_path: Path) -> None:
    (tree / "cat" / "2.png").write_text("words")
    cv2.imwrite(str(tree / "cat" / "3.png"), np.zeros((5, 5, 3), np.uint8))
    done = run("convert", tree, tmp_path / "db")
    assert done.exit_code == 1
    assert done.stdout == f"3 records, 2 classes, 2 of 3x4x6, 1 of 3x5x5: {tmp_path / 'db'}\n"
    assert done.stderr == "cat/2.png is not an image that can be decoded\n1 of 4 left out\n"


def test_a_size_is_height_and_width(tree: Path, tmp_path: Path) -> None:
    done = run("convert", tree, tmp_path / "db", "--resize", "32")
    assert done.exit_code == 2
    assert "32 is not HEIGHTxWIDTH, as 32x32" in done.output


def test_list_tells_where_each_set_lies(tmp_path: Path) -> None:
    assert run("list", "--data", tmp_path).output.splitlines() == [
        "cifar10   3x32x32  50000 + 10000  10 classes  to be downloaded (170 MB)",
        "mnist     1x28x28  60000 + 10000  10 classes  to be downloaded (12 MB)",
        "digits    1x8x8    1437 + 360     10 classes  scikit-learn",
        "shapes10  3x32x32  50000 + 10000  10 classes  drawn by nktc",
    ]


def test_a_known_set_becomes_a_database(tmp_path: Path) -> None:
    done = run("convert", "digits", tmp_path / "db", "--split", "test", "--gray")
    assert (done.exit_code, done.output) == (0, f"360 records, 10 classes, 1x8x8: {tmp_path / 'db'}\n")
