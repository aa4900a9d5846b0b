"""Records that are stored more than once, in one source or in several."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nktc.data.stored.stored import Stored, named, scan

SHOWN = 10  # pairs that are named


@dataclass(frozen=True, eq=False)
class Prints:
    """Of the records of a source: u64[n] that are equal where the stored values are, labels f32[n], and which of them
    could be had. Twelve bytes a record."""

    name: str
    stored: Stored
    prints: np.ndarray
    labels: np.ndarray
    there: np.ndarray

    def lacking(self) -> list[str]:
        """What could not be compared, in words."""
        records, others = int((~self.there).sum()), len(self.stored.faults)
        lines = [f"{records} {'record' if records == 1 else 'records'} of {self.name}"] if records else []
        names = "line or file" if others == 1 else "lines or files"
        return [*lines, *([f"{others} {names} of {self.name}"] if others else [])]


@dataclass(frozen=True)
class Pair:
    """Two records that are stored alike, as people know them, and their labels."""

    first: str
    second: str
    labels: tuple[str, str]

    @property
    def differ(self) -> bool:
        return self.labels[0] != self.labels[1]

    def __str__(self) -> str:
        one, other = self.labels
        said = f"labels {one} and {other}" if self.differ else f"label {one}"
        return f"{self.first} = {self.second}: {said}"


@dataclass(frozen=True)
class Duplicates:
    """How many records of the source `second` are in the source `first` too or, where these are one, come again in it;
    how many of them have another label there; and the first pairs."""

    first: str
    second: str
    count: int
    differ: int
    pairs: tuple[Pair, ...]

    @property
    def between(self) -> bool:
        """Whether it is of two sources."""
        return self.first != self.second

    def __str__(self) -> str:
        records = f"{self.count} {'record' if self.count == 1 else 'records'}"
        verb = "is" if self.count == 1 else "are"
        where = (
            f"of {self.second} {verb} in {self.first} too" if self.between else f"in {self.first} {verb} there before"
        )
        labels = f", {self.differ} with another label" if self.differ else ""
        lines = [f"duplicates: {records} {where}{labels}", *(f"  {pair}" for pair in self.pairs)]
        if self.count > len(self.pairs):
            lines.append(f"  and {self.count - len(self.pairs)} more")
        return "\n".join(lines)


def take_prints(name: str, stored: Stored) -> Prints:
    """Read every record of a source whose pictures come in the order BGR. A grey picture has one print whether it is
    stored as one plane or as three."""

    def work(places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        items = stored.look(places)
        prints = [0 if item.values is None else fingerprint(item.values) for item in items]
        labels = [item.labels[0] if len(item.labels) else np.nan for item in items]
        there = [item.values is not None for item in items]
        return np.array(prints, np.uint64), np.array(labels, np.float32), np.array(there)

    prints, labels, there = (
        np.zeros(len(stored), np.uint64),
        np.zeros(len(stored), np.float32),
        np.zeros(len(stored), bool),
    )
    for places, made in scan(stored, work, f"comparing {name}"):
        prints[places], labels[places], there[places] = made
    return Prints(name, stored, prints, labels, there)


def fingerprint(values: np.ndarray) -> int:
    """64 bits that are equal for equal values: u8 or f32 [c h w], or a row. Floats that are bytes count as such."""
    if values.dtype != np.uint8 and ((values >= 0) & (values <= 255) & (values == np.trunc(values))).all():
        values = values.astype(np.uint8)
    if values.ndim == 3 and len(values) == 3 and (values[0] == values[1]).all() and (values[0] == values[2]).all():
        values = values[:1]
    digest = hashlib.blake2b(f"{values.dtype.kind}{values.shape}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(values).data)
    return int.from_bytes(digest.digest(), "little")


def find_duplicates(sources: Sequence[Prints]) -> list[Duplicates]:
    """Of each source with itself, and of each two with one another; only where there are any."""
    found = [_within(one) for one in sources]
    found += [_between(one, other) for i, one in enumerate(sources) for other in sources[i + 1 :]]
    return [one for one in found if one.count]


def _within(one: Prints) -> Duplicates:
    places = np.flatnonzero(one.there)
    _, first, inverse = np.unique(one.prints[places], return_index=True, return_inverse=True)
    earlier = places[first[inverse]]
    again = earlier != places
    return _duplicates(one, one, earlier[again], places[again])


def _between(one: Prints, other: Prints) -> Duplicates:
    mine, theirs = np.flatnonzero(one.there), np.flatnonzero(other.there)
    known, first = np.unique(one.prints[mine], return_index=True)
    at = np.searchsorted(known, other.prints[theirs])
    at[at == len(known)] = 0
    same = known[at] == other.prints[theirs] if len(known) else np.zeros(len(theirs), bool)
    return _duplicates(one, other, mine[first[at[same]]], theirs[same])


def _duplicates(one: Prints, other: Prints, first: np.ndarray, second: np.ndarray) -> Duplicates:
    """Of records at places of one source that are stored at places of the other."""
    # Numbers of two sources mean the same class where it has the same name.
    names = [(source.stored.classes, source.labels) for source in (one, other)]
    if names[0][0] == names[1][0]:
        differ = one.labels[first] != other.labels[second]
    else:
        pairs = zip(one.labels[first].tolist(), other.labels[second].tolist(), strict=True)
        differ = np.array([named(a, names[0][0]) != named(b, names[1][0]) for a, b in pairs], bool)
    unknown = np.isnan(one.labels[first]) & np.isnan(other.labels[second])
    count = int((differ & ~unknown).sum())
    # Pairs whose labels differ are what is to be looked at first.
    order = np.argsort(~differ, kind="stable")[:SHOWN]
    shown = [_pair(one, other, int(first[i]), int(second[i])) for i in order]
    return Duplicates(one.name, other.name, len(first), count, tuple(shown))


def _pair(one: Prints, other: Prints, first: int, second: int) -> Pair:
    sides = ((one, first), (other, second))
    labels = [_label(float(source.labels[place]), source.stored.classes) for source, place in sides]
    called = [source.stored.called(place) for source, place in sides]
    return Pair(called[0], called[1], (labels[0], labels[1]))


def _label(label: float, classes: Sequence[str]) -> str:
    return "unknown" if np.isnan(label) else named(label, classes)
