"""Conversions of pictures that are arrays already: known sets, idx files, CIFAR's binary files."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from pathlib import Path

import numpy as np

from nktc.data.conversion.plan import Plan
from nktc.data.images import Images
from nktc.data.places import Places, fingerprint
from nktc.data.sets import cifar10, cifar100
from nktc.data.sets.catalogue import KNOWN, KnownSet
from nktc.data.sets.copies import Copy, Splits
from nktc.data.sets.finding import obtain
from nktc.data.sets.four_files import find_four, splits
from nktc.data.sets.idx import PACKED, parse_idx
from nktc.errors import NktcError
from nktc.files import read_bytes
from nktc.ir import Phase, times

PHASES = {phase.name.lower(): phase for phase in Phase}


def plan_of_set(name: str, split: str, places: Places) -> Plan:
    """A split of a known set of images. Raises NktcError."""
    known, phase = KNOWN[name], _phase(name, split)
    copy = obtain(known, places)
    return _plan(copy.load(known, phase, places.cache), known.labels, f"{name} {copy.key} {split}")


def plan_of_binary(place: Path, split: str) -> Plan | None:
    """A split of CIFAR's binary files, or of four idx files, in a folder or an archive; None where they are not. Raises
    NktcError."""
    for known, find in ((KNOWN["cifar10"], cifar10.find_binary), (KNOWN["cifar100"], cifar100.find)):
        if copy := find(place):
            return _plan_of_copy(known, copy, split)
    if four := find_four(place):
        phase = _phase(str(place), split)
        return _plan(splits(four)[phase], (), f"{four.key} {split}")
    return None


def _plan_of_copy(known: KnownSet, copy: Copy, split: str) -> Plan:
    phase = _phase(copy.where, split)
    whole: Splits = copy.whole(known)
    return _plan(whole[phase], known.labels, f"{copy.key} {split}")


def is_idx(path: Path) -> bool:
    """Whether a file begins as an idx file of several axes, packed or not."""
    try:
        head = first_bytes(path)
    except NktcError:
        return False
    return head[:3] == b"\0\0\x08" and head[3:] > b"\1"


def first_bytes(path: Path) -> bytes:
    """The first four bytes of a file, of its contents where it is packed by gzip. Raises NktcError."""
    try:
        with path.open("rb") as opened:
            head = opened.read(4)
        if head[: len(PACKED)] == PACKED:
            with gzip.open(path) as unpacked:
                head = unpacked.read(4)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise NktcError(f"{path} is damaged ({error})") from None
    except OSError as error:
        raise NktcError(f"{path} cannot be read: {error.strerror or error}") from None
    return head


def plan_of_idx(pictures: Path, labels: Path | None) -> Plan:
    """The pictures [n h w], or [n c h w] with red first, of an idx file; their labels lie in the other or, where none
    is given, in the file beside that is called the same with "labels" and "idx1". Raises NktcError."""
    labels = labels or _labels_beside(pictures)
    pixels, numbers = (parse_idx(read_bytes(file, "idx file"), str(file)) for file in (pictures, labels))
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or not pixels.size:
        raise NktcError(f"{pictures} holds {times(pixels.shape)} bytes, which are no pictures")
    if numbers.shape != pixels.shape[:1]:
        raise NktcError(f"{pictures} has {len(pixels)} pictures, {labels} has {times(numbers.shape)} labels")
    return _plan(Images(pixels, numbers.astype(np.int64)), (), fingerprint([pictures, labels]))


def _labels_beside(pictures: Path) -> Path:
    name = re.sub(r"idx\d", "idx1", pictures.name.replace("images", "labels"))
    names = [name, name.removesuffix(".gz"), f"{name}.gz"]
    found = next((f for n in names if os.path.isfile(f := pictures.with_name(n)) and f != pictures), None)
    if not found:
        raise NktcError(f"{pictures}: its labels are not in {pictures.with_name(name)}", help="give --idx-labels FILE")
    return found


def _phase(name: str, split: str) -> Phase:
    if split not in PHASES:
        raise NktcError(f"{name} has the splits train and test", help="give --split train or --split test")
    return PHASES[split]


def _plan(images: Images, classes: tuple[str, ...], stamp: str) -> Plan:
    labels = images.labels.tolist()
    names = [f"{classes[label] if classes else label}/{i:05d}.png" for i, label in enumerate(labels)]
    return Plan(names, images.labels, lambda i: np.ascontiguousarray(images.pixels[i][::-1]), stamp, classes)
