"""MNIST: idx files, packed or not."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from nktc.data.sets import mnist
from nktc.errors import NktcError
from nktc.ir import Phase


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small files in MNIST's place, their checksums with them."""
    random = np.random.RandomState(0)
    made = {name: idx(random.randint(0, 256, (5, 28, 28) if "images" in name else 5, np.uint8)) for name in mnist.SUMS}
    for name, data in made.items():
        monkeypatch.setitem(mnist.SUMS, name, hashlib.md5(data).hexdigest())
    return made


@pytest.mark.parametrize("form", ["packed", "plain", "dotted", "below", "archive"])
def test_every_form_gives_the_same_pictures(files: dict[str, bytes], tmp_path: Path, form: str) -> None:
    folder = tmp_path / "MNIST" / "raw" if form == "below" else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        if form in ("plain", "dotted"):
            (folder / (name.replace("-idx", ".idx") if form == "dotted" else name)).write_bytes(data)
        else:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    place = tmp_path
    if form == "archive":
        place = tmp_path / "m.tar"
        with tarfile.open(place, "w") as tar:
            for name in files:
                tar.add(tmp_path / f"{name}.gz", f"mnist/{name}.gz")
    copy = mnist.find(place)
    assert copy is not None
    images = copy.read()[Phase.TEST]
    assert images.pixels.tobytes() == files["t10k-images-idx3-ubyte"][16:]
    assert images.pixels.shape == (5, 1, 28, 28)
    assert images.labels.tolist() == list(files["t10k-labels-idx1-ubyte"][8:])


def test_three_files_are_no_copy(files: dict[str, bytes], tmp_path: Path) -> None:
    for name in list(files)[:3]:
        (tmp_path / name).write_bytes(files[name])
    assert mnist.find(tmp_path) is None


def test_damaged_and_foreign_files_are_named(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    file = tmp_path / "train-labels-idx1-ubyte.gz"
    copy = mnist.find(tmp_path)
    assert copy is not None
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(NktcError, match=r"train-labels-idx1-ubyte\.gz is damaged \("):
        copy.read()
    file.write_bytes(gzip.compress(b"other"))
    with pytest.raises(NktcError) as refused:
        copy.read()
    assert refused.value.message == (
        f"{file} is not MNIST's: its md5 is 795f3202b17cb6bc3d4b771d8c6c9eaf, "
        f"not {mnist.SUMS['train-labels-idx1-ubyte']}"
    )


def test_the_real_files_pass(shared: Path) -> None:
    copy = mnist.find(shared / "data" / "mnist")
    assert copy is not None
    train, test = (copy.read()[split] for split in Phase)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert round(float(train.pixels.mean() / 255), 4) == 0.1307
