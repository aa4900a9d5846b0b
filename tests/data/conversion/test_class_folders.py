"""Class folders as a conversion takes them, and as an ImageData layer does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small_cifar10 as small

from nktc.data import Conversion, Places, SourceOptions, convert
from nktc.data.databases.datum import parse
from nktc.data.databases.lmdb_reader import Database
from nktc.data.image_folder import read_folder
from nktc.errors import LayerError, NktcError

PLACES = Places((), Path("nowhere"), download=False)


def tree_of(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
        if path.suffix == ".doc":
            path.write_text("words")
        elif path.suffix:
            cv2.imwrite(str(path), np.zeros((3, 4, 3), np.uint8))
    return root


def converted(source: Path, output: Path, told: list[str] | None = None, split: str = "") -> Conversion:
    tell = (lambda text: None) if told is None else told.append
    return convert(str(source), output, reading=SourceOptions(split), places=PLACES, tell=tell)


def labels(made: Conversion) -> dict[str, int]:
    records = Database(made.output).read(0, made.records)
    return {key.decode().partition("_")[2]: parse(value).label for key, value in records}


@pytest.mark.parametrize(
    "names",
    [
        ("ant/1.png", "bee", "cat/1.png"),
        ("ant", "bee/deep/1.png", "cat/notes.doc"),
        ("ant/.old/1.png", "bee/1.png", ".git/1.png", "cat/a/b/1.png"),
        ("ant", "bee/1.png"),
        ("ant/a.png", "ant/c.png"),
    ],
)
def test_a_conversion_numbers_classes_as_image_data_does(tmp_path: Path, names: tuple[str, ...]) -> None:
    tree = tree_of(tmp_path / "tree", *names)
    entries, classes = read_folder(tree)
    told: list[str] = []
    made = converted(tree, tmp_path / "db", told)
    assert made.labels == classes
    assert labels(made) == {Path(entry.path).relative_to(tree).as_posix(): entry.label for entry in entries}
    empty = [name for i, name in enumerate(classes) if i not in {entry.label for entry in entries}]
    assert told == [f"{tree}: the class folder {name} holds no image files" for name in empty]


def test_a_link_to_a_folder_is_a_class(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", "bee/1.png")
    (tree / "ant").symlink_to(tree_of(tmp_path / "elsewhere", "2.png"))
    assert labels(converted(tree, tmp_path / "db")) == {"ant/2.png": 0, "bee/1.png": 1}
    assert read_folder(tree)[1] == ("ant", "bee")


@pytest.mark.parametrize("wrapping", ["", "wrapped/deep"])
def test_empty_folders_of_archives_and_splits_count_too(tmp_path: Path, wrapping: str) -> None:
    tree = tree_of(tmp_path / "tree", "train/ant", "train/bee/1.png", "test/ant/1.png", "test/bee/1.png")
    archive = small.pack(tree, tmp_path / "t.tar.gz", wrapping or ".")
    for source in (tree, archive):
        told: list[str] = []
        made = converted(source, tmp_path / f"db{source.suffix}", told, "train")
        assert labels(made) == {"bee/1.png": 1}
        root = f"{wrapping}/" if wrapping and source == archive else ""
        assert told == [f"{source}: the class folder {root}train/ant holds no image files"]


@pytest.mark.parametrize("hidden", ["tree", "tree/bee", "tree/bee/deep"])
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    tree = tree_of(tmp_path / "tree", "ant/1.png", "bee/deep/1.png", "cat/1.png")
    scandir = os.scandir

    def refusing(path: Any = ".") -> Iterator[os.DirEntry[str]]:
        if Path(path) == tmp_path / hidden:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    said = f"{tmp_path / hidden} cannot be read: Permission denied"
    with pytest.raises(NktcError) as refused:
        converted(tree, tmp_path / "db")
    assert refused.value.message == said
    with pytest.raises(LayerError) as unread:
        read_folder(tree)
    assert unread.value.message == f"source {said}"
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize(("name", "shown"), [(b"caf\xe9", "caf\\xe9"), (b"two\nlines", "two\\nlines")])
def test_a_class_whose_name_no_text_file_holds_is_refused(tmp_path: Path, name: bytes, shown: str) -> None:
    tree = tree_of(tmp_path / "tree", "ant/1.png", "bee/1.png")
    (tree / "bee").rename(tree / os.fsdecode(name))
    with pytest.raises(NktcError) as refused:
        converted(tree, tmp_path / "db")
    assert str(refused.value) == (
        f"error: {tree}: '{shown}' is no name of a class, for it is no UTF-8 of one line\nhelp: rename the folder"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]
