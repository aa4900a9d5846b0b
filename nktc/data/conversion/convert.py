"""Data sets into an LMDB of Datum, as Caffe's convert_imageset lays it out, or into HDF5, so that the plain Caffe way
trains."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nktc.data.conversion.hdf5_writer import Rows
from nktc.data.conversion.made import Made, Pictures, make, shape_of
from nktc.data.conversion.plan import Plan
from nktc.data.conversion.reading import SourceOptions, plan_of, read_by
from nktc.data.conversion.replacing import check_output
from nktc.data.conversion.split import deal
from nktc.data.conversion.targets import Target, ToHdf5, ToLmdb
from nktc.data.conversion.unfinished import Tell, Unfinished, unfinished
from nktc.data.database import LABELS
from nktc.data.databases.lmdb import Writer
from nktc.data.places import Places
from nktc.data.progress import progress
from nktc.errors import NktcError
from nktc.files import write_text
from nktc.ir import Shape, times

BLOCK = 16  # records that one task makes
AHEAD = 4  # tasks under way for each thread
COMMIT, COMMIT_BYTES = 4000, 64 << 20  # records, and bytes of them, that are written together
NAMED = 10  # records that are left out for one reason
FORMAT = 1  # of what an interrupted conversion leaves
AS_IT_LIES = SourceOptions()
HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class Options:
    """`pictures` says what is done to each; with `check_size` all have one size. `shuffle` mixes the records, and
    `val` and `test` are the shares that are dealt out to parts of their own, both by `seed`. `backend` is lmdb or
    hdf5, that of the output's name where it is empty. With `strict` the first record that cannot be converted ends
    it; `threads` work side by side, None for as many as there are processors: neither changes what is written."""

    pictures: Pictures = field(default_factory=Pictures)
    check_size: bool = False
    shuffle: bool = False
    seed: int = 0
    val: float = 0.0
    test: float = 0.0
    backend: str = ""
    strict: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Part:
    """A database or file that was written: "" or train, val, test."""

    name: str
    path: Path
    records: int


@dataclass(frozen=True)
class Conversion:
    """What became of a conversion: records written, names of the classes (none where labels are numbers), the sizes
    [c h w], or [f] of rows, and how many have each, for every record that was left out its name and why, and the parts
    that were written."""

    output: Path
    records: int
    labels: tuple[str, ...]
    sizes: dict[Shape, int]
    refused: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...] = ()

    def left_out(self) -> list[str]:
        """Lines for people: the first ten records left out for each reason, and how many there are of more."""
        counts: Counter[str] = Counter()
        lines = []
        for name, why in self.refused:
            counts[why] += 1
            if counts[why] <= NAMED:
                lines.append(f"{name} {why}")
        more = {why: count for why, count in counts.items() if count > NAMED}
        return [*lines, *(f"{count} records: {why}; the first {NAMED} are named" for why, count in more.items())]


def convert(
    source: str,
    output: Path,
    options: Options = Options(),
    reading: SourceOptions = AS_IT_LIES,
    *,
    places: Places,
    labels: Path | None = None,
    force: bool = False,
    tell: Tell = lambda text: None,
) -> Conversion:
    """An LMDB, or an HDF5 file with its list beside it, at `output` from `source`: a folder or archive with a folder of
    images a class, an idx file, CIFAR's binary files, a table, or the name of a known set.

    With shares for val or test `output` is a folder of train, val and test. The names of the classes go into the
    LMDB's folder and, if given, to the file `labels`. What was at `output` is replaced with `force` only, where a
    conversion has made it, and when all went well. What is to be known before the end is told to `tell`. Raises
    NktcError.
    """
    backend = _backend(output, options)
    split = bool(options.val or options.test)
    alone = backend == "hdf5" and not split and bool(output.name)
    listing = output.parent / f"{output.stem}.txt" if alone else None
    check_output(output, listing, read_by(source, reading), force)
    plan = plan_of(source, reading, places)
    for note in plan.notes:
        tell(note)
    if backend == "lmdb":
        plan = replace(plan, labels=_whole_labels(plan))
    if labels and not plan.classes:
        raise NktcError("labels are numbers here, so there are no names of classes to write", help="leave out --labels")
    parts = _parts(plan, options)
    digest = plan.digest(FORMAT, backend, options.pictures, {name: part.tobytes() for name, part in parts.items()})
    with unfinished(output, digest, tell) as work:
        with progress(f"converting {Path(source).name}", len(plan)) as advance:
            for name, order in parts.items():
                _run(plan, name, order, options, _writer(backend, work, name, plan), work, advance)
        if not work.state.sizes:
            name, why = work.state.refused[0]
            raise NktcError(f"none of {len(plan)} records can be converted; the first: {name} {why}")
        if empty := next((name for name in parts if not work.state.written[name]), ""):
            raise NktcError(f"its {empty} part is empty: none of its {len(parts[empty])} records can be converted")
        made = _finish(plan, parts, backend, work, output)
    if labels:
        write_text(labels, _lines(plan.classes))
    return made


def _backend(output: Path, options: Options) -> str:
    backend = options.backend or ("hdf5" if output.suffix.lower() in HDF5 else "lmdb")
    if backend == "leveldb":
        help = "--backend lmdb makes what a Data layer reads just as well, with backend: LMDB"
        raise NktcError("nktc reads LevelDB and does not write it", help=help)
    if backend == "hdf5" and (options.pictures.encoded or options.pictures.encode_type):
        raise NktcError("HDF5 holds numbers, not image files", help="leave out --encoded and --encode-type")
    return backend


def _whole_labels(plan: Plan) -> np.ndarray:
    """i64[n]. Raises NktcError where an LMDB cannot hold the labels."""
    labels = plan.labels
    help = "HDF5 holds them: --backend hdf5"
    if labels.ndim > 1:
        raise NktcError(f"a record of an LMDB has one label, here are {labels.shape[1]}", help=help)
    odd = np.flatnonzero((labels != np.trunc(labels)) | (np.abs(labels) >= 2**31))
    if len(odd):
        place = int(odd[0])
        said = f"{plan.name(place)} has {labels[place]:.10g}"
        raise NktcError(f"labels of an LMDB are whole numbers of 32 bits, {said}", help=help)
    return labels.astype(np.int64)


def _parts(plan: Plan, options: Options) -> Mapping[str, np.ndarray]:
    """The records of each part in the order that they are written in."""
    whole = {"": np.arange(len(plan))}
    parts = deal(plan.strata, options.val, options.test, options.seed) if options.val or options.test else whole
    parts = {name: order.copy() for name, order in parts.items()}
    if options.shuffle:
        for order in parts.values():
            np.random.RandomState(options.seed).shuffle(order)
    return parts


def _writer(backend: str, work: Unfinished, name: str, plan: Plan) -> Target:
    if backend == "hdf5":
        return ToHdf5(plan, Rows(work.folder / f"rows{name}", work.state.written.get(name, 0)))
    folder = work.new / name
    folder.mkdir(exist_ok=True)
    return ToLmdb(plan, Writer(folder))


def _run(
    plan: Plan,
    name: str,
    order: np.ndarray,
    options: Options,
    target: Target,
    work: Unfinished,
    advance: Callable[[int], None],
) -> None:
    """Write what is left of a part, and keep the state with every write."""
    state = work.state
    done = state.done.get(name, 0)
    advance(done)
    waiting: list[Any] = []
    size = 0
    try:
        for number, record, made, packed in _made(plan, order, done, options, target):
            done = number + 1
            if isinstance(made, str):
                if options.strict:
                    raise NktcError(f"{plan.name(record)} {made}", help="without --strict it is left out")
                state.refused.append((plan.name(record), made))
            else:
                _count(plan, record, made, options, target, work)
                waiting.append(packed)
                size += made.values.nbytes
            advance(1)
            if len(waiting) == COMMIT or size >= COMMIT_BYTES:
                _commit(name, done, waiting, target, work)
                waiting, size = [], 0
        _commit(name, done, waiting, target, work)
    finally:
        target.close()


def _commit(name: str, done: int, waiting: list[Any], target: Target, work: Unfinished) -> None:
    target.write(waiting)
    work.state.done[name] = done
    work.state.written[name] = work.state.written.get(name, 0) + len(waiting)
    work.save()


def _count(plan: Plan, record: int, made: Made, options: Options, target: Target, work: Unfinished) -> None:
    """Count the size of a record. Raises NktcError where all are to have one size and this has another."""
    shape = shape_of(made)
    work.state.sizes[shape] += 1
    if work.state.first is None:
        work.state.first = plan.name(record), shape
    name, first = work.state.first
    if shape != first and (options.check_size or isinstance(target, ToHdf5)):
        problem = f"{plan.name(record)} is {times(shape)}, {name} is {times(first)}"
        help = "bring all to one size: --resize HxW, in convert_imageset --resize_height and --resize_width"
        raise NktcError(f"{problem}: {'HDF5 takes one size' if not options.check_size else 'sizes differ'}", help=help)


def _made(
    plan: Plan, order: np.ndarray, start: int, options: Options, target: Target
) -> Iterator[tuple[int, int, Made | str, Any]]:
    """Number in the part, record, what became of it and what is written of it, in order from `start` on; made side by
    side, a few ahead, so that memory does not grow."""

    def block(first: int) -> list[tuple[int, int, Made | str, Any]]:
        results = []
        for number, record in enumerate(order[first : first + BLOCK].tolist(), first):
            made = make(plan, record, options.pictures)
            packed = None if isinstance(made, str) else target.pack(number, record, made)
            results.append((number, record, made, packed))
        return results

    threads = options.threads or os.cpu_count() or 1
    waiting: deque[Future[list[tuple[int, int, Made | str, Any]]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for first in range(start, len(order), BLOCK):
            waiting.append(pool.submit(block, first))
            if len(waiting) > AHEAD * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _finish(plan: Plan, parts: Mapping[str, np.ndarray], backend: str, work: Unfinished, output: Path) -> Conversion:
    """Put the parts at their place, with what lies beside them."""
    state, split = work.state, "" not in parts
    made = []
    for name in parts:
        if backend == "lmdb":
            path = output / name
            if plan.classes:
                (work.new / name / LABELS).write_text(_lines(plan.classes), encoding="utf-8")
        else:
            path = output / f"{name}.h5" if split else output
            fresh = work.new / path.name
            assert state.first, "there are records"
            kind = np.dtype(np.uint8 if len(state.first[1]) == 3 else np.float32)
            rows = Rows(work.folder / f"rows{name}", state.written[name])
            rows.finish(fresh, state.first[1], kind, tuple(plan.labels.shape[1:]))
            listed = f"{path.absolute()}\n"
            fresh.with_suffix(".txt").write_text(listed, encoding="utf-8", errors="surrogateescape")
        made.append(Part(name, path, state.written[name]))
    if backend == "hdf5" and not split:
        for file in (output, output.with_suffix(".txt")):
            work.publish(work.new / file.name, file)
    else:
        work.publish(work.new, output)
    records = sum(part.records for part in made)
    return Conversion(output, records, plan.classes, dict(state.sizes), tuple(state.refused), tuple(made))


def _lines(names: Sequence[str]) -> str:
    return "".join(f"{name}\n" for name in names)


def describe_sizes(sizes: dict[Shape, int]) -> str:
    """3x32x32, or how many there are of each, most first."""
    if len(sizes) == 1:
        return times(next(iter(sizes)))
    most = sorted(sizes.items(), key=lambda item: -item[1])
    listed = [f"{count} of {times(shape)}" for shape, count in most[:3]]
    return ", ".join(listed) + (f" and {len(most) - 3} sizes more" if len(most) > 3 else "")
