"""Sources that are damaged, too long or too large: told in words."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small_cifar10 as small

from nktc.data import KNOWN, Columns, Conversion, Options, Pictures, Places, SourceOptions, convert
from nktc.data.sets import cifar10
from nktc.errors import NktcError
from nktc.ir import Phase

PLACES = Places((), Path("nowhere"), download=False)


def refused(source: object, output: Path, *more: Any, **options: Any) -> str:
    before = sorted(output.parent.iterdir())
    with pytest.raises(NktcError) as error:
        convert(str(source), output, *more, places=PLACES, **options)
    assert sorted(output.parent.iterdir()) == before
    return error.value.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff" * 30, "Error -3 while decompressing data: invalid block type"),
        (b"", "Compressed file ended before the end-of-stream marker was reached"),
    ],
)
def test_a_packed_file_that_cannot_be_unpacked_is_damaged(tmp_path: Path, body: bytes, said: str) -> None:
    file = tmp_path / "images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(b"")[:10] + body)
    assert refused(file, tmp_path / "db") == f"{file} is damaged ({said})"


def test_a_label_that_cifar10_does_not_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small.shrink(monkeypatch)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in cifar10.FILES:
        (folder / name).write_bytes(bytes(4 * cifar10.RECORD))
    changed = np.zeros((4, cifar10.RECORD), np.uint8)
    changed[2, 0] = 200
    changed.tofile(folder / "data_batch_4.bin")
    monkeypatch.setitem(
        KNOWN,
        "cifar10",
        replace(KNOWN["cifar10"], sizes={Phase.TRAIN: 20, Phase.TEST: 4}),  # type: ignore[misc]
    )
    said = refused(folder, tmp_path / "db", reading=SourceOptions("train"))
    assert said == f"{folder}: data_batch_4.bin has a label 200, CIFAR-10's are 0 to 9"


def test_a_name_of_a_column_that_is_too_long_is_told(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(f"x,{'y' * 200_000}\n1,2\n")
    said = refused(file, tmp_path / "o.h5", reading=SourceOptions(columns=Columns(("x",))))
    assert said == f"{file}:1: field larger than field limit (131072)"


def test_a_name_that_no_system_takes_is_not_there(tmp_path: Path) -> None:
    for name in ("x" * 300, "a\0b"):
        assert refused(name, tmp_path / "db") == f"{name} is not there"


def test_a_picture_that_is_larger_than_its_kind_of_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "tree" / "a" / "1.png"), np.zeros((3, 4, 3), np.uint8))
    options = Options(Pictures((2, 70000), encode_type="jpg"))
    said = refused(tmp_path / "tree", tmp_path / "db", options)
    first = "a/1.png is 3x2x70000, which is more than a jpg file holds"
    assert said == f"none of 1 records can be converted; the first: {first}"


def test_a_folder_that_cannot_be_looked_at_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.stat

    def refusing(path: Any, **more: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path / "closed")):
            raise PermissionError(13, "Permission denied")
        return stat(path, **more)

    monkeypatch.setattr(os, "stat", refusing)
    assert refused(tmp_path / "closed" / "tree", tmp_path / "db") == f"{tmp_path / 'closed' / 'tree'} is not there"


def test_the_first_ten_records_of_each_reason_are_named() -> None:
    some = tuple((f"t.csv:{i}:", "x has no value") for i in range(207))
    made = Conversion(Path("o.h5"), 1, (), {}, (*some[:5], ("t.csv:5:", "y has no value"), *some[5:]))
    said = made.left_out()
    assert said == [
        *(f"t.csv:{i}: x has no value" for i in range(5)),
        "t.csv:5: y has no value",
        *(f"t.csv:{i}: x has no value" for i in range(5, 10)),
        "207 records: x has no value; the first 10 are named",
    ]
