"""Files in folders and archives."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from nktc.data.trees import Tree, common_folder, first_names
from nktc.errors import NktcError

FILES = {"top/b/2.png": b"two", "top/a/1.JPG": b"one", "top/a/._1.jpg": b"a Mac's own", "top/notes.txt": b"words"}


def packed(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for file, data in FILES.items():
                archive.writestr(file, data)
        return path
    with tarfile.open(path, f"w:{name.partition('.tar.')[2]}") as tar:  # type: ignore[call-overload]
        for file, data in FILES.items():
            info = tarfile.TarInfo(f"./{file}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def unpacked(folder: Path) -> Path:
    for file, data in FILES.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", ["", "x.tar", "x.tar.gz", "x.tar.xz", "x.tar.bz2", "x.zip"])
def test_a_folder_and_its_archive_are_the_same(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path, name) if name else unpacked(tmp_path)
    tree = Tree(path)
    assert tree.names == sorted(FILES)
    assert tree.pictures() == ["top/a/1.JPG", "top/b/2.png"]
    assert {file: tree.read(file) for file in tree.names} == FILES


@pytest.mark.parametrize("name", ["x.tar.gz", "x.zip"])
def test_the_first_names_need_not_the_rest(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path, name)
    assert first_names(path, 2) == list(FILES)[:2]
    path.write_bytes(b"garbage")
    assert first_names(path) == []


def test_a_damaged_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = packed(tmp_path, "x.tar.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(NktcError) as refused:
        Tree(path)
    assert refused.value.message.startswith(f"{path} is damaged (")


def test_the_common_folder_is_the_deepest() -> None:
    assert common_folder(["a/b/1", "a/b/c/2"]) == "a/b/"
    assert common_folder(["a/1", "b/2"]) == common_folder([]) == ""
