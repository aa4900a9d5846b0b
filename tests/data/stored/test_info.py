"""What `info` tells of sets and of data that lies somewhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
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
    assert found["damaged"] == f"{tree / 'list.txt'}:2: {tree / 'dog/9.png'}: the file does not exist"
    made = convert(str(tree), tmp_path / "db", Options(Pictures(encoded=True)), places=PLACES)
    assert told(made.output)["values"] == "image files"


def test_a_tree_of_splits_tells_each(tree: Path) -> None:
    for split, name in (("train", "cat"), ("test", "dog")):
        (tree / split).mkdir()
        (tree / name).rename(tree / split / name)
    assert (told(tree)["train"], told(tree)["test"]) == ("2 records", "1 record")


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


def test_a_parquet_table_is_told_and_a_column_of_neither_numbers_nor_words_by_its_kind(tmp_path: Path) -> None:
    table = pa.table({"x": [1.5, None, 3.0], "w": ["b", "a", "b"], "d": pa.array([1, 2, 3], pa.date32())})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    found = told(tmp_path / "t.parquet")
    assert (found["rows"], found["x"], found["w"], found["d"]) == ("3", "1.5 to 3, 1 empty", "2: b, a", "date32[day]")


def test_an_idx_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "images-idx3").write_bytes(b"\0\0\x08\3\0\0\0\2\0\0\0\4\0\0\0\5" + bytes(40))
    (tmp_path / "labels-idx1").write_bytes(b"\0\0\x08\1\0\0\0\2\7\3")
    found = told(tmp_path / "images-idx3")
    assert (found["images"], found["sizes"], found["labels"]) == ("2", "1x4x5 (2)", "3 to 7: 3 (1), 7 (1)")


@pytest.mark.parametrize("backend", ["lmdb", "hdf5"])
def test_the_parts_of_a_conversion_are_told(backend: str, tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 2}\n" for i in range(20))
    (tmp_path / "t.csv").write_text(f"x,t\n{rows}")
    options = Options(val=0.25, backend=backend)
    convert(str(tmp_path / "t.csv"), tmp_path / "out", options, SourceOptions(columns=Columns(("t",))), places=PLACES)
    found = told(tmp_path / "out")
    assert (found["train"], found["val"]) == ("15 records", "5 records")
    assert Path(found["the first"]).stem == "train"


def test_an_archive_of_splits_tells_each(tree: Path, tmp_path: Path) -> None:
    for split, name in (("train", "cat"), ("test", "dog")):
        (tree / split).mkdir()
        (tree / name).rename(tree / split / name)
    found = told(small.pack(tree, tmp_path / "t.tar.gz", "t"))
    assert (found["train"], found["test"], found["labels"]) == ("2 records", "1 record", "0 to 0: dog (1)")


def test_a_list_is_told_without_a_walk_through_its_folder_and_names_files_under_the_working_directory(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.txt").write_text("tree/cat/1.png 0\ntree/dog/1.png 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(Path, "rglob")
    found = told("lists/list.txt")
    assert (found["images"], found["sizes"]) == ("2", "3x4x5 (1), 3x4x6 (1)")
    assert "damaged" not in found


def test_a_path_goes_before_a_set_of_that_name(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.rename(tree.parent / "digits")
    monkeypatch.chdir(tree.parent)
    assert told("digits")["images"] == "3"


def test_labels_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["label"] = np.array([0, np.nan, 1], np.float32)
    found = told(tmp_path / "rows.h5")
    assert (found["labels"], found["damaged"]) == ("0 to 1: 0 (1), 1 (1)", "1 labels are NaN or infinite")


def test_a_name_that_no_system_takes_is_said(tmp_path: Path) -> None:
    with pytest.raises(NktcError, match="File name too long"):
        info(str(tmp_path / ("x" * 300)), PLACES)
