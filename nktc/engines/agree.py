"""Whether models agree: the same inputs through each, every blob that they share compared, the first that differs
named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nktc.engines.engine import Options, Session, engine
from nktc.engines.feeds import told
from nktc.errors import NktcError, Span
from nktc.ir import DType, Graph, Preprocessing, Value, list_shape, rewrite

TOLERANCE = 1e-4
"""How far f32 runtimes may be apart, over the size of a blob's largest value: their sums run in other orders."""


@dataclass(frozen=True)
class Subject:
    """A model that is compared: its session, which gives blobs beside its outputs; `outputs` are the names of its own.
    `places` has its blobs in the order in which they are made, and where the prototxt has them, if there is one. It is
    fed what `prepare` makes of the samples, for a model whose inputs are prepared otherwise."""

    name: str
    session: Session
    outputs: tuple[str, ...]
    places: Mapping[str, Span | None]
    prepare: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = dict

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.session.run(self.prepare(feeds))


@dataclass(frozen=True)
class Difference:
    """How far a blob of another model is from that of the first: `absolute` is the largest difference, `relative` that
    over the largest value of the first, NaN where one has a number and the other none. Both are infinite where sizes
    differ."""

    blob: str
    shape: tuple[int, ...]
    absolute: float
    relative: float
    at: Span | None = None

    def within(self, tolerance: float) -> bool:
        return self.relative <= tolerance


@dataclass(frozen=True)
class Comparison:
    """Another model against the first, blob by blob in the order of the first; `top1` is the share of records whose
    largest score is in the same place, None where there is no row of scores. `alone` counts the blobs of the first that
    the other does not have."""

    first: str
    other: str
    tolerance: float
    records: int
    differences: tuple[Difference, ...]
    top1: float | None
    alone: int

    @property
    def divergence(self) -> Difference | None:
        """The first blob that is further apart than the tolerance."""
        return next((one for one in self.differences if not one.within(self.tolerance)), None)

    @property
    def agrees(self) -> bool:
        return self.divergence is None

    @property
    def worst(self) -> Difference:
        """The blob that is furthest apart."""
        return max(self.differences, key=lambda one: np.inf if np.isnan(one.relative) else one.relative)

    def text(self, every: bool = False) -> str:
        """The verdict, and the blobs: those that differ, or `every` one."""
        worst, first = self.worst, self.divergence
        verdict = "agrees with" if self.agrees else "DIFFERS from"
        blobs, records = _counted(len(self.differences), "blob"), _counted(self.records, "record")
        lines = [
            f"{self.other} {verdict} {self.first}: {blobs}, {records},"
            f" at most {worst.relative:.2g} of a blob's largest value ({worst.blob}); {self.tolerance:g} is allowed"
        ]
        if first:
            place = f"{first.at}: " if first.at else ""
            lines.append(f"{place}first divergence: {first.blob} {list_shape(first.shape)}")
        if self.top1 is not None:
            lines.append(f"top-1: {self.top1:.2%} of the records have the same")
        if self.alone:
            lines.append(f"only the first has {_counted(self.alone, 'more blob')}")
        shown = [one for one in self.differences if every or not one.within(self.tolerance)]
        width = max((len(one.blob) for one in shown), default=0)
        if shown:
            lines.append(f"  {'blob':<{width}}  {'max abs':>9}  {'relative':>9}")
        lines += [f"  {one.blob:<{width}}  {one.absolute:9.3g}  {one.relative:9.3g}" for one in shown]
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """The same as data for tools; what is not a number is None."""
        blobs = [
            {
                "blob": one.blob,
                "shape": list(one.shape),
                "absolute": _number(one.absolute),
                "relative": _number(one.relative),
                "file": one.at.source.name if one.at else None,
                "line": one.at.line if one.at else None,
            }
            for one in self.differences
        ]
        return {
            "first": self.first,
            "other": self.other,
            "agrees": self.agrees,
            "tolerance": self.tolerance,
            "records": self.records,
            "top1": self.top1,
            "first_divergence": self.divergence.blob if self.divergence else None,
            "blobs": blobs,
        }


def subject_of_graph(name: str, graph: Graph, blobs: Sequence[str]) -> Subject:
    """A graph in torch on the CPU, with these blobs beside its outputs."""
    outputs = tuple(value.name for value in graph.outputs)
    shown = rewrite.wanting(graph, [*outputs, *blobs])
    places = {value: node.at for value, node in graph.producers.items()}
    return Subject(name, engine("torch").build(shown, Options("cpu")), outputs, places)


def compare(
    subjects: Sequence[Subject], samples: Sequence[Mapping[str, np.ndarray]], tolerance: float = TOLERANCE
) -> list[Comparison]:
    """Each subject against the first, over samples: inputs by the first's names, batch in axis 0.

    Inputs of other names are matched in their order. Raises NktcError where the models cannot be fed alike, or share
    no blob.
    """
    first, *others = subjects
    for other in others:
        _alike(first, other)
    compared = [_Compared(first, other) for other in others]
    for feeds in samples:
        expected = first.run(feeds)
        for one in compared:
            one.add(expected, one.other.run(_renamed(feeds, first, one.other)), len(next(iter(feeds.values()))))
    return [one.result(tolerance) for one in compared]


def agree(graph: Graph, engines: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[Difference]:
    """The outputs of a graph on every engine but the first, compared with those on the first."""
    outputs = tuple(value.name for value in graph.outputs)
    places = {name: graph.producers[name].at for name in outputs}
    subjects = [Subject(name, engine(name).build(graph, Options("cpu")), outputs, places) for name in engines]
    return [one for comparison in compare(subjects, [feeds]) for one in comparison.differences]


def random_feeds(graph: Graph, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Normal inputs by name, with `batch` in axis 0."""
    generator = np.random.default_rng(seed)
    return {value.name: generator.standard_normal((batch, *value.shape[1:]), np.float32) for value in graph.inputs}


def random_inputs(
    inputs: Sequence[Value], preprocessing: Mapping[str, Preprocessing], batch: int, seed: int
) -> dict[str, np.ndarray]:
    """Inputs by name as pictures of noise would be prepared, where it is known how, else normal ones; in the batch of
    each input, `batch` where that is open. Raises NktcError where another size is open."""
    generator = np.random.default_rng(seed)
    found = {}
    for value in inputs:
        if not all(value.shape[1:]):
            raise NktcError(f"the size of the input is open: {told(value)}", help="give inputs with --data-from")
        shape = (value.shape[0] or batch, *value.shape[1:]) if value.shape else ()
        how = preprocessing.get(value.name)
        drawn: np.ndarray
        if value.dtype is DType.U8:
            drawn = generator.integers(0, 256, shape)
        elif how is None:
            drawn = np.asarray(generator.standard_normal(shape))
        else:
            mean = 0 if how.mean is None else how.mean.mean(axis=(-2, -1), keepdims=True)
            std = 1 if how.std is None else how.std
            drawn = (generator.integers(0, 256, shape) - mean) * how.scale / std
        found[value.name] = drawn.astype(value.dtype.numpy)
    return found


class _Compared:
    """The differences of two models, gathered over samples."""

    def __init__(self, first: Subject, other: Subject) -> None:
        self.first, self.other = first, other
        theirs = {value.name for value in other.session.outputs}
        ours = [value.name for value in first.session.outputs]
        self.pairs = {name: name for name in ours if name in theirs}
        own = [name for name in first.outputs if name not in self.pairs]
        if len(first.outputs) == len(other.outputs) and len(own) == len(first.outputs):
            # A file from elsewhere may call its outputs otherwise.
            self.pairs |= dict(zip(first.outputs, other.outputs, strict=True))
        if not self.pairs:
            known = ", ".join(other.outputs)
            raise NktcError(f"{first.name} and {other.name} have no blob in common", help=f"the second has {known}")
        made = {name: i for i, name in enumerate(first.places)}
        self.pairs = dict(sorted(self.pairs.items(), key=lambda pair: made.get(pair[0], len(made))))
        self.alone = len(ours) - len(self.pairs)
        self.found: dict[str, tuple[float, float, tuple[int, ...], bool]] = {}
        self.records = self.same = 0
        self.scored = False

    def add(self, expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], records: int) -> None:
        for name, their in self.pairs.items():
            a, b = expected[name].astype(np.float32, copy=False), found[their].astype(np.float32, copy=False)
            apart, largest, shape, well = self.found.get(name, (0.0, 0.0, a.shape, True))
            if a.size != b.size:
                self.found[name] = (np.inf, 1.0, a.shape, well)
                continue
            b = b.reshape(a.shape)
            sound, found_sound = np.isfinite(a), np.isfinite(b)
            well = well and bool((sound == found_sound).all())
            both = sound & found_sound
            apart = max(apart, _largest(np.subtract(a, b, where=both, out=np.zeros(a.shape), dtype=np.float64)))
            largest = max(largest, _largest(a[sound]))
            self.found[name] = (apart, largest, shape, well)
        self.records += records
        scores = _scores(expected, self.first.outputs, records)
        if scores and scores in self.pairs and expected[scores].size == found[self.pairs[scores]].size:
            self.scored = True
            a, b = (y.reshape(records, -1).argmax(1) for y in (expected[scores], found[self.pairs[scores]]))
            self.same += int((a == b).sum())

    def result(self, tolerance: float) -> Comparison:
        differences = [
            Difference(
                name,
                shape,
                apart,
                apart / max(largest, 1e-30) if well else float("nan"),
                self.first.places.get(name),
            )
            for name, (apart, largest, shape, well) in self.found.items()
        ]
        top1 = self.same / self.records if self.scored else None
        return Comparison(
            self.first.name, self.other.name, tolerance, self.records, tuple(differences), top1, self.alone
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _largest(x: np.ndarray) -> float:
    return float(np.abs(x).max(initial=0))


def _scores(found: Mapping[str, np.ndarray], outputs: Sequence[str], records: int) -> str:
    """The last output with a row of two scores or more a record, "" for none."""
    rows = [name for name in outputs if found[name].ndim >= 2 and found[name].shape[0] == records]
    rows = [name for name in rows if found[name][0].size > 1 and all(n == 1 for n in found[name].shape[2:])]
    return rows[-1] if rows else ""


def _alike(first: Subject, other: Subject) -> None:
    """Raises NktcError where another model cannot be fed with what the first takes."""
    ours, theirs = first.session.inputs, other.session.inputs
    if len(ours) != len(theirs):
        counts = [f"{len(inputs)} input{'s' if len(inputs) != 1 else ''}" for inputs in (ours, theirs)]
        help = "compare models of one net"
        raise NktcError(f"{first.name} takes {counts[0]} and {other.name} {counts[1]}", help=help)
    for a, b in _matched(first, other):
        sides = [*zip(a.shape[1:], b.shape[1:], strict=False)]
        fits = len(a.shape) == len(b.shape) and all(m == n or 0 in (m, n) for m, n in sides)
        if not fits or a.dtype is not b.dtype:
            help = "compare models of one net"
            if DType.U8 in (a.dtype, b.dtype):
                help = "one takes pictures and the other what they are prepared to: export both alike"
            raise NktcError(f"{first.name} takes {told(a)} and {other.name} {told(b)}", help=help)


def _matched(first: Subject, other: Subject) -> list[tuple[Value, Value]]:
    """The inputs of the first with those of another: by name, or in their order where the names differ."""
    theirs = {value.name: value for value in other.session.inputs}
    if all(value.name in theirs for value in first.session.inputs):
        return [(value, theirs[value.name]) for value in first.session.inputs]
    return list(zip(first.session.inputs, other.session.inputs, strict=True))


def _renamed(feeds: Mapping[str, np.ndarray], first: Subject, other: Subject) -> dict[str, np.ndarray]:
    return {theirs.name: feeds[ours.name] for ours, theirs in _matched(first, other)}


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
