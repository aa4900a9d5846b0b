"""Sets that are one file, a table or a text: found by its checksum, alone, in a folder or in an archive."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from nktc.data.places import fingerprint, is_archive
from nktc.data.sets.catalogue import Download, KnownSet
from nktc.data.trees import first_names, members
from nktc.errors import NktcError
from nktc.files import read_bytes, write_bytes


@dataclass(frozen=True)
class FileCopy:
    """`place` is the file, or the archive that holds it."""

    place: Path

    @property
    def where(self) -> str:
        return str(self.place)

    def contents(self, known: KnownSet) -> bytes:
        """Raises NktcError where it is not the set's file any more."""
        data = (
            _in_archive(self.place, _wanted(known).file) if is_archive(self.place) else read_bytes(self.place, "file")
        )
        if data is None or not is_it(data, known):
            raise NktcError(f"{self.place} is not {known.name}'s: its checksum is another")
        return data

    def file(self, known: KnownSet, cache: Path) -> Path:
        """The file where it lies, or a copy of it in the cache where it lies in an archive. Raises NktcError."""
        if not is_archive(self.place):
            return self.place
        target = cache / "sets" / f"{known.name}-{fingerprint([self.place])}" / _wanted(known).file
        if not (os.path.isfile(target) and is_it(target.read_bytes(), known)):
            write_bytes(target, self.contents(known))
        return target


def find(known: KnownSet, place: Path) -> FileCopy | None:
    """The copy in a folder or an archive, or that is the file `place`; None where there is none."""
    name = _wanted(known).file
    if is_archive(place):
        data = _in_archive(place, name) if any(_plain(member) == name for member in first_names(place)) else None
        return FileCopy(place) if data is not None and is_it(data, known) else None
    file = place / name if os.path.isdir(place) else place
    if not os.path.isfile(file) or os.path.getsize(file) != _wanted(known).size:
        return None
    return FileCopy(file) if is_it(read_bytes(file, "file"), known) else None


def is_it(data: bytes, known: KnownSet) -> bool:
    """Whether it has the checksum of the set's file."""
    kind, _, sum = _wanted(known).sum.partition(":")
    return hashlib.new(kind, data).hexdigest() == sum


def _wanted(known: KnownSet) -> Download:
    (only,) = known.downloads
    return only


def _in_archive(archive: Path, name: str) -> bytes | None:
    try:
        return next((data for member, data in members(archive) if _plain(member) == name), None)
    except NktcError:
        return None


def _plain(member: str) -> str:
    return member.rpartition("/")[2]
