"""Fashion-MNIST, which calls its files as MNIST does."""

from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nktc.data import Places, find_copy
from nktc.data.sets import fashion_mnist, mnist
from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.four_files import FILES
from nktc.errors import NktcError
from nktc.ir import Phase

SIZES = {Phase.TRAIN: 5, Phase.TEST: 3}


def four(seed: int) -> dict[str, bytes]:
    """The four files of a small set, unpacked."""
    random, files = np.random.RandomState(seed), {}
    for name in FILES:
        count = SIZES[Phase.TRAIN if "train" in name else Phase.TEST]
        array = random.randint(0, 256, (count, 28, 28)) if "images" in name else random.randint(0, 10, count)
        head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        files[name] = head + array.astype(np.uint8).tobytes()
    return files


def write(folder: Path, files: dict[str, bytes], packed: bool) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return folder


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """A small MNIST and a small Fashion-MNIST, with their checksums in the place of the real ones."""
    digits, clothes = four(0), four(1)
    for name, data in digits.items():
        monkeypatch.setitem(mnist.SUMS, name, hashlib.md5(data).hexdigest())
    sums = {hashlib.md5(gzip.compress(data, mtime=0)).hexdigest() for data in clothes.values()}
    monkeypatch.setattr(fashion_mnist, "SUMS", sums)
    small = replace(fashion_mnist.SET, sizes=SIZES)
    monkeypatch.setattr(fashion_mnist, "SET", small)
    monkeypatch.setitem(KNOWN, small.name, small)  # type: ignore[misc]
    return digits, clothes


Sets = tuple[dict[str, bytes], dict[str, bytes]]


def test_each_set_is_told_from_the_other_by_its_contents(sets: Sets, tmp_path: Path) -> None:
    digits, clothes = sets
    for i, packed in enumerate((True, False)):
        place = write(tmp_path / f"a{i}", digits, packed)
        assert mnist.find(place) is not None
        assert fashion_mnist.find(place) is None
        assert fashion_mnist.find_named(place) is None
    official = write(tmp_path / "b", clothes, True)
    assert mnist.find(official) is None
    copy = fashion_mnist.find(official)
    assert copy is not None
    images = copy.read()[Phase.TEST]
    assert images.pixels.tobytes() == clothes["t10k-images-idx3-ubyte"][16:]
    assert images.labels.tolist() == list(clothes["t10k-labels-idx1-ubyte"][8:])


def test_unpacked_files_are_taken_where_the_place_is_called_for_the_set(sets: Sets, tmp_path: Path) -> None:
    _, clothes = sets
    unpacked = write(tmp_path / "c", clothes, False)
    assert fashion_mnist.find(unpacked) is None
    assert mnist.find(unpacked) is None
    assert fashion_mnist.find(write(tmp_path / "FashionMNIST" / "raw", clothes, False)) is not None
    known = KNOWN["fashion-mnist"]
    for root, found in ((str(unpacked), False), (f"fashion-mnist={unpacked}", True)):
        assert (find_copy(known, Places((root,), tmp_path / "cache")) is not None) == found


def test_files_that_are_not_the_sets_are_named(sets: Sets, tmp_path: Path) -> None:
    digits, clothes = sets
    mixed = {**clothes, "t10k-images-idx3-ubyte": digits["t10k-images-idx3-ubyte"]}
    place = write(tmp_path / "fashion", mixed, False)
    copy = fashion_mnist.find(place)
    assert copy is not None
    with pytest.raises(NktcError) as refused:
        copy.read()
    assert refused.value.message == f"{place}/t10k-images-idx3-ubyte is MNIST's, not Fashion-MNIST's"
    (place / "t10k-images-idx3-ubyte").write_bytes(clothes["train-images-idx3-ubyte"])
    with pytest.raises(NktcError) as refused:
        copy.read()
    assert refused.value.message == f"{place}/t10k-images-idx3-ubyte is 5x28x28, Fashion-MNIST's is 3x28x28"


def test_the_real_mnist_is_no_fashion(shared: Path) -> None:
    assert fashion_mnist.find_named(shared / "data" / "mnist") is None
