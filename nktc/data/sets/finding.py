"""A known set, wherever it can be had: on this machine, or at its official address."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from nktc.data.places import DATA, Places, archives, split_root, unreadable
from nktc.data.sets import cifar10, cifar100, digits, fashion_mnist, mnist, one_file, shapes10
from nktc.data.sets.catalogue import KnownSet, find_any
from nktc.data.sets.copies import Copy, kept
from nktc.data.sets.download import DownloadError, download
from nktc.data.sets.one_file import FileCopy
from nktc.errors import LayerError, NktcError

FINDERS: dict[str, Callable[[Path], Copy | None]] = {
    "cifar10": cifar10.find,
    "cifar100": cifar100.find,
    "mnist": mnist.find,
    "fashion-mnist": fashion_mnist.find,
}
"""Sets of images that lie somewhere: how a folder or an archive is looked at."""

IN_NAMED: dict[str, Callable[[Path], Copy | None]] = {"fashion-mnist": fashion_mnist.find_named}
"""How it is looked at where the user says that it holds this set, for those that it makes a difference for."""

MADE: dict[str, Callable[[], Copy]] = {"digits": digits.copy, "shapes10": shapes10.copy}
"""Sets that are always there."""

Found = TypeVar("Found", Copy, FileCopy)


class Missing(NktcError):
    """A known set that cannot be had; `why` is the reason alone."""

    def __init__(self, known: KnownSet, why: str, help: str) -> None:
        super().__init__(f'the data of "{known.name}" is missing: {why}', help=help)
        self.why = why


def find_copy(known: KnownSet, places: Places) -> Copy | None:
    """The copy of a set of images that is on this machine, among what was downloaded at the last; None where there is
    none."""
    if known.name in MADE:
        return MADE[known.name]()
    if found := find_among(known, places):
        return found
    folder = downloads(known, places)
    return kept(folder) or next((copy for place in _lying_in(folder) if (copy := FINDERS[known.name](place))), None)


def find_among(known: KnownSet, places: Places) -> Copy | None:
    """The copy in the places that the user names alone."""
    named = {path for root in places.roots for name, path in [split_root(root)] if name == known.name}
    for place in places.candidates(known.name):
        sure = bool(named & {place, *place.parents})
        look = IN_NAMED.get(known.name, FINDERS[known.name]) if sure else FINDERS[known.name]
        if copy := look(place):
            return copy
    return None


def find_file(known: KnownSet, places: Places) -> FileCopy | None:
    """The copy of a table or a text that is on this machine; None where there is none."""
    if found := find_file_among(known, places):
        return found
    folder = downloads(known, places)
    return next((copy for place in _lying_in(folder) if (copy := one_file.find(known, place))), None)


def find_file_among(known: KnownSet, places: Places) -> FileCopy | None:
    """The copy in the places that the user names alone."""
    return next((copy for place in places.candidates(known.name) if (copy := one_file.find(known, place))), None)


def lies(known: KnownSet, places: Places) -> str:
    """Where a set of any kind lies on this machine, in words; empty where it does not."""
    found = find_copy(known, places) if known.kind == "images" else find_file(known, places)
    return found.where if found else ""


def obtain(known: KnownSet, places: Places) -> Copy:
    """The copy of a set of images on this machine, downloaded if it has to be. Raises Missing, and LayerError where a
    place that was named for this set does not hold it."""
    return _obtain(known, places, find_copy)


def known_file(name: str, places: Places) -> Path:
    """The file of a known table or text, downloaded if it has to be, and copied into the cache where it lies in an
    archive. Raises Missing, and NktcError for a set that is no file."""
    known = find_any(name)
    if known.kind == "images":
        raise NktcError(f"{name} is a set of images, not a table or a text", help="a Dataset layer reads it")
    return _obtain(known, places, find_file).file(known, places.cache)


def _obtain(known: KnownSet, places: Places, find: Callable[[KnownSet, Places], Found | None]) -> Found:
    if found := find(known, places):
        return found
    for root in places.roots:
        name, path = split_root(root)
        if name == known.name and os.path.exists(path):
            # Named for this very set: going on without it would not be what was asked.
            raise LayerError(f"{path} does not hold {known.name}", field="name", help=ways(known, places))
    if not places.download:
        raise Missing(known, "it is not on this machine, and downloading is off", ways(known, places))
    try:
        for wanted in known.downloads:
            download(wanted, downloads(known, places))
    except DownloadError as error:
        raise Missing(known, f"it is not on this machine, and {error.message}", ways(known, places)) from None
    if found := find(known, places):
        return found
    raise Missing(known, "what was downloaded does not hold it", ways(known, places))


def ways(known: KnownSet, places: Places) -> str:
    """Every way to provide a set, as help of several lines."""
    lines = [f"provide {known.name} in one of these ways:"]
    lines += [
        f"  --data PATH, or the environment variable {DATA}=PATH: a folder, or an archive, with",
        *(f"    {form}" for form in known.forms),
        f"    (in PATH itself or in PATH/{known.name}; {known.name}=PATH for this set alone)",
        f"  nktc data get {known.name} --from PATH: the same, kept for every later command",
        *(f"  download {wanted.url}" for wanted in known.downloads),
        f"    to {downloads(known, places)}",
    ]
    lines += [f"looked in {_looked(root)}" for root in places.roots]
    return "\n".join(lines)


def downloads(known: KnownSet, places: Places) -> Path:
    """The folder of the cache that what is downloaded of a set, or kept of it, lies in."""
    return places.cache / "downloads" / known.name


def _lying_in(folder: Path) -> Iterator[Path]:
    if os.path.isdir(folder):
        yield folder
        yield from archives(folder)


def _looked(root: str) -> str:
    path = split_root(root)[1]
    if not os.path.exists(path):
        return f"{root}, which is not there"
    why = unreadable(path)
    return f"{root}, which cannot be read: {why}" if why else root
