"""A copy of a known set on this machine: what the set's own file finds, and what is kept of it in the
cache."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nktc.data.images import Images
from nktc.data.sets.catalogue import KnownSet
from nktc.errors import NktcError
from nktc.files import atomic
from nktc.ir import Phase, times

Splits = Mapping[Phase, Images]


@dataclass(frozen=True)
class Copy:
    """`where` it lies, for people; `key`, part of a file name, changes with its contents; `read` gives it
    whole. `home` is the folder of a copy that nktc itself keeps, in the form that it reads fastest."""

    where: str
    key: str
    read: Callable[[], Splits]
    home: Path | None = None

    def folder(self, known: KnownSet, cache: Path) -> Path:
        """Where what is derived from this copy is kept."""
        return self.home or cache / "sets" / f"{known.name}-{self.key}"

    def load(self, known: KnownSet, split: Phase, cache: Path) -> Images:
        """One split, from the cache where it was read before. Raises NktcError for a copy that is not the
        whole set."""
        folder = self.folder(known, cache)
        kept = _load(_file(folder, split))
        if kept is not None and _fits(kept, known, split):
            return kept
        splits = self.whole(known)
        for phase, images in splits.items():
            with suppress(NktcError):  # A cache that cannot be written costs time, not the run.
                _keep(_file(folder, phase), images)
        return splits[split]

    def whole(self, known: KnownSet) -> Splits:
        """All splits, from the copy itself. Raises NktcError for a copy that is not the whole set."""
        splits = self.read()
        for phase, images in splits.items():
            if not _fits(images, known, phase):
                raise NktcError(
                    f"{self.where} is not the whole of {known.name}: its {phase.name.lower()} split has "
                    f"{len(images)} images {times(images.pixels.shape[1:])}, "
                    f"not {known.sizes[phase]} images {times(known.image)}"
                )
        return splits

    def mean(self, known: KnownSet, cache: Path) -> np.ndarray:
        """Mean image of the TRAIN split, f32[c h w]."""
        file = self.folder(known, cache) / "mean.npy"
        # Not made yet, or damaged: it is made anew.
        with suppress(OSError, ValueError, EOFError):
            kept: np.ndarray = np.load(file)
            if kept.shape == known.image and kept.dtype == np.float32:
                return kept
        pixels = self.load(known, Phase.TRAIN, cache).pixels
        mean: np.ndarray = pixels.mean(axis=0, dtype=np.float64).astype(np.float32)
        with suppress(NktcError):
            _store(file, lambda part: np.save(part, mean))
        return mean


def keep(splits: Splits, folder: Path) -> None:
    """Make the folder a copy that `kept` finds. Raises NktcError."""
    (folder / "mean.npy").unlink(missing_ok=True)
    for split, images in splits.items():
        _keep(_file(folder, split), images)


def kept(folder: Path) -> Copy | None:
    """The copy that nktc keeps in the folder; None where it keeps none."""
    if not all(os.path.isfile(_file(folder, split)) for split in Phase):
        return None

    def read() -> Splits:
        found = {split: _load(_file(folder, split)) for split in Phase}
        if bad := next((split for split, images in found.items() if images is None), None):
            raise NktcError(f"{_file(folder, bad)} is damaged", help="remove it and give nktc data get --from again")
        return {split: images for split, images in found.items() if images is not None}

    return Copy(str(folder), "kept", read, folder)


def _file(folder: Path, split: Phase) -> Path:
    return folder / f"{split.name.lower()}.npz"


def _fits(images: Images, known: KnownSet, split: Phase) -> bool:
    return images.pixels.shape == (known.sizes[split], *known.image) and len(images) == known.sizes[split]


def _load(file: Path) -> Images | None:
    """What was kept; None where nothing was, or where it is damaged."""
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            return Images(arrays["pixels"], arrays["labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _keep(file: Path, images: Images) -> None:
    _store(file, lambda part: np.savez(part, pixels=images.pixels, labels=images.labels))


def _store(file: Path, write: Callable[[BinaryIO], None]) -> None:
    """Keep for the next time. Raises NktcError."""
    with atomic(file) as part, part.open("wb") as opened:
        write(opened)
