"""CIFAR-10 as it is found: the official binary files, or images in class folders; packed or not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nktc.data.images import Images, decode
from nktc.data.places import fingerprint, is_archive
from nktc.data.progress import progress
from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.copies import Copy, Splits
from nktc.data.trees import Tree, first_names, is_picture, members
from nktc.errors import NktcError
from nktc.files import read_bytes
from nktc.ir import Phase, times

SET = KNOWN["cifar10"]
BATCHES = {
    Phase.TRAIN: tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    Phase.TEST: ("test_batch.bin",),
}
FILES = BATCHES[Phase.TRAIN] + BATCHES[Phase.TEST]
UNPACKED = "cifar-10-batches-bin"
RECORDS = 10_000  # in a file
RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, green and blue plane
PICTURE = re.compile(rf"(?:.*/)?(train|test)/({'|'.join(SET.labels)})/[^/]+")
SHUFFLED = 1701


def find(place: Path) -> Copy | None:
    """The copy in a folder or an archive; None where there is none."""
    if binary := find_binary(place):
        return binary
    if is_archive(place):
        if any(is_picture(name) and PICTURE.fullmatch(name) for name in first_names(place)):
            return Copy(str(place), fingerprint([place]), lambda: _read_pictures(place))
        return None
    if all(os.path.isdir(place / split / SET.labels[0]) for split in ("train", "test")):
        return Copy(str(place), fingerprint(_stamps(place)), lambda: _read_pictures(place))
    return None


def find_binary(place: Path) -> Copy | None:
    """The official binary files in a folder or an archive; None where they are not."""
    if is_archive(place):
        if any(name.rpartition("/")[2] in FILES for name in first_names(place)):
            return Copy(str(place), fingerprint([place]), lambda: _read_binary(place, _packed(place)))
        return None
    for folder in (place, place / UNPACKED):
        if all(os.path.isfile(folder / name) for name in FILES):
            return _binary_folder(folder)
    return None


def _binary_folder(folder: Path) -> Copy:
    key = fingerprint([folder / name for name in FILES])
    return Copy(str(folder), key, lambda: _read_binary(folder, _unpacked(folder)))


def _stamps(tree: Path) -> list[Path]:
    """The class folders of a tree: their times change when a file comes or goes."""
    folders = [tree / split / label for split in ("train", "test") for label in SET.labels]
    return [folder for folder in folders if os.path.isdir(folder)]


def _packed(archive: Path) -> Mapping[str, bytes]:
    return {name.rpartition("/")[2]: data for name, data in members(archive)}


def _unpacked(folder: Path) -> Mapping[str, bytes]:
    return {name: read_bytes(folder / name, "file") for name in FILES}


def _read_binary(source: Path, files: Mapping[str, bytes]) -> Splits:
    """Records of the official files, in their order."""
    splits = {}
    for split, names in BATCHES.items():
        for name in names:
            if len(files.get(name, b"")) != RECORDS * RECORD:
                size = f"has {len(files[name])} bytes" if name in files else "is missing"
                raise NktcError(f"{source}: {name} {size}, CIFAR-10's has {RECORDS * RECORD}")
            if (label := max(files[name][::RECORD])) >= len(SET.labels):
                raise NktcError(f"{source}: {name} has a label {label}, CIFAR-10's are 0 to {len(SET.labels) - 1}")
        records = np.frombuffer(b"".join(files[name] for name in names), np.uint8).reshape(-1, RECORD)
        splits[split] = Images(records[:, 1:].reshape(-1, *SET.image), records[:, 0].astype(np.int64))
    return splits


def _read_pictures(source: Path) -> Splits:
    """Images of a tree, mixed in an order that is always the same.

    Class by class in the order of their labels, file names sorted, and that list shuffled by NumPy's frozen
    generator: the order in which nktc's reference figures were made.
    """
    tree = Tree(source)
    found: dict[tuple[str, str], list[str]] = {}
    for name in tree.pictures():
        if match := PICTURE.fullmatch(name):
            found.setdefault((match[1], match[2]), []).append(name)
    splits = {}
    for split in Phase:
        listed = [
            (name, label)
            for label, kind in enumerate(SET.labels)
            for name in sorted(found.get((split.name.lower(), kind), ()))
        ]
        np.random.RandomState(SHUFFLED).shuffle(listed)
        pixels = decode_all(source, [name for name, _ in listed], tree.read)
        splits[split] = Images(pixels, np.array([label for _, label in listed], np.int64))
    return splits


def decode_all(source: Path, names: Sequence[str], read: Callable[[str], bytes]) -> np.ndarray:
    """u8[n c h w] of small pictures, decoded side by side. Raises NktcError naming the first that does not
    fit."""
    pixels = np.empty((len(names), *SET.image), np.uint8)

    def fill(start: int) -> int:
        for i, name in enumerate(names[start : start + chunk], start):
            try:
                data = read(name)
            except OSError as error:
                raise NktcError(f"{source}: {name} cannot be read: {error.strerror or error}") from None
            picture = decode(data, SET.order)
            if picture is None:
                raise NktcError(f"{source}: {name} is not an image that can be decoded")
            if picture.shape != SET.image:
                raise NktcError(f"{source}: {name} is {times(picture.shape)}, CIFAR-10's are {times(SET.image)}")
            pixels[i] = picture
        return min(chunk, len(names) - start)

    chunk = 500
    with (
        progress(f"decoding {source.name}", len(names)) as advance,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for count in pool.map(fill, range(0, len(names), chunk)):
            advance(count)
    return pixels
