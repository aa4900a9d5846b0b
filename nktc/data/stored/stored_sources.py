"""What lies where the user says, opened to look at every record of it."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from nktc.data.conversion.plan_arrays import is_idx
from nktc.data.conversion.reading import SourceOptions, plan_of
from nktc.data.database import read_labels
from nktc.data.databases.backends import backend_of, open_database
from nktc.data.images import ANY
from nktc.data.lists import read_list
from nktc.data.places import Places, is_archive
from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.finding import known_file
from nktc.data.stored.stored import Fault, Subject
from nktc.data.stored.stored_arrays import StoredRows, StoredTable, file_of
from nktc.data.stored.stored_database import StoredDatabase
from nktc.data.stored.stored_images import StoredImages, StoredPlan, entries_of
from nktc.data.stored.stored_layers import images_of, lists_of, set_of
from nktc.data.table_file import read_table
from nktc.errors import LayerError, NktcError, near
from nktc.files import find_file
from nktc.ir import Phase

TABLES = (".csv", ".parquet")
SPLITS = ("train", "test", "val", "valid", "validation")
LIST = "lists of images have lines of a path and a label, lists of HDF5 files one of them a line"


def subjects_of(source: str, split: str, places: Places) -> list[Subject]:
    """What lies at a path: an LMDB or LevelDB, a folder of class folders, a list, an HDF5 file, an archive, an idx
    file, a table; or a known set, each of its splits unless one is told. Raises NktcError."""
    path = Path(source)
    if not os.path.exists(path):
        if source not in KNOWN:
            help = near(source, KNOWN) or f"give a net, data, or one of {', '.join(KNOWN)}"
            raise NktcError(f"{source} is not there", help=help)
        return _of_known(source, split, places)
    if kind := backend_of(path):
        return [Subject(source, kind, lambda order: _of_database(path, order))]
    if path.suffix.lower() in TABLES:
        return [Subject(source, "table", lambda order: _of_table(path))]
    if is_archive(path) or (path.is_file() and is_idx(path)):
        return [_planned(source, split, places)]
    if path.is_dir():
        return _of_folder(source, path, split, places)
    if h5py.is_hdf5(path) or path.suffix.lower() in (".h5", ".hdf5"):
        return [Subject(source, "HDF5", lambda order: StoredRows([file_of(path)]))]
    return [_of_list(source, path)]


def _of_known(name: str, split: str, places: Places) -> list[Subject]:
    known = KNOWN[name]
    if known.kind == "table":
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
    columns = [table.words(n)[1] if table.holds_words(n) else table.numbers(n) for n in table.columns]
    # What is not there is told by a layer that reads the table, which knows what is to become of it.
    values = np.nan_to_num(np.stack(columns, axis=1)).astype(np.float32)
    return StoredTable(table, values)


def _of_folder(source: str, path: Path, split: str, places: Places) -> list[Subject]:
    inside = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    if any(backend_of(path / name) for name in inside):
        parts = [name for name in inside if backend_of(path / name) and split in ("", name)]
        return [one for name in parts for one in subjects_of(str(path / name), "", places)]
    splits = [name for name in inside if name in SPLITS]
    if splits and len(splits) == len(inside):
        if split and split not in splits:
            raise NktcError(f'{source} has no split "{split}"', help=f"its folders are {', '.join(splits)}")
        return [
            one
            for name in splits
            if split in ("", name)
            for one in _of_folder(f"{source}/{name}", path / name, "", places)
        ]
    if inside:
        return [Subject(source, "class folders", lambda order: images_of(source, Path(), order or ANY))]
    return [_planned(source, split, places)]


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
    if lines[0].text.endswith((".h5", ".hdf5")) or (first.is_file() and h5py.is_hdf5(first)):
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
