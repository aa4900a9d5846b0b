"""Outputs and inner blobs of many things as files of arrays: .npz, HDF5, or LMDBs as Caffe's extract_features writes.

Rows go to plain files first, so that any number of them takes little memory.
"""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from nktc import data
from nktc.errors import NktcError
from nktc.files import atomic
from nktc.inference.results import Result
from nktc.ir import Shape, times
from nktc.schema import Datum

NAMES = "names"
"""What the array of paths is called."""

PIECE = 1 << 24  # bytes that are copied at a time
AT_ONCE = 100  # records that are written to an LMDB together


def save(path: Path, results: Iterator[Result], outputs: Sequence[str]) -> None:
    """Write the outputs of these names, a row for each result that has no error, and the paths: `names` in an .npz or
    HDF5 file, names.txt beside the records of an LMDB. Several outputs go into an LMDB each, NAME-OUTPUT.lmdb.

    The file is written whole or not at all. Raises NktcError for rows of several shapes, where nothing is there to be
    written, and for an LMDB that is there already.
    """
    if path.suffix.lower() == ".lmdb":
        _save_lmdb(path, results, outputs)
        return
    if NAMES in outputs:
        raise NktcError(f'the output "{NAMES}" is called as the paths are in {path.name}', help="write an .lmdb")
    with atomic(path) as temporary, tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        spool = _spool(Path(folder), results, outputs, path)
        write = _write_npz if path.suffix.lower() == ".npz" else _write_hdf5
        write(temporary, spool)


@dataclass
class _Rows:
    """Rows of one output in a plain file."""

    file: Path
    shape: Shape = ()
    kind: np.dtype = field(default_factory=lambda: np.dtype(np.float32))
    count: int = 0

    def numbers(self) -> data.Numbers:
        return data.Numbers(self.file, (self.count, *self.shape), self.kind, self.kind)


@dataclass
class _Spool:
    """What has come, and what it is called."""

    rows: dict[str, _Rows]
    names: list[str]


def _spool(folder: Path, results: Iterator[Result], outputs: Sequence[str], path: Path) -> _Spool:
    spool = _Spool({name: _Rows(folder / str(i)) for i, name in enumerate(outputs)}, [])
    with ExitStack() as stack:
        files = {name: stack.enter_context(rows.file.open("wb")) for name, rows in spool.rows.items()}
        for result in results:
            if result.error:
                continue
            for name, rows in spool.rows.items():
                array = result.outputs[name]
                if rows.count and array.shape != rows.shape:
                    raise NktcError(
                        f"{name} is {times(array.shape)} for {result.path}, {times(rows.shape)} for those before it",
                        help="--jsonl takes outputs of any size",
                    )
                rows.shape, rows.kind, rows.count = array.shape, array.dtype, rows.count + 1
                files[name].write(np.ascontiguousarray(array).data)
            spool.names.append(result.path)
    if not spool.names:
        raise NktcError(f"{path} is not written: nothing could be inferred")
    return spool


def _write_npz(path: Path, spool: _Spool) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, rows in spool.rows.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                header = {"descr": rows.kind.str, "fortran_order": False, "shape": (rows.count, *rows.shape)}
                np.lib.format.write_array_header_2_0(entry, header)
                with rows.file.open("rb") as numbers:
                    while piece := numbers.read(PIECE):
                        entry.write(piece)
        with archive.open(f"{NAMES}.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, np.array(spool.names))


def _write_hdf5(path: Path, spool: _Spool) -> None:
    encoded = [name.encode(errors="surrogateescape") for name in spool.names]
    kind = h5py.string_dtype("utf-8", max(map(len, encoded)))
    file = next(iter(spool.rows.values())).file.with_name(NAMES)
    np.array(encoded, kind).tofile(file)
    arrays: dict[str, data.Numbers] = {name: rows.numbers() for name, rows in spool.rows.items()}
    try:
        data.write_hdf5(path, arrays | {NAMES: data.Numbers(file, (len(encoded),), kind, kind)})
    except (RuntimeError, ValueError, KeyError) as error:  # such as one name that is a part of another
        reason = str(error).partition("\n")[0]
        raise NktcError(f"HDF5 cannot hold {', '.join(arrays)}: {reason}", help="write an .npz") from None


def _save_lmdb(path: Path, results: Iterator[Result], outputs: Sequence[str]) -> None:
    places = _databases(path, outputs)
    for place in places.values():
        if place.exists():
            raise NktcError(f"{place} is there already", help="remove it, or give another name")
    beside: dict[str, str] = {}
    count = 0
    names: list[str] = []
    waiting: dict[str, list[tuple[bytes, bytes]]] = {name: [] for name in outputs}
    with ExitStack() as stack:
        writers = {name: stack.enter_context(data.new_database(places[name], beside)) for name in outputs}
        for result in results:
            if result.error:
                continue
            names.append(result.path)
            for name, records in waiting.items():
                records.append((b"%010d" % count, packed(result.outputs[name])))
                if len(records) == AT_ONCE:
                    writers[name].write(records)
                    records.clear()
            count += 1
        if not count:
            raise NktcError(f"{path} is not written: nothing could be inferred")
        for name, records in waiting.items():
            writers[name].write(records)
        beside["names.txt"] = "".join(f"{name}\n" for name in names)


def _databases(path: Path, outputs: Sequence[str]) -> Mapping[str, Path]:
    """Where each output is written to."""
    if len(outputs) == 1:
        return {outputs[0]: path}
    found = {name: path.with_name(f"{path.stem}-{name.replace('/', '_')}{path.suffix}") for name in outputs}
    if len(set(found.values())) < len(found):
        raise NktcError(f"{' and '.join(outputs)} would be written to the same place", help="write an .npz")
    return found


def packed(array: np.ndarray) -> bytes:
    """An array of any shape as floats, [c h w]; missing axes are 1, and the fourth and on are joined to the third."""
    shape = (*array.shape, 1, 1, 1)
    channels, height = shape[:2]
    width = math.prod(shape[2:])
    datum = Datum(channels=channels, height=height, width=width)
    datum.float_data.extend(array.astype(np.float32).reshape(-1).tolist())
    return bytes(datum.SerializeToString())
