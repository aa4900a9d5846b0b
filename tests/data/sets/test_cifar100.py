"""CIFAR-100's binary files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_cifar10 as small

from nktc.data.sets import cifar10, cifar100
from nktc.data.sets.catalogue import KNOWN
from nktc.errors import NktcError
from nktc.ir import Phase


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    known = replace(cifar100.SET, sizes={Phase.TRAIN: 6, Phase.TEST: 4})
    monkeypatch.setattr(cifar100, "SET", known)
    monkeypatch.setitem(KNOWN, known.name, known)  # type: ignore[misc]
    made = tmp_path / "cifar-100-binary"
    made.mkdir()
    for name, records in zip(("train.bin", "test.bin"), np.split(bytes_of(10), [6]), strict=True):
        records.tofile(made / name)
    return made


def bytes_of(count: int) -> np.ndarray:
    """u8[n 3074]: a coarse label, a fine one, pixels."""
    records = np.random.RandomState(0).randint(0, 256, (count, 3074), np.uint8)
    records[:, 0] %= 20
    records[:, 1] %= 100
    return records


@pytest.mark.parametrize("form", ["folder", "above", "archive", "other name"])
def test_the_fine_labels_are_the_classes(folder: Path, tmp_path: Path, form: str) -> None:
    place = {
        "folder": lambda: folder,
        "above": lambda: tmp_path,
        "archive": lambda: small.pack(folder, tmp_path / "c.tar.gz", folder.name),
        "other name": lambda: folder.rename(tmp_path / "other"),
    }[form]()
    copy = cifar100.find(place)
    assert copy is not None
    splits, expected = copy.read(), bytes_of(10)
    assert splits[Phase.TRAIN].labels.tolist() == expected[:6, 1].tolist()
    np.testing.assert_array_equal(splits[Phase.TEST].pixels.reshape(4, -1), expected[6:, 2:])
    assert cifar10.find(place) is None


def test_a_short_file_is_named_and_other_files_are_passed_by(folder: Path, tmp_path: Path) -> None:
    (folder / "test.bin").write_bytes(b"short")
    copy = cifar100.find(folder)
    assert copy is not None
    with pytest.raises(NktcError) as refused:
        copy.read()
    assert refused.value.message == f"{folder}: test.bin has 5 bytes, CIFAR-100's has 12296"
    assert cifar100.find(folder.rename(tmp_path / "firmware")) is None


def test_the_names_are_a_hundred_in_the_order_of_the_alphabet() -> None:
    names = KNOWN["cifar100"].labels
    assert len({*names}) == 100
    assert list(names) == sorted(names)
    assert (names[0], names[52], names[99]) == ("apple", "oak_tree", "worm")
