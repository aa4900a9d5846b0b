"""Where the things to be inferred come from: files of images, arrays, videos and databases, in a fixed order."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nktc import data
from nktc.errors import NktcError
from nktc.inference import arrays, video
from nktc.inference.intake import Intake, Job, Rows

STDIN = "-"
ARRAYS = (".npy", ".npz")
DATABASES = (".lmdb", ".leveldb", ".mdb")

Thing = str | Path | bytes | np.ndarray
"""What Python code hands over: a path or a pattern, the bytes of a file, or an array."""


@dataclass(frozen=True)
class Source:
    """Things of one kind: how many, None where that is not known, and what has to be done for each."""

    name: str
    count: int | None
    jobs: Callable[[Intake], Iterator[Job]]


def find(paths: Iterable[str | Path], every: int = 1) -> list[Source]:
    """What lies at paths, in their order: an image, a folder of them and all in it, sorted, an .npy or .npz file, an
    LMDB or LevelDB of Datum, every so many frames of a video, what a pattern with *, ? or ** matches, sorted, or -,
    standard input. Raises NktcError for what is not there, and for a folder or a pattern that has nothing."""
    found: list[Source] = []
    for path in paths:
        found += _at(str(path), every)
    return found


def listed(file: str, every: int = 1) -> Source:
    """The paths in a text file, or on standard input for -, one a line, which are read as they are needed; a line that
    names nothing is one result with an error. Raises NktcError where there is no such file."""
    if file != STDIN and not Path(file).is_file():
        raise NktcError(
            f"there is no list {file}", help="give a text file of paths, one a line, or - for standard input"
        )

    def jobs(intake: Intake) -> Iterator[Job]:
        with nullcontext(sys.stdin.buffer) if file == STDIN else open(file, "rb") as lines:
            for line in lines:
                if path := os.fsdecode(line.rstrip(b"\r\n")):
                    yield from _failing(path, _jobs_at(path, every, intake))

    return Source(file, None, jobs)


def of(things: Iterable[Thing], every: int = 1) -> list[Source]:
    """The same of what Python code hands over. Raises NktcError."""
    found: list[Source] = []
    for thing in things:
        if isinstance(thing, str | Path):
            found += _at(str(thing), every)
        else:
            name = "the image" if isinstance(thing, bytes) else "the array"
            held = thing if isinstance(thing, bytes) else np.asarray(thing)
            found.append(Source(name, None, partial(arrays.of_bytes_or_array, held, name)))
    return found


def count(sources: Sequence[Source]) -> int | None:
    """How many things there are, None where that is not known."""
    counts = [source.count for source in sources]
    return None if None in counts else sum(c for c in counts if c is not None)


def all_jobs(sources: Sequence[Source], intake: Intake) -> Iterator[Job]:
    """What has to be done, source after source; one that cannot be read is a job that says so, and ends nothing."""
    for source in sources:
        yield from _failing(source.name, source.jobs(intake))


def _at(path: str, every: int) -> list[Source]:
    """The sources that one path or pattern names. Raises NktcError."""
    place = Path(path)
    if path == STDIN:
        return [Source("standard input", None, _standard_input)]
    if place.is_dir() and not _is_database(place):
        return [_images([str(file) for file in data.find_images([place])], path)]
    if place.exists():
        return [_of_file(path, every)]
    if not glob.has_magic(path):
        raise NktcError(f"{path} is not there")
    matched = sorted(glob.glob(path, recursive=True))
    files = [one for one in matched if Path(one).is_file() or _is_database(Path(one))]
    if not files:
        help = "** stands for any number of folders" if "*" in path else ""
        raise NktcError(f"nothing matches {path}", help=help)
    return [_of_file(one, every) for one in files]


def _jobs_at(path: str, every: int, intake: Intake) -> Iterator[Job]:
    for source in _at(path, every):
        yield from source.jobs(intake)


def _of_file(path: str, every: int) -> Source:
    """A file, or a database, by its name."""
    name = path.lower()
    if name.endswith(DATABASES) or _is_database(Path(path)):
        return Source(path, None, partial(_records, Path(path)))
    if name.endswith(ARRAYS):
        return Source(path, None, partial(arrays.of_file, Path(path), path))
    if video.is_video(name):
        return Source(path, None, partial(video.frames, Path(path), every))
    return _images([path], path)


def _is_database(path: Path) -> bool:
    return path.is_dir() and (path.name.lower().endswith(DATABASES) or bool(data.backend_of(path)))


def _images(files: Sequence[str], name: str) -> Source:
    def jobs(intake: Intake) -> Iterator[Job]:
        for file in files:
            yield Job(file, partial(arrays.image, Path(file), file, intake))

    return Source(name, len(files), jobs)


def _records(path: Path, intake: Intake) -> Iterator[Job]:
    """The records of a database, called PATH#KEY, in the order of their keys. Raises NktcError."""
    database = data.open_database(path)
    for place in range(database.records):
        try:
            ((key, value),) = database.read(place, 1)
        except NktcError as error:
            yield Job(f"{path}#{place}", partial(_fail, error))
            continue
        name = f"{path}#{key.decode(errors='backslashreplace')}"
        yield Job(name, partial(intake.record, value, name))


def _standard_input(intake: Intake) -> Iterator[Job]:
    """The bytes of one image, or of an .npy or .npz file. Raises NktcError."""
    stream: BinaryIO = sys.stdin.buffer
    return arrays.of_bytes_or_array(stream.read(), "standard input", intake)


def _failing(name: str, jobs: Iterator[Job]) -> Iterator[Job]:
    """The same; where they cannot be had, one that says so stands at their end."""
    try:
        yield from jobs
    except NktcError as error:
        yield Job(name, partial(_fail, error))


def _fail(error: NktcError) -> Rows:
    raise error
