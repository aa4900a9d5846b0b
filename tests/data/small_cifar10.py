"""A CIFAR-10 of twenty training and ten test pictures, in every form that the real one comes in."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc.data.sets import cifar10, shapes10
from nktc.data.sets.catalogue import KNOWN
from nktc.ir import Phase

LABELS = KNOWN["cifar10"].labels
SIZES = {Phase.TRAIN: 20, Phase.TEST: 10}


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test cifar10 and shapes10 have these few pictures."""
    for module in (cifar10, shapes10):
        small = replace(module.SET, sizes=SIZES)
        monkeypatch.setattr(module, "SET", small)
        monkeypatch.setitem(KNOWN, small.name, small)  # type: ignore[misc]
    monkeypatch.setattr(cifar10, "RECORDS", 4)
    monkeypatch.setitem(cifar10.BATCHES, Phase.TEST, ("test_batch.bin",))


def picture(split: str, label: int, number: int) -> np.ndarray:
    """u8[h w 3], red first; its own for each."""
    seed = [split == "train", label, number]
    return np.random.RandomState(seed).randint(0, 256, (32, 32, 3), np.uint8)


def write_tree(root: Path) -> Path:
    for split, count in (("train", 2), ("test", 1)):
        for label, name in enumerate(LABELS):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                file = root / split / name / f"{number:04}.png"
                cv2.imwrite(str(file), picture(split, label, number)[..., ::-1])
    return root


def pack(folder: Path, archive: Path, prefix: str) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, prefix)
    return archive
