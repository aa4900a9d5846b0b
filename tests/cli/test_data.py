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


def test_list_tells_where_each_set_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NKTC_CACHE", str(tmp_path / "cache"))
    assert run("list", "--data", tmp_path).output.splitlines() == [
        "cifar10             50000 + 10000 images 3x32x32, 10 classes   to be downloaded (170 MB)",
        "cifar100            50000 + 10000 images 3x32x32, 100 classes  to be downloaded (169 MB)",
        "mnist               60000 + 10000 images 1x28x28, 10 classes   to be downloaded (12 MB)",
        "fashion-mnist       60000 + 10000 images 1x28x28, 10 classes   to be downloaded (31 MB)",
        "digits              1437 + 360 images 1x8x8, 10 classes        scikit-learn",
        "shapes10            50000 + 10000 images 3x32x32, 10 classes   drawn by nktc",
        "california-housing  a table of 20640 rows, 10 columns          to be downloaded (1.4 MB)",
        "tiny-shakespeare    a text of 1115394 bytes                    to be downloaded (1.1 MB)",
    ]


def test_a_set_that_is_got_from_a_file_is_found_without_being_told(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NKTC_CACHE", str(tmp_path / "cache"))
    done = run("get", "tiny-shakespeare", "--from", shared / "data" / "tinyshakespeare" / "input.txt")
    kept = tmp_path / "cache" / "downloads" / "tiny-shakespeare" / "input.txt"
    assert done.output.splitlines() == [
        "tiny-shakespeare: a text of 1115394 bytes",
        f"lies in {kept}",
        "input.txt: sha256 86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed, the official one",
    ]
    assert run("list").output.splitlines()[-1].endswith(f"  {kept}")
    assert run("get", "tiny-shakespeare").output == done.output
    assert run("get", "digits").output == "digits: 1437 + 360 images 1x8x8, 10 classes\nalways there: scikit-learn\n"


def test_a_conversion_is_dealt_out_to_parts(tree: Path, tmp_path: Path) -> None:
    done = run("convert", "digits", tmp_path / "db", "--split", "test", "--val", "0.25", "--test", ".1", "--seed", 1)
    assert done.output.splitlines() == [
        f"360 records, 10 classes, 1x8x8: {tmp_path / 'db'}",
        f"train 234 records: {tmp_path / 'db' / 'train'}",
        f"val   90 records: {tmp_path / 'db' / 'val'}",
        f"test  36 records: {tmp_path / 'db' / 'test'}",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--resize-width", 3], "give --resize HxW alone, or --resize-height and --resize-width together"),
        (["--resize", "3x3", "--resize_height", 3, "--resize_width", 3], "give --resize HxW alone"),
        (["--val", "1.5"], "1.5 is no share from 0 to below 1, as 0.1"),
        (["--encode-type", "gif"], "'gif' is not one of"),
    ],
)
def test_options_that_cannot_be_are_a_wrong_command_line(tree: Path, options: list[object], said: str) -> None:
    done = run("convert", tree, tree.parent / "db", *options)
    assert done.exit_code == 2
    assert said in done.output


def test_the_spellings_of_convert_imageset_are_taken(tree: Path, tmp_path: Path) -> None:
    options = ["--resize_height=2", "--resize_width=3", "--check_size", "--encode_type=png", "--gray", "--shuffle"]
    done = run("convert", tree, tmp_path / "db", *options)
    assert (done.exit_code, done.output) == (0, f"2 records, 2 classes, 1x2x3: {tmp_path / 'db'}\n")


def test_info_tells_what_a_database_holds(tree: Path, tmp_path: Path) -> None:
    run("convert", tree, tmp_path / "db")
    lines = run("info", tmp_path / "db").output.splitlines()
    assert lines[:-1] == [
        "kind     LMDB of Datum",
        "records  2",
        "sizes    3x4x6 (2)",
        "values   bytes",
        "labels   0 to 1: cat (1), dog (1)",
        "classes  2: cat, dog",
    ]
    assert lines[-1].startswith("bytes    ")


def test_a_known_set_becomes_a_database(tmp_path: Path) -> None:
    done = run("convert", "digits", tmp_path / "db", "--split", "test", "--gray")
    assert (done.exit_code, done.output) == (0, f"360 records, 10 classes, 1x8x8: {tmp_path / 'db'}\n")
