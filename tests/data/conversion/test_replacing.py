"""What --force replaces, and what stays whatever is asked."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from small_leveldb import write_records

from nktc.data import Options, Places, SourceOptions, convert
from nktc.data.databases.lmdb_reader import Database
from nktc.errors import NktcError

PLACES = Places((), Path("nowhere"), download=False)
PARTS = Options(val=0.25, test=0.25)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for i in range(8):
        file = tmp_path / "up" / "tree" / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.full((3, 4, 3), i, np.uint8))
    return tmp_path / "up" / "tree"


def kept(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(tree: Path, output: Path, options: Options = PARTS, reading: SourceOptions | None = None) -> str:
    """What is said, also with force; nothing changes and nothing is left."""
    before = kept(tree.parent.parent)
    with pytest.raises(NktcError) as error:
        convert(str(tree), output, options, reading or SourceOptions(), places=PLACES, force=True)
    assert kept(tree.parent.parent) == before
    return error.value.message


def test_the_source_and_what_lies_above_it_are_not_written_over(tree: Path, tmp_path: Path) -> None:
    listing = tmp_path / "lists" / "deep" / "list.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("a/0.png 0\n")
    (tmp_path / "link").symlink_to(tree)
    same = "is what is to be converted"
    for options in (Options(), PARTS, Options(backend="hdf5")):
        for output in (tree, tree / "..", tree.parent / "." / "tree", tmp_path / "link"):
            said = refused(tree, output, options)
            assert said.endswith(same) or "has no name of its own" in said
        assert refused(tree, tree.parent, options) == f"{tree}, which is to be converted, lies in {tree.parent}"
        above = refused(tree, tmp_path / "lists", options, SourceOptions(listing=listing))
        assert above == f"{listing}, which is to be converted, lies in {tmp_path / 'lists'}"
    hdf5 = refused(tree, listing.with_suffix(".h5"), Options(), SourceOptions(listing=listing))
    assert hdf5 == f"{listing} {same}"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["thesis.doc"], "thesis.doc is none of its parts"),
        (["train/1.png"], "train is neither a database nor HDF5"),
        (["train.h5"], "train.h5 is neither a database nor HDF5"),
        (["data.mdb", "notes.txt"], "notes.txt is no part of a database"),
        (["data.mdb", "more/1"], "more is no part of a database"),
    ],
)
@pytest.mark.parametrize("options", [Options(), PARTS], ids=["whole", "parts"])
def test_a_folder_that_no_conversion_made_stays(
    tree: Path, tmp_path: Path, files: list[str], said: str, options: Options
) -> None:
    output = tmp_path / "out"
    convert(str(tree), output, places=PLACES)
    for path in output.iterdir():
        path.unlink() if "data.mdb" not in files else None
    for name in files:
        if name != "data.mdb":
            (output / name).parent.mkdir(exist_ok=True)
            (output / name).write_text("mine")
    assert refused(tree, output, options) == f"--force replaces what a conversion has made, and {output / said}"


def test_files_that_no_conversion_made_stay(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("mine")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["weights"] = np.zeros(3)
    convert(str(tree), tmp_path / "o.h5", places=PLACES)
    (tmp_path / "o.txt").write_text(f"{tmp_path / 'o.h5'}\n{tmp_path / 'other.h5'}\n")
    for name, said in {
        "a.h5": "a.h5 is neither a database nor HDF5",
        "w.h5": "w.h5 is HDF5 of something else than data and label",
        "o.h5": "o.txt is not the list of o.h5 alone",
    }.items():
        expected = f"--force replaces what a conversion has made, and {tmp_path}/{said}"
        assert refused(tree, tmp_path / name, Options()) == expected


def test_whatever_a_conversion_made_is_replaced_by_any_other(tree: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.h5"
    output.mkdir()
    kinds = [Options(backend="lmdb"), PARTS, Options(val=0.5, backend="lmdb"), Options(), Options(backend="lmdb")]
    for options in (*kinds, Options(), Options()):
        made = convert(str(tree), output, options, places=PLACES, force=True)
        assert made.records == 8
        assert output.is_file() == (options == Options())
    assert {path.name for path in tmp_path.iterdir()} == {"up", "o.h5", "o.txt"}
    leveldb = tmp_path / "leveldb"
    write_records(leveldb, [(b"a", b"b")])
    convert(str(tree), leveldb, places=PLACES, force=True)
    assert Database(leveldb).records == 8


def test_hdf5_and_its_list_have_two_names(tree: Path, tmp_path: Path) -> None:
    said = refused(tree, tmp_path / "o.txt", Options(backend="hdf5"))
    assert said == f"{tmp_path / 'o.txt'} would be both the HDF5 file and the list that names it"
    assert convert(str(tree), tmp_path / "o.txt", places=PLACES).records == 8  # an LMDB has no list
