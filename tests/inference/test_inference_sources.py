"""What is to be inferred is found in a fixed order, and what cannot be read is told and passed over."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc import data
from nktc.errors import NktcError
from nktc.inference import count, find, listed
from nktc.inference.intake import Intake
from nktc.inference.sources import all_jobs, of
from nktc.ir import Preprocessing, Value
from nktc.schema import Datum

INTAKE = Intake((Value("x", (0, 3, 4, 4)),), {"x": Preprocessing((4, 4), "BGR")})


def outcome(sources, intake: Intake = INTAKE) -> list[tuple[str, str]]:
    """The name of each thing, and its shade or why it has none."""
    found = []
    for job in all_jobs(sources, intake):
        try:
            rows = job.load()
            found.append((job.name, str(round(float(next(iter(rows.values())).mean())))))
        except NktcError as error:
            found.append((job.name, error.message))
    return found


def gray(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((4, 4, 3), shade, np.uint8))
    return path


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, shade in (("b.png", 2), ("a.png", 1), ("c/a.png", 3), ("c/d/z.png", 5), ("c/b.PNG", 4)):
        gray(Path("p") / name, shade)
    Path("p/notes.txt").write_text("words")
    return Path("p")


def test_a_folder_gives_its_images_sorted_and_those_of_the_folders_in_it(tree):
    sources = find([tree, "p/b.png"])
    assert count(sources) == 6
    assert outcome(sources) == [
        ("p/a.png", "1"),
        ("p/b.png", "2"),
        ("p/c/a.png", "3"),
        ("p/c/b.PNG", "4"),
        ("p/c/d/z.png", "5"),
        ("p/b.png", "2"),
    ]


def test_patterns_match_files_sorted_in_the_order_of_the_patterns(tree):
    found = [name for name, _ in outcome(find(["p/**/z.png", "p/[ab].png", "p/?/*.png"]))]
    assert found == ["p/c/d/z.png", "p/a.png", "p/b.png", "p/c/a.png"]
    assert outcome(find(["p/*.txt"])) == [("p/notes.txt", "p/notes.txt is not an image that can be decoded")]
    gray(Path("p/[x].png"), 9)
    assert outcome(find(["p/[x].png"])) == [("p/[x].png", "9")]  # a file that is there is no pattern


def test_a_list_is_read_as_it_is_needed_and_a_bad_line_stops_nothing(tree):
    Path("list.txt").write_text("p/b.png\n\nnone.png\r\np/notes.txt\np/c/*.png\np/a.png")
    sources = [listed("list.txt")]
    assert count(sources) is None
    assert outcome(sources) == [
        ("p/b.png", "2"),
        ("none.png", "none.png is not there"),
        ("p/notes.txt", "p/notes.txt is not an image that can be decoded"),
        ("p/c/a.png", "3"),
        ("p/a.png", "1"),
    ]


class Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_standard_input_is_an_image_or_arrays_or_a_list(tree, monkeypatch):
    held = io.BytesIO()
    np.save(held, np.full((2, 3, 4, 4), 7, np.float32))
    for content, expected in (
        (Path("p/b.png").read_bytes(), [("standard input", "2")]),
        (held.getvalue(), [("standard input#0", "7"), ("standard input#1", "7")]),
        (b"words", [("standard input", "standard input is not an image that can be decoded")]),
        (b"", [("standard input", "standard input is not an image that can be decoded")]),
    ):
        monkeypatch.setattr(sys, "stdin", Stdin(content))
        assert outcome(find(["-"])) == expected
    monkeypatch.setattr(sys, "stdin", Stdin(b"p/a.png\np/b.png\n"))
    assert outcome([listed("-")]) == [("p/a.png", "1"), ("p/b.png", "2")]


def database(path: Path, records: list[bytes]) -> Path:
    with data.new_database(path, {}) as writer:
        writer.write([(f"{i:03}".encode(), record) for i, record in enumerate(records)])
    return path


def datum(planes: int, shade: int, size: int = 4) -> bytes:
    raw = bytes([shade]) * (planes * size * size)
    return Datum(channels=planes, height=size, width=size, data=raw).SerializeToString()


def test_records_of_a_database_are_treated_as_a_data_layer_does(tree):
    picture = Datum(data=Path("p/b.png").read_bytes(), encoded=True).SerializeToString()
    floats = Datum(channels=3, height=4, width=4, float_data=[1.5] * 48).SerializeToString()
    records = [datum(3, 9), picture, floats, datum(3, 8, 6), datum(1, 9), b"words"]
    for path in ("d.lmdb", "other"):
        database(Path(path), records)
        assert outcome(find([path])) == [
            (f"{path}#000", "9"),
            (f"{path}#001", "2"),
            (f"{path}#002", "2"),
            (f"{path}#003", "8"),
            (f"{path}#004", f"{path}#004 is 1x4x4, the model takes 3 planes"),
            (f"{path}#005", f"{path}#005: its 5 bytes are no Datum"),
        ]
    table = Intake((Value("x", (0, 16)),), {})
    assert outcome(find(["d.lmdb/data.mdb"]), table)[4:5] == [("d.lmdb/data.mdb#004", "9")]
    assert outcome(find(["d.lmdb"]), table)[0] == ("d.lmdb#000", "d.lmdb#000 is 3x4x4, the model takes 16")


def test_one_source_that_cannot_be_read_is_one_result_and_the_rest_goes_on(tree):
    os.mkdir("none.lmdb")
    Path("bad.npz").write_text("words")
    Path("bad.avi").write_text("words")
    sources = find(["none.lmdb", "bad.npz", "bad.avi", "p/a.png"])
    assert count(sources) is None
    assert outcome(sources) == [
        ("none.lmdb", "none.lmdb holds no data.mdb"),
        ("bad.npz", "bad.npz is no .npy or .npz file"),
        ("bad.avi", "bad.avi cannot be opened as a video"),
        ("p/a.png", "1"),
    ]


def test_python_may_hand_over_paths_bytes_and_arrays(tree):
    things = [tree / "a.png", "p/b.png", (tree / "b.png").read_bytes(), np.full((2, 4, 4), 6, np.uint8)]
    expected = [("p/a.png", "1"), ("p/b.png", "2"), ("the image", "2"), ("the array#0", "6"), ("the array#1", "6")]
    assert outcome(of(things)) == expected


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none.png", "error: none.png is not there"),
        ("p/*.jpg", "error: nothing matches p/*.jpg\nhelp: ** stands for any number of folders"),
        ("p/[x].jpg", "error: nothing matches p/[x].jpg"),
        ("p/**/", "error: nothing matches p/**/\nhelp: ** stands for any number of folders"),
        ("empty", "error: empty holds no image files"),
    ],
)
def test_what_is_not_there_at_all_is_refused(path, said, tree):
    os.mkdir("empty")
    with pytest.raises(NktcError) as caught:
        find([path])
    assert str(caught.value) == said


def test_a_list_that_is_not_there_is_refused(tree):
    with pytest.raises(NktcError) as caught:
        listed("none.txt")
    assert str(caught.value) == (
        "error: there is no list none.txt\nhelp: give a text file of paths, one a line, or - for standard input"
    )
