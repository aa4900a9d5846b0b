"""What a conversion may write over: nothing that it reads, and of what is there only what a conversion makes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import h5py

from nktc.data.database import LABELS
from nktc.data.databases.backends import backend_of
from nktc.errors import NktcError

PARTS = ("train", "val", "test")
FILES = {
    "LMDB": re.compile(rf"data\.mdb|lock\.mdb|{re.escape(LABELS)}"),
    "LEVELDB": re.compile(rf"CURRENT|LOCK|LOG(\.old)?|MANIFEST-\d+|\d+\.(ldb|sst|log|dbtmp)|{re.escape(LABELS)}"),
}
"""What lies in the folder of a database."""


def check_output(output: Path, listing: Path | None, read: Sequence[Path], force: bool) -> None:
    """Raises NktcError where `output`, or the list beside it, is one of the files and folders that are `read` or lies
    above one of them, or is there: without `force` whatever it is, else what no conversion has made."""
    if output.name in ("", ".."):
        raise NktcError(
            f'OUTPUT "{output}" has no name of its own', help="give the name of a file or folder to be made"
        )
    if listing and str(listing).lower() == str(output).lower():
        help = f"call it {output.with_suffix('.h5')}"
        raise NktcError(f"{output} would be both the HDF5 file and the list that names it", help=help)
    for path in filter(None, (output, listing)):
        real = Path(os.path.realpath(path))
        for one in read:
            source = Path(os.path.realpath(one))
            if real == source:
                raise NktcError(f"{path} is what is to be converted", help="give another OUTPUT")
            if real in source.parents:
                raise NktcError(f"{one}, which is to be converted, lies in {path}", help="give another OUTPUT")
    there = [path for path in (output, listing) if path and os.path.lexists(path)]
    if there and not force:
        raise NktcError(
            f"{there[0]} is there already", help="give another name, or nktc data convert --force, which replaces it"
        )
    for path in there:
        why = _is_no_listing(path, output) if path == listing else _is_nothing_made(path)
        if why:
            help = "give another OUTPUT, or remove it yourself"
            raise NktcError(f"--force replaces what a conversion has made, and {why}", help=help)


def _is_nothing_made(path: Path) -> str:
    """Why a conversion has not made what lies at `path`; empty where it has, or where nothing is lost."""
    try:
        return _is_no_output(path) if os.path.isdir(path) else _is_no_rows(path)
    except OSError as error:
        return f"{error.filename or path} cannot be read: {error.strerror or error}"


def _is_no_output(folder: Path) -> str:
    """The same of a folder: a database, or one of parts."""
    names = sorted(os.listdir(folder))
    if kind := backend_of(folder):
        odd = next((name for name in names if not FILES[kind].fullmatch(name)), "")
        return f"{folder / odd} is no part of a database" if odd else ""
    for name in names:
        path, stem = folder / name, name.partition(".")[0]
        if stem not in PARTS:
            return f"{path} is none of its parts"
        if name == stem and os.path.isdir(path) and backend_of(path):
            why = _is_no_output(path)
        elif name == f"{stem}.h5":
            why = _is_no_rows(path)
        elif name == f"{stem}.txt":
            why = _is_no_listing(path, folder / f"{stem}.h5")
        else:
            why = f"{path} is neither a database nor HDF5"
        if why:
            return why
    return ""


def _is_no_rows(file: Path) -> str:
    """The same of a file, which is HDF5 with data and labels alone."""
    if os.path.isfile(file) and h5py.is_hdf5(file):
        with h5py.File(file) as opened:
            return "" if {*opened} == {"data", "label"} else f"{file} is HDF5 of something else than data and label"
    return f"{file} is neither a database nor HDF5"


def _is_no_listing(file: Path, names: Path) -> str:
    """The same of the list beside an HDF5 file, which has a single line, that file."""
    try:
        lines = file.read_bytes().decode(errors="surrogateescape").splitlines()
    except OSError as error:
        return f"{file} cannot be read: {error.strerror or error}"
    named = len(lines) == 1 and os.path.realpath(lines[0].strip()) == os.path.realpath(names)
    return "" if named else f"{file} is not the list of {names.name} alone"
