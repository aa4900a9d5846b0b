"""What `info` tells of sets and of data that lies somewhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import small_cifar10 as small

from nktc.data import Columns, Options, Pictures, Places, SourceOptions, convert, info
from nktc.data.databases.datum import pack
from nktc.data.databases.lmdb import write_database
from nktc.errors import NktcError

PLACES = Places((), Path("nowhere"), download=False)


def told(what: object) -> dict[str, str]:
    return dict(info(str(what), PLACES))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for i, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png")):
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.zeros((4, 5 + i // 2, 3), np.uint8))
    return tmp_path / "tree"


def test_a_known_set_is_told_without_its_data() -> None:
    assert info("mnist", PLACES)[:6] == [
        ("name", "mnist"),
        ("about", "handwritten digits, 28x28"),
        ("images", "1x28x28, grey, 0 to 255"),
        ("TRAIN", "60000 images"),
        ("TEST", "10000 images"),
        ("classes", "10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ]
    assert told("mnist")["lies in"] == "nowhere on this machine: nktc data get mnist"
    assert told("digits")["lies in"] == "scikit-learn: always there"
    assert told("cifar100")["classes"].endswith("bee, beetle, bicycle, bottle and 90 more")
    assert told("california-housing")["rows"] == "20640"
    assert told("tiny-shakespeare")["text"] == "1115394 bytes"


def test_a_database_is_told_by_a_sample_of_its_records(tmp_path: Path) -> None:
    records = [(f"{i:05}".encode(), pack(np.full((1, 2, 3 + i % 2), i % 7, np.uint8), i % 3)) for i in range(3000)]
    write_database(tmp_path / "db", records)
    found = told(tmp_path / "db")
    assert found["records"] == "3000"
    assert found["sample"] == "those of 1000 of 3000 records"
    assert sum(int(part.partition("(")[2].partition(")")[0]) for part in found["sizes"].split(", ")) == 1000
    assert found["labels"].startswith("0 to 2: 0 (")
    assert int(found["bytes"]) == (tmp_path / "db" / "data.mdb").stat().st_size


def test_records_that_are_damaged_are_named(tmp_path: Path) -> None:
    good = pack(np.zeros((1, 2, 2), np.uint8), 0)
    write_database(tmp_path / "db", [(b"a", good), (b"b", good[:-3])])
    found = told(tmp_path / "db")
    assert found["damaged"].startswith('record 1, key "b": ')
    assert found["sizes"] == "1x2x2 (1)"


def test_folders_lists_and_what_becomes_of_them(tree: Path, tmp_path: Path) -> None:
    found = told(tree)
    assert (found["images"], found["sizes"]) == ("3", "3x4x5 (2), 3x4x6 (1)")
    assert (found["labels"], found["classes"]) == ("0 to 1: cat (2), dog (1)", "2: cat, dog")
    assert told(small.pack(tree, tmp_path / "t.tar.gz", "t"))["sizes"] == found["sizes"]
    (tree / "list.txt").write_text("cat/1.png 4\ndog/9.png 2\n")
    found = told(tree / "list.txt")
    assert (found["images"], found["labels"]) == ("2", "2 to 4: 2 (1), 4 (1)")
    assert found["damaged"] == f"{tree / 'list.txt'}:2: dog/9.png cannot be read"
    made = convert(str(tree), tmp_path / "db", Options(Pictures(encoded=True)), places=PLACES)
    assert told(made.output)["values"] == "image files"


def test_a_tree_of_splits_tells_each(tree: Path) -> None:
    for split, name in (("train", "cat"), ("test", "dog")):
        (tree / split).mkdir()
        (tree / name).rename(tree / split / name)
    assert (told(tree)["train"], told(tree)["test"]) == ("2 images", "1 images")


def test_a_table_and_the_file_that_it_becomes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,kind,t\n1.5,a,0\n,b,1\n-2,a,1\n")
    found = told(tmp_path / "t.csv")
    assert (found["rows"], found["x"], found["kind"]) == ("3", "-2 to 1.5, 1 empty", "2: a, b")
    columns = Columns(("t",), ("kind",))
    convert(str(tmp_path / "t.csv"), tmp_path / "o.h5", reading=SourceOptions(columns=columns), places=PLACES)
    found = told(tmp_path / "o.h5")
    assert (found["data"], found["label"], found["labels"]) == ("float32 2x1", "float32 2", "0 to 1: 0 (1), 1 (1)")
    assert told(tmp_path / "o.txt")["first"] == str(tmp_path / "o.h5")


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words of a text\n")
    (tmp_path / "b.bin").write_bytes(b"\xff\xfe")
    for name in ("a.txt", "b.bin"):
        with pytest.raises(NktcError) as refused:
            info(str(tmp_path / name), PLACES)
        assert refused.value.message == f"{tmp_path / name} is no data that nktc knows"
    with pytest.raises(NktcError) as refused:
        info("mnst", PLACES)
    assert str(refused.value) == 'error: mnst is not there\nhelp: did you mean "mnist"?'
