"""`nktc data get`: a known set brought to this machine, checked, and kept for every later command."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from nktc.data.places import Places, unreadable
from nktc.data.sets.catalogue import Download, KnownSet, find_any
from nktc.data.sets.copies import keep
from nktc.data.sets.finding import MADE, downloads, find_among, find_file_among, known_file, obtain
from nktc.errors import NktcError
from nktc.files import write_bytes
from nktc.ir import Phase, times


@dataclass(frozen=True)
class Got:
    """Where a set lies now, what it holds, and a line for each thing that was checked."""

    known: KnownSet
    where: str
    checks: tuple[str, ...]


def get(name: str, places: Places, source: Path | None = None) -> Got:
    """The set, read whole once, so that a copy that is damaged shows now. From `source`, a folder, an archive or the
    file itself, it is kept in the cache; without, it is looked for in `places` and downloaded. Raises NktcError."""
    known = find_any(name)
    if known.name in MADE:
        if source:
            raise NktcError(f"{name} is always there ({MADE[name]().where}): nothing is taken from {source}")
        return Got(known, MADE[name]().where, ())
    if source:
        return _keep(known, source, places)
    if known.kind != "images":
        file = known_file(name, places)
        return Got(known, str(file), tuple(_sums(known, file)))
    copy = obtain(known, places)
    for split in Phase:
        copy.load(known, split, places.cache)
    return Got(known, copy.where, (*_sums(known, Path(copy.where)), "all records were read"))


def _keep(known: KnownSet, source: Path, places: Places) -> Got:
    if not os.path.exists(source):
        raise NktcError(f"{source} is not there", help="--from takes a folder, an archive or a file")
    if why := unreadable(source):
        raise NktcError(f"{source} cannot be read: {why}")
    alone = replace(places, roots=(f"{known.name}={source}",))
    folder = downloads(known, places)
    if known.kind == "images":
        if copy := find_among(known, alone):
            keep(copy.whole(known), folder)
            return Got(known, str(folder), (*_sums(known, Path(copy.where)), f"all records of {copy.where} were read"))
    elif file := find_file_among(known, alone):
        target = folder / known.downloads[0].file
        write_bytes(target, file.contents(known))
        return Got(known, str(target), tuple(_sums(known, target)))
    raise NktcError(f"{source} does not hold {known.name}", help=_forms(known))


def _forms(known: KnownSet) -> str:
    """What is taken for the set, and the other ways to have it."""
    lines = [f"{known.name} is known as:", *(f"  {form}" for form in known.forms)]
    return "\n".join((*lines, f"nktc data get {known.name} downloads it"))


def _sums(known: KnownSet, place: Path) -> Iterator[str]:
    """What each official file that lies at `place` was held against."""
    for wanted in known.downloads:
        file = place / wanted.file if os.path.isdir(place) else place
        if os.path.isfile(file) and file.name == wanted.file:
            yield _sum(file, wanted)


def _sum(file: Path, wanted: Download) -> str:
    kind, _, official = wanted.sum.partition(":")
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, kind).hexdigest()
    if found == official:
        return f"{file.name}: {kind} {found}, the official one"
    return f"{file.name}: {kind} {found}, packed otherwise than the official {official}"


def describe_set(known: KnownSet) -> str:
    """What a set holds, in a few words."""
    if known.kind == "table":
        return f"a table of {known.rows} rows, {len(known.columns)} columns"
    if known.kind == "text":
        return f"a text of {known.downloads[0].size} bytes"
    records = f"{known.sizes[Phase.TRAIN]} + {known.sizes[Phase.TEST]}"
    return f"{records} images {times(known.image)}, {len(known.labels)} classes"
