"""What a data set is, by its name or where it lies, as lines of a word and what it tells."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np

from nktc.data.database import read_labels
from nktc.data.databases.backends import backend_of, open_database, read_places
from nktc.data.databases.datum import BadDatum, is_encoded, parse
from nktc.data.hdf5 import HARM
from nktc.data.images import ANY
from nktc.data.lists import read_list
from nktc.data.places import Places
from nktc.data.sets.catalogue import KNOWN, KnownSet
from nktc.data.sets.finding import MADE, lies
from nktc.data.stored.stored import Stored, Subject
from nktc.data.stored.stored_sources import holds_what_can_be_read, is_there, subjects_of
from nktc.data.table_file import Table, read_table
from nktc.data.trees import Tree, common_folder
from nktc.errors import LayerError, NktcError
from nktc.files import find_file
from nktc.ir import Phase, Shape, times

SAMPLE = 1000  # records that are looked into, spread evenly
SHOWN = 10  # classes, labels or sizes that are named
KINDS = {"class folders": "images in class folders"}

Line = tuple[str, str]


def info(what: str, places: Places) -> list[Line]:
    """Of a known set, a database, an HDF5 file, a table, a list, or a folder or archive of images or of parts. Raises
    NktcError."""
    if what in KNOWN and not is_there(what):
        return _of_set(KNOWN[what], places)
    found = subjects_of(what, "", places)
    if len(found) == 1:
        return _of_one(found[0].name, found[0], places)
    counts = [(Path(one.name).stem, _records(one.open(ANY))) for one in found]
    first = _of_one(found[0].name, found[0], places)
    return [*first[:1], *counts, ("the first", found[0].name), *first[1:]]


def _of_one(what: str, subject: Subject, places: Places) -> list[Line]:
    path = Path(what)
    match subject.kind:
        case "LMDB" | "LEVELDB":
            return _of_database(path)
        case "table":
            return _of_table(path)
        case "HDF5":
            return _of_hdf5(path)
        case "list of HDF5 files":
            return _of_hdf5_list(path)
    try:
        stored = subject.open(ANY)
    except NktcError as error:
        if not error.help.startswith("give --split"):
            raise
        return _of_splits(what, places)
    return [_kind(subject), ("images", str(len(stored))), *_of_pictures(stored), *_of_bytes(path, subject)]


def _kind(subject: Subject) -> Line:
    return "kind", KINDS.get(subject.kind, subject.kind)


def _of_splits(what: str, places: Places) -> list[Line]:
    """Of an archive or a folder that has to be read split by split."""
    pictures = Tree(Path(what)).pictures()
    root = common_folder(pictures)
    names = sorted({name[len(root) :].split("/")[0] for name in pictures}) or [phase.name.lower() for phase in Phase]
    subjects = {name: one for name in names for one in subjects_of(what, name, places)}
    parts = {name: one.open(ANY) for name, one in subjects.items()}
    counts = [(name, _records(stored)) for name, stored in parts.items()]
    kind, told = _kind(subjects[names[0]]), _of_pictures(parts[names[0]])
    return [kind, *counts, ("the first", names[0]), *told, *_of_bytes(Path(what), subjects[names[0]])]


def _records(stored: Stored) -> str:
    return f"{len(stored)} {'record' if len(stored) == 1 else 'records'}"


def _of_bytes(path: Path, subject: Subject) -> list[Line]:
    return [] if subject.kind == "list of images" else [("bytes", str(_bytes(path)))]


def _of_set(known: KnownSet, places: Places) -> list[Line]:
    lines = [("name", known.name), ("about", known.about)]
    if known.kind == "images":
        planes = ", planes red, green, blue" if known.order == "RGB" else ", grey"
        lines.append(("images", f"{times(known.image)}{planes}, 0 to 255"))
        lines += [(phase.name, f"{known.sizes[phase]} images") for phase in Phase]
        lines.append(("classes", _named(known.labels, len(known.labels))))
    elif known.kind == "table":
        lines += [("rows", str(known.rows)), ("columns", ", ".join(known.columns))]
    else:
        lines.append(("text", f"{known.downloads[0].size} bytes"))
    where = lies(known, places)
    if known.name in MADE:
        lines.append(("lies in", f"{where}: always there"))
    else:
        lines.append(("lies in", where or f"nowhere on this machine: nktc data get {known.name}"))
    for wanted in known.downloads:
        lines.append(("official", f"{wanted.url} {wanted.size} bytes {wanted.sum}"))
    if known.licence:
        lines.append(("licence", known.licence))
    return lines


def _of_database(path: Path) -> list[Line]:
    database = open_database(path)
    lines = [("kind", f"{backend_of(path)} of Datum"), ("records", str(database.records))]
    chosen = _spread(database.records)
    sizes: Counter[Shape] = Counter()
    forms: Counter[str] = Counter()
    labels, bad = [], []
    for place, (key, value) in zip(chosen.tolist(), read_places(database, chosen) if len(chosen) else [], strict=True):
        try:
            record = parse(value, ANY)
        except BadDatum as error:
            bad.append(f'record {place}, key "{bytes(key).decode(errors="backslashreplace")}": {error}')
            continue
        sizes[tuple(record.values.shape)] += 1
        forms["image files" if is_encoded(value) else "bytes" if record.values.dtype == np.uint8 else "floats"] += 1
        labels.append(record.label)
    if len(chosen):
        lines += [("sizes", _counted((times(size), n) for size, n in sizes.most_common())), ("values", _counts(forms))]
        lines += _of_labels(labels, read_labels(path))
    lines += [("damaged", text) for text in bad[:SHOWN]]
    return [*lines, *_sampled(len(chosen), database.records), ("bytes", str(_bytes(path)))]


def _of_hdf5_list(path: Path) -> list[Line]:
    names = [line.text for line in read_list(str(path.absolute()), Path())]
    first = find_file(names[0], path.parent)
    lines = [("kind", "list of HDF5 files"), ("files", str(len(names))), ("first", str(first))]
    return [*lines, *_of_hdf5(first)[1:]]


def _of_pictures(stored: Stored) -> list[Line]:
    chosen = _spread(len(stored), SAMPLE // 10)
    items = stored.look(chosen)
    sizes = Counter(tuple(item.values.shape) for item in items if item.values is not None)
    bad = [*stored.faults, *(fault for item in items for fault in item.faults)]
    found = _counted((times(size), n) for size, n in sizes.most_common())
    lines = [("sizes", found), *_sampled(len(chosen), len(stored), "sizes are ")]
    labels = stored.labels(np.arange(len(stored)))
    return [*lines, *_of_labels(labels.tolist(), stored.classes), *(("damaged", str(one)) for one in bad[:SHOWN])]


def _of_table(path: Path) -> list[Line]:
    table = read_table(path)
    lines = [("kind", "table"), ("rows", str(table.rows))]
    lines += [(name, _of_column(table, name)) for name in table.columns]
    return [*lines, ("bytes", str(_bytes(path)))]


def _of_column(table: Table, name: str) -> str:
    try:
        values = table.numbers(name)
    except LayerError:
        if not holds_what_can_be_read(table, name):
            return str(table.columns[name].type)
        words, which = table.words(name)
        there = which[which >= 0]
        order = np.argsort(-np.bincount(there, minlength=len(words)), kind="stable")
        empty, text = len(which) - len(there), _named([words[i] for i in order], len(words))
    else:
        there = values[np.isfinite(values)]
        empty, text = len(values) - len(there), _range(there) if there.size else "no values"
    return text + (f", {empty} empty" if empty else "")


def _of_hdf5(path: Path) -> list[Line]:
    lines = [("kind", "HDF5")]
    try:
        with h5py.File(path) as file:
            for name, held in file.items():
                if isinstance(held, h5py.Dataset):
                    lines.append((name, f"{held.dtype} {times(tuple(held.shape)) or 'one number'}"))
            label = file.get("label")
            if isinstance(label, h5py.Dataset) and label.ndim == 1 and label.dtype.kind in "fiu" and len(label):
                values = label[:]
                finite = values[np.isfinite(values)]
                if (finite == np.trunc(finite)).all():
                    lines += _of_labels(finite.tolist(), ())
                else:
                    lines += [("labels", _range(finite))]
                if len(finite) < len(values):
                    lines += [("damaged", f"{len(values) - len(finite)} labels are NaN or infinite")]
    except HARM as error:
        raise NktcError(f"{path} cannot be read ({str(error).partition(chr(10))[0]})") from None
    return [*lines, ("bytes", str(_bytes(path)))]


def _of_labels(labels: Sequence[float], classes: Sequence[str]) -> list[Line]:
    """Their range, how many there are of each, and what classes are called."""
    if not labels:
        return []
    counts = sorted(Counter(labels).items())
    spread = _counted((classes[int(k)] if 0 <= k < len(classes) else f"{k:g}", n) for k, n in counts)
    lines = [("labels", f"{_range(np.array(labels))}: {spread}")]
    return [*lines, ("classes", _named(classes, len(classes)))] if classes else lines


def _range(values: np.ndarray) -> str:
    return f"{values.min():g} to {values.max():g}"


def _counted(items: Iterable[tuple[str, int]]) -> str:
    """ "a 3, b 1", the first few."""
    listed = [f"{name} ({count})" for name, count in items]
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")


def _counts(counts: Counter[str]) -> str:
    return next(iter(counts)) if len(counts) == 1 else _counted(counts.most_common())


def _named(names: Sequence[str], count: int) -> str:
    """How many names there are, and the first few."""
    more = f" and {count - SHOWN} more" if count > SHOWN else ""
    return f"{count}: {', '.join(names[:SHOWN])}{more}"


def _spread(count: int, sample: int = SAMPLE) -> np.ndarray:
    """i64[..] of records that lie evenly among all."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, sample)).astype(np.int64))


def _sampled(looked: int, count: int, what: str = "") -> list[Line]:
    return [("sample", f"{what}those of {looked} of {count} records")] if looked < count else []


def _bytes(path: Path) -> int:
    files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names] or [str(path)]
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file))
