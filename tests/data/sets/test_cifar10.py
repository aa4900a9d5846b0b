"""CIFAR-10 in its forms: pictures and binary files, packed and unpacked."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import small_cifar10 as small

from nktc.data.sets import cifar10
from nktc.data.sets.copies import Copy, Splits
from nktc.errors import NktcError
from nktc.ir import Phase


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small.shrink(monkeypatch)
    return small.write_tree(tmp_path / "tree")


def found(place: Path) -> Copy:
    copy = cifar10.find(place)
    assert copy is not None
    return copy


def check_pictures(splits: Splits) -> None:
    """Every picture is there once, with its label, red plane first."""
    for split, count in (("train", 2), ("test", 1)):
        images = splits[Phase[split.upper()]]
        assert sorted(images.labels) == sorted(list(range(10)) * count)
        expected = {
            small.picture(split, label, number).transpose(2, 0, 1).tobytes(): label
            for label in range(10)
            for number in range(count)
        }
        assert {pixels.tobytes(): label for pixels, label in zip(images.pixels, images.labels, strict=True)} == expected


def test_a_tree_of_pictures_is_read_folder_or_archive(tree: Path, tmp_path: Path) -> None:
    unpacked = found(tree).read()
    check_pictures(unpacked)
    packed = found(small.pack(tree, tmp_path / "any-name.tar.gz", "some-prefix")).read()
    for split in Phase:
        np.testing.assert_array_equal(packed[split].pixels, unpacked[split].pixels)


@pytest.mark.parametrize("form", ["folder", "above", "archive"])
def test_the_official_binary_files_are_read_in_their_order(
    tree: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cifar10.BATCHES, Phase.TEST, ("test_batch.bin",))
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = np.random.RandomState(0).randint(0, 256, (24, cifar10.RECORD), np.uint8)
    records[:, 0] %= 10
    for i, name in enumerate(cifar10.FILES):
        records[4 * i : 4 * i + 4].tofile(folder / name)
    place = {
        "folder": lambda: folder,
        "above": lambda: tmp_path,
        "archive": lambda: small.pack(folder, tmp_path / "c.tar.gz", folder.name),
    }[form]()
    splits = found(place).read()
    assert splits[Phase.TRAIN].labels.tolist() == records[:20, 0].tolist()
    np.testing.assert_array_equal(splits[Phase.TEST].pixels.reshape(4, -1), records[20:, 1:])


def test_a_short_binary_file_is_named(tree: Path, tmp_path: Path) -> None:
    for name in cifar10.FILES:
        (tmp_path / name).write_bytes(bytes(4 * cifar10.RECORD))
    (tmp_path / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(NktcError) as refused:
        found(tmp_path).read()
    assert refused.value.message == f"{tmp_path}: data_batch_3.bin has 5 bytes, CIFAR-10's has 12292"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"words", "is not an image that can be decoded"),
        (cv2.imencode(".png", np.zeros((32, 31, 3), np.uint8))[1].tobytes(), "is 3x32x31, CIFAR-10's are 3x32x32"),
    ],
)
def test_a_picture_that_does_not_fit_is_named(tree: Path, content: bytes, why: str) -> None:
    (tree / "train" / "cat" / "0001.png").write_bytes(content)
    with pytest.raises(NktcError) as refused:
        found(tree).read()
    assert refused.value.message == f"{tree}: train/cat/0001.png {why}"


def test_other_folders_and_archives_are_passed_by(tree: Path, tmp_path: Path) -> None:
    assert cifar10.find(tree / "train") is None
    assert cifar10.find(small.pack(tree / "train", tmp_path / "x.tar.gz", "imagenet")) is None
    (tmp_path / "broken.zip").write_bytes(b"garbage")
    assert cifar10.find(tmp_path / "broken.zip") is None


def test_an_added_picture_makes_another_copy(tree: Path) -> None:
    before = found(tree).key
    assert found(tree).key == before
    (tree / "test" / "dog" / "9999.png").write_bytes(b"")
    assert found(tree).key != before
