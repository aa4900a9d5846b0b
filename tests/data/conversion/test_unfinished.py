"""Conversions that are interrupted, and disks that fill."""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
import pytest
from filelock import FileLock

from nktc.data import Conversion, Options, Pictures, Places, convert
from nktc.data.conversion.hdf5_writer import Rows
from nktc.data.databases.lmdb import Writer
from nktc.data.databases.lmdb_reader import Database
from nktc.errors import NktcError

PLACES = Places((), Path("nowhere"), download=False)
COUNT = 50


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fifty pictures in two folders, the eighth broken; they are written seven at a time."""
    # The door has a function of that name.
    monkeypatch.setattr(importlib.import_module("nktc.data.conversion.convert"), "COMMIT", 7)
    random = np.random.RandomState(0)
    for i in range(COUNT):
        file = tmp_path / "tree" / "ab"[i % 2] / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), random.randint(0, 256, (6, 5, 3), np.uint8))
    (tmp_path / "tree" / "a" / "14.png").write_text("words")
    return tmp_path / "tree"


class Broken:
    """Makes the `times`-th write of databases and rows fail with `error`, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int, error: BaseException) -> None:
        self.times, self.error = times, error
        write, append = Writer.write, Rows.append

        def failing_write(writer: Writer, records: Sequence[tuple[bytes, bytes]]) -> None:
            self.count()
            write(writer, records)

        def failing_append(rows: Rows, values: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
            append(rows, values, labels)
            self.count()

        monkeypatch.setattr(Writer, "write", failing_write)
        monkeypatch.setattr(Rows, "append", failing_append)

    def count(self) -> None:
        self.times -= 1
        if self.times == 0:
            raise self.error


def run(tree: Path, output: str, options: Options, told: list[str] | None = None) -> Conversion:
    tell = (lambda text: None) if told is None else told.append
    return convert(str(tree), tree.parent / output, options, places=PLACES, tell=tell)


def contents(path: Path) -> object:
    if path.is_file():
        with h5py.File(path) as file:
            return file["data"][:].tolist(), file["label"][:].tolist()
    parts = [path] if (path / "data.mdb").is_file() else sorted(path.iterdir())
    found = []
    for part in parts:
        database = Database(part)
        found += [(part.name if part != path else "", database.read(0, database.records))]
    return found


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("db", Options(shuffle=True, seed=5)),
        ("db", Options(val=0.2, test=0.3)),
        ("o.h5", Options(Pictures(gray=True))),
    ],
    ids=["lmdb", "parts", "hdf5"],
)
@pytest.mark.parametrize("times", [1, 3, 6])
def test_what_was_interrupted_goes_on_to_the_same_end(
    tree: Path, monkeypatch: pytest.MonkeyPatch, output: str, options: Options, times: int
) -> None:
    whole = run(tree, f"whole{output}", options)
    Broken(monkeypatch, times, KeyboardInterrupt())
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(tree, output, options, told)
    part = tree.parent / f".{output}.part"
    assert not (tree.parent / output).exists()
    assert part.is_dir() == (times > 1)
    done = run(tree, output, options, told)
    if times > 1:
        said = f"interrupted: the same command goes on with what is done, which is kept in {part}"
        assert told[0] == said
        assert told[1].startswith(f"{tree.parent / output}: going on after ")
    assert not part.exists()
    assert (done.records, done.refused, done.sizes) == (whole.records, whole.refused, whole.sizes)
    assert contents(done.output) == contents(whole.output)


@pytest.mark.parametrize("change", ["options", "source"])
def test_another_command_or_source_begins_anew_and_says_so(
    tree: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    Broken(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(tree, "db", Options())
    options = Options(Pictures(gray=True)) if change == "options" else Options()
    if change == "source":
        cv2.imwrite(str(tree / "a" / "00.png"), np.zeros((6, 5, 3), np.uint8))
    told: list[str] = []
    done = run(tree, "db", options, told)
    assert told == [f"{tree.parent / 'db'}: begins anew, for what was interrupted had another source or other options"]
    assert contents(done.output) == contents(run(tree, "other", options).output)


def test_threads_and_strictness_change_nothing_of_what_is_kept(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Broken(monkeypatch, 5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(tree, "db", Options(threads=3))
    told: list[str] = []
    run(tree, "db", Options(threads=1), told)
    assert told == [f"{tree.parent / 'db'}: going on after 29 records"]


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("db", lmdb.DiskError("mdb_txn_commit: No space left on device")),
        ("o.h5", OSError(errno.ENOSPC, "write failed: pages of words")),
    ],
)
def test_a_full_disk_leaves_no_output_and_says_so_in_a_line(
    tree: Path, monkeypatch: pytest.MonkeyPatch, output: str, error: BaseException
) -> None:
    (tree / "a" / "14.png").unlink()
    Broken(monkeypatch, 4, error)
    with pytest.raises(NktcError) as refused:
        run(tree, output, Options())
    part = tree.parent / f".{output}.part"
    assert str(refused.value) == (
        f"error: cannot write {tree.parent / output}: No space left on device\n"
        f"help: the same command goes on with what is done, which is kept in {part}"
    )
    assert not (tree.parent / output).exists()
    assert run(tree, output, Options()).records == COUNT - 1


def test_a_state_that_is_damaged_counts_as_none(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Broken(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(tree, "db", Options())
    (tree.parent / ".db.part" / "state.json").write_text('{"digest": ')
    assert run(tree, "db", Options()).records == COUNT - 1


def test_two_at_a_time_do_not_write_the_same_output(tree: Path) -> None:
    (tree.parent / ".db.part").mkdir()
    with FileLock(tree.parent / ".db.part" / "lock"), pytest.raises(NktcError) as refused:
        run(tree, "db", Options())
    assert refused.value.message == f"{tree.parent / 'db'} is being written by another nktc data convert"


def test_what_is_refused_leaves_nothing_behind(tree: Path) -> None:
    before = sorted(path.name for path in tree.parent.iterdir())
    with pytest.raises(NktcError) as refused:
        run(tree, "db", Options(strict=True))
    assert str(refused.value) == (
        "error: a/14.png is not an image that can be decoded\nhelp: without --strict it is left out"
    )
    cv2.imwrite(str(tree / "b" / "15.png"), np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(NktcError) as refused:
        run(tree, "db", Options(check_size=True))
    assert refused.value.message == "b/15.png is 3x5x5, a/00.png is 3x6x5: sizes differ"
    assert sorted(path.name for path in tree.parent.iterdir()) == before


def test_what_was_there_comes_back_where_the_new_cannot_take_its_place(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tree, "db", Options())
    before = contents(tree.parent / "db")
    replace = os.replace

    def failing(source: object, target: object) -> None:
        if Path(str(source)).name == "new":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(NktcError, match="cannot write"):
        convert(str(tree), tree.parent / "db", Options(shuffle=True), places=PLACES, force=True)
    assert contents(tree.parent / "db") == before
    monkeypatch.undo()
    done = convert(str(tree), tree.parent / "db", Options(shuffle=True), places=PLACES, force=True)
    assert contents(done.output) != before
    assert not (tree.parent / ".db.part").exists()


def test_the_lock_is_held_until_the_folder_is_gone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, there = FileLock.release, []

    def releasing(lock: FileLock, force: bool = False) -> None:
        if Path(lock.lock_file).name == "lock" and not force:
            there.append(Path(lock.lock_file).parent.exists())
        release(lock, force)

    monkeypatch.setattr(FileLock, "release", releasing)
    run(tree, "db", Options())
    assert there == [False]
