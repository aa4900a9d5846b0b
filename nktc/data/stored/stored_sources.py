"""What lies where the user says, opened to look at every record of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from nktc.data.conversion.plan_arrays import is_idx
from nktc.data.conversion.plan_pictures import SPLITS
from nktc.data.conversion.reading import SourceOptions, plan_of
from nktc.data.database import read_labels
from nktc.data.databases.backends import backend_of, open_database
from nktc.data.images import ANY
from nktc.data.lists import read_list
from nktc.data.places import Places, is_archive
from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.finding import known_file
from nktc.data.stored.stored import Fault, Stored, Subject
from nktc.data.stored.stored_arrays import StoredRows, StoredTable, file_of
from nktc.data.stored.stored_database import StoredDatabase
from nktc.data.stored.stored_images import StoredImages, StoredPlan, entries_of
from nktc.data.stored.stored_layers import images_of, lists_of, set_of
from nktc.data.table_file import Table, read_table
from nktc.errors import LayerError, NktcError, near
from nktc.files import find_file
from nktc.ir import Phase

TABLES = (".csv", ".parquet")
HDF5 = (".h5", ".hdf5")
SHOWN = 10  # classes that are named
LIST = "lists of images have lines of a path and a label, lists of HDF5 files one of them a line"


def subjects_of(source: str, split: str, places: Places) -> list[Subject]:
    """What lies at a path: an LMDB or LevelDB, a folder of class folders, a list, an HDF5 file, an archive, an idx
    file, a table, or the folder of parts of a conversion; or a known set, each of its splits unless one is told. A path
    goes before a set of that name. Raises NktcError, as what opens the subjects does."""
    with _said(source):
        found = _subjects_at(source, split, places) if is_there(source) else _of_known(source, split, places)
    return [replace(one, open=_opening(one)) for one in found]


def is_there(path: str) -> bool:
    """Whether something lies at a path. Raises NktcError where the system does not let us see it."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name that no system takes
        return False
    except OSError as error:
        raise _unreadable(path, error) from None
    return True


def _opening(subject: Subject) -> Callable[[str], Stored]:
    def opened(order: str) -> Stored:
        with _said(subject.name):
            return subject.open(order)

    return opened


@contextmanager
def _said(source: str) -> Iterator[None]:
    """What the system refuses, in words."""
    try:
        yield
    except OSError as error:
        raise _unreadable(source, error) from None


def _unreadable(source: str, error: OSError) -> NktcError:
    return NktcError(f"{error.filename or source} cannot be read: {error.strerror or error}")


def _subjects_at(source: str, split: str, places: Places) -> list[Subject]:
    path = Path(source)
    if not os.access(path, os.R_OK):  # asked first: each library has words of its own for it
        raise NktcError(f"{source} cannot be read: {os.strerror(errno.EACCES)}")
    if os.path.isdir(path) and not backend_of(path):
        return _of_folder(source, path, split, places)
    if os.path.isfile(path) and (is_archive(path) or is_idx(path)):
        return [_planned(source, split, places)]
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise NktcError(f"{source} is neither a file nor a folder")
    subject = _of_one(source, path)
    if split:
        raise _no_split(source, split, f"it is one source ({subject.kind}): leave --split out")
    return [subject]


def _of_one(source: str, path: Path) -> Subject:
    """What has no splits."""
    if kind := backend_of(path):
        return Subject(source, kind, lambda order: _of_database(path, order))
    if path.suffix.lower() in TABLES:
        return Subject(source, "table", lambda order: _of_table(path))
    if path.suffix.lower() in HDF5 or h5py.is_hdf5(path):
        return Subject(source, "HDF5", lambda order: StoredRows([file_of(path)]))
    return _of_list(source, path)


def _no_split(source: str, split: str, help: str) -> NktcError:
    return NktcError(f'{source} has no split "{split}"', help=help)


def _of_known(name: str, split: str, places: Places) -> list[Subject]:
    if name not in KNOWN:
        help = near(name, KNOWN) or f"give a net, data, or one of {', '.join(KNOWN)}"
        raise NktcError(f"{name} is not there", help=help)
    known = KNOWN[name]
    if known.kind == "table":
        if split:
            raise _no_split(name, split, "it is one table: leave --split out")
        return [Subject(name, "table", lambda order: _of_table(known_file(name, places)))]
    if known.kind == "text":
        raise NktcError(f"{name} is a text, which has no records")
    phases = {phase.name.lower(): phase for phase in Phase}
    if split and split not in phases:
        raise NktcError(f"{name} has the splits {' and '.join(phases)}", help="give --split train or --split test")

    def subject(word: str, phase: Phase) -> Subject:
        return Subject(f"{name} {word}", "known set", lambda order: set_of(name, phase, places))

    return [subject(word, phase) for word, phase in phases.items() if split in ("", word)]


def _of_database(path: Path, order: str) -> StoredDatabase:
    return StoredDatabase(open_database(path), order or ANY, read_labels(path))


def _of_table(path: Path) -> StoredTable:
    table = read_table(path)
    names = [name for name in table.columns if holds_what_can_be_read(table, name)]
    values = np.zeros((table.rows, len(names)), np.float32)
    for i, name in enumerate(names):
        column = table.words(name)[1] if table.holds_words(name) else table.numbers(name)
        # What is not there is told by a layer that reads the table, which knows what is to become of it.
        values[:, i] = np.nan_to_num(column)
    return StoredTable(table, values)


def holds_what_can_be_read(table: Table, name: str) -> bool:
    """Whether a column is one of numbers or words; one of dates is none, which a layer may leave out."""
    try:
        table.holds_words(name)
    except LayerError:
        return False
    return True


def _of_folder(source: str, path: Path, split: str, places: Places) -> list[Subject]:
    entries = sorted((entry for entry in os.scandir(path) if not entry.name.startswith(".")), key=lambda e: e.name)
    inside = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if entry.is_file() and Path(entry.name).suffix.lower() in HDF5]
    if parts := {name: name for name in inside if backend_of(path / name)} or (
        {Path(name).stem: name for name in files} if not inside else {}
    ):
        chosen = _chosen(source, split, list(parts))
        return [_of_one(os.path.join(source, parts[name]), path / parts[name]) for name in chosen]
    if inside and all(name in SPLITS for name in inside):
        chosen = _chosen(source, split, inside)
        return [one for name in chosen for one in _of_folder(os.path.join(source, name), path / name, "", places)]
    if inside:
        if split:
            raise _no_split(source, split, f"its folders are classes: {', '.join(inside[:SHOWN])}")
        return [Subject(source, "class folders", lambda order: images_of(source, Path(), order or ANY))]
    return [_planned(source, split, places)]


def _chosen(source: str, split: str, parts: list[str]) -> list[str]:
    """The parts that are asked for: one, or all."""
    if split and split not in parts:
        raise _no_split(source, split, f"its parts are {', '.join(parts)}")
    return [split] if split else parts


def _planned(source: str, split: str, places: Places) -> Subject:
    return Subject(
        f"{source} {split}".rstrip(),
        "archive" if is_archive(Path(source)) else "pictures",
        lambda order: StoredPlan(plan_of(source, SourceOptions(split), places), order or ANY),
    )


def _of_list(source: str, path: Path) -> Subject:
    """Images or HDF5 files that a text names, beside it or under the working directory."""
    try:
        lines = read_list(str(path.absolute()), Path())
    except LayerError as error:
        raise NktcError(error.message.replace(str(path.absolute()), source), help=LIST) from None
    first = find_file(lines[0].text, path.parent)
    if lines[0].text.endswith(HDF5) or (os.path.isfile(first) and os.access(first, os.R_OK) and h5py.is_hdf5(first)):
        return Subject(source, "list of HDF5 files", lambda order: lists_of(str(path.absolute()), path.parent))

    def images(order: str) -> StoredImages:
        entries, faults = entries_of(lines, "")
        if not entries:
            raise NktcError(f"{source} is no data that nktc knows", help=LIST)
        shown = tuple(
            Fault(one.kind, one.what, None, one.called.replace(str(path.absolute()), source)) for one in faults
        )
        return StoredImages(entries, path.parent, order or ANY, (), shown)

    return Subject(source, "list of images", images)
