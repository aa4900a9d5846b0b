"""Whether every record of a source can be used: a report, whatever the files hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nktc.data.stored.stored import CANNOT_BE_OPENED, Fault, Item, Stored, Subject, scan
from nktc.errors import LayerError, NktcError
from nktc.ir import Shape, times

SHOWN = 20  # faults of a kind that are named
GAPS = 20  # classes without records that are named
ANOTHER_SIZE = "has another size"
DOES_NOT_CUT = "is too small for the crop"
LABEL = "label out of range"
SEVERAL = 1000  # labels that may be classes; more are numbers


@dataclass(frozen=True)
class Report:
    """What was found: how many `records` there are and how many of them are `bad`, the sizes [c h w] of those that can
    be had, the first faults of each kind and the count of all, `labels` in words, and notes of what is no fault."""

    name: str
    kind: str
    records: int = 0
    bad: int = 0
    sizes: dict[Shape, int] = field(default_factory=dict)
    faults: dict[str, tuple[int, tuple[Fault, ...]]] = field(default_factory=dict)
    labels: str = ""
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        lines = []
        for kind, (count, shown) in self.faults.items():
            lines.append(f"{self.name}: {kind}: {count}")
            lines += [f"  {fault}" for fault in shown]
            if count > len(shown):
                lines.append(f"  and {count - len(shown)} more")
        lines += [f"{self.name}: note: {note}" for note in self.notes]
        found = [f"{self.records} {'record' if self.records == 1 else 'records'}"]
        found += [f"{self.records - self.bad} good", f"{self.bad} bad"] if self.records else []
        found += [one for one in (self._said_sizes(), self.labels) if one]
        return "\n".join([*lines, f"{self.name} ({self.kind}): {', '.join(found)}"])

    def _said_sizes(self) -> str:
        listed = [f"{times(size)} ({n})" if len(self.sizes) > 1 else times(size) for size, n in self.sizes.items()]
        return ", ".join(listed[:5]) + (
            f" and {len(listed) - 5} more {'size' if len(listed) == 6 else 'sizes'}" if len(listed) > 5 else ""
        )

    def plain(self) -> dict[str, Any]:
        """The report as JSON has it; `nktc data verify --help` tells what is in it."""
        faults = [
            {
                "kind": kind,
                "count": count,
                "shown": [{"record": one.record, "called": one.called, "what": one.what} for one in shown],
            }
            for kind, (count, shown) in self.faults.items()
        ]
        sizes = [{"size": list(size), "records": n} for size, n in self.sizes.items()]
        counts = {"records": self.records, "good": self.records - self.bad, "bad": self.bad}
        more = {"sizes": sizes, "labels": self.labels, "faults": faults, "notes": list(self.notes)}
        return {"source": self.name, "kind": self.kind, "ok": self.ok, **counts, **more}


def verify(subject: Subject, classes: int | None = None) -> Report:
    """Read and decode every record. Labels are 0 to `classes` - 1 or, where that is not told, those that have names; of
    neither anything is a label. Raises nothing that comes of what the files hold."""
    try:
        stored = subject.open("")
    except (NktcError, OSError) as error:
        what = error.message if isinstance(error, NktcError) else f"{error.filename}: {error.strerror}"
        fault = Fault(CANNOT_BE_OPENED, what)
        return Report(subject.name, subject.kind, faults={CANNOT_BE_OPENED: (1, (fault,))})
    return _Inspection(subject, stored, classes or len(stored.classes)).report()


@dataclass(frozen=True)
class _Look:
    """What is found in some records: shapes, None where there is none; labels f32[m]; faults of each."""

    shapes: list[Shape | None]
    labels: np.ndarray
    faults: list[list[Fault]]


class _Inspection:
    def __init__(self, subject: Subject, stored: Stored, classes: int) -> None:
        self._subject, self._stored, self._classes = subject, stored, classes
        self._faults: dict[str, tuple[int, tuple[Fault, ...]]] = {}
        self._sizes: Counter[Shape] = Counter()  # as they are stored
        self._fed: Counter[Shape] = Counter()  # as they come out
        self._sound: Counter[Shape] = Counter()  # those of `_fed` without a fault
        self._first: dict[Shape, list[int]] = {}  # places of the first of each size
        self._labels: list[np.ndarray] = []

    def report(self) -> Report:
        stored, subject = self._stored, self._subject
        for fault in stored.faults:
            self._add(fault)
        bad = 0
        for places, look in scan(stored, self._look, f"verifying {subject.name}"):
            self._labels.append(look.labels)
            for place, shape, faults in zip(places.tolist(), look.shapes, look.faults, strict=True):
                bad += self._count(place, shape, faults)
        notes = []
        if len(self._fed) > 1 and subject.fed:
            bad += self._odd_sizes()
        elif len(self._sizes) > 1:
            made = ", which a crop or a resize makes one" if subject.fed else ""
            notes.append(f"records have {len(self._sizes)} sizes{made}")
        if not len(stored) and not stored.faults:
            self._add(Fault(CANNOT_BE_OPENED, "it has no records"))
        labels = np.concatenate(self._labels) if self._labels else np.zeros(0, np.float32)
        if gaps := self._gaps(labels):
            notes.append(gaps)
        sizes = dict(self._sizes.most_common())
        said = _said(labels, stored.regression)
        return Report(subject.name, subject.kind, len(stored), bad, sizes, self._faults, said, tuple(notes))

    def _look(self, places: np.ndarray) -> _Look:
        items = self._stored.look(places)
        labels = [item.labels for item in items]
        faults = [
            [*item.faults, *self._wrong_labels(item, place)] for item, place in zip(items, places.tolist(), strict=True)
        ]
        shapes = [None if item.values is None else tuple(item.values.shape) for item in items]
        return _Look(shapes, np.concatenate(labels), faults)

    def _wrong_labels(self, item: Item, place: int) -> list[Fault]:
        labels, classes = item.labels, self._classes
        if not classes or self._stored.regression:
            return []
        wrong = labels[~((labels >= 0) & (labels < classes) & (labels == np.trunc(labels)))]
        if not len(wrong):
            return []
        what = f"its label is {wrong[0]:g}, classes are 0 to {classes - 1}"
        return [Fault(LABEL, what, place, self._stored.called(place))]

    def _count(self, place: int, shape: Shape | None, faults: Sequence[Fault]) -> bool:
        """Whether the record is bad for what it is alone."""
        for fault in faults:
            self._add(fault)
        if shape is None:
            return True
        self._sizes[shape] += 1
        try:
            fed = self._subject.fed(shape) if self._subject.fed else shape
        except LayerError as error:
            self._add(Fault(DOES_NOT_CUT, error.message, place, self._stored.called(place)))
            return True
        self._fed[fed] += 1
        self._sound[fed] += not faults
        if len(first := self._first.setdefault(fed, [])) < SHOWN:
            first.append(place)
        return bool(faults)

    def _odd_sizes(self) -> int:
        """How many records are bad for their size alone."""
        usual = self._fed.most_common(1)[0][0]
        odd = [size for size in self._fed if size != usual]
        shown = sorted((place, size) for size in odd for place in self._first[size])[:SHOWN]
        said = f"most are {times(usual)}"
        faults = [
            Fault(ANOTHER_SIZE, f"it is {times(size)}, {said}", place, self._stored.called(place))
            for place, size in shown
        ]
        self._faults[ANOTHER_SIZE] = (sum(self._fed[size] for size in odd), tuple(faults))
        return sum(self._sound[size] for size in odd)

    def _add(self, fault: Fault) -> None:
        count, shown = self._faults.get(fault.kind, (0, ()))
        self._faults[fault.kind] = (count + 1, (*shown, fault) if count < SHOWN else shown)

    def _gaps(self, labels: np.ndarray) -> str:
        """Which classes no record has."""
        whole = not self._stored.regression and len(labels) and (labels == np.trunc(labels)).all()
        if not whole or labels.min() < 0:
            return ""
        there = np.unique(labels)
        classes = self._classes or int(there[-1]) + 1
        # Numbers that are mostly missing count something else than classes.
        if not self._classes and classes > 2 * len(there):
            return ""
        missing = sorted(set(range(self._stored.background, classes)) - set(there.astype(np.int64).tolist()))
        if not missing:
            return ""
        names = [
            f'{label} "{self._stored.classes[label]}"' if label < len(self._stored.classes) else f"{label}"
            for label in missing
        ]
        more = f" and {len(missing) - GAPS} more" if len(missing) > GAPS else ""
        return f"no record has label {', '.join(names[:GAPS])}{more}"


def _said(labels: np.ndarray, regression: bool) -> str:
    labels = labels[np.isfinite(labels)]
    if not len(labels):
        return ""
    spread = f"labels {labels.min():g} to {labels.max():g}"
    there = len(np.unique(labels))
    if regression or there > SEVERAL or (labels != np.trunc(labels)).any():
        return spread
    return f"{spread}, {there} {'class' if there == 1 else 'classes'}"
