"""What a data set is, by its name or where it lies, as lines of a word and what it tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np

from nktc.data.conversion.columns import number, read_table
from nktc.data.conversion.plan import Plan
from nktc.data.conversion.plan_pictures import plan_of_list, plan_of_tree
from nktc.data.database import read_labels
from nktc.data.databases.backends import backend_of, open_database, read_places
from nktc.data.databases.datum import BadDatum, is_encoded, parse
from nktc.data.images import ANY, decode
from nktc.data.places import Places, is_archive
from nktc.data.sets.catalogue import KNOWN, KnownSet, known_names
from nktc.data.sets.finding import MADE, lies
from nktc.data.trees import Tree
from nktc.errors import NktcError, near
from nktc.ir import Phase, Shape, times

SAMPLE = 1000  # records that are looked into, spread evenly
SHOWN = 10  # classes, labels or sizes that are named

Line = tuple[str, str]


def info(what: str, places: Places) -> list[Line]:
    """Of a known set, a database, an HDF5 file, a table, a list, or a folder or archive of images. Raises NktcError."""
    if what in KNOWN:
        return _of_set(KNOWN[what], places)
    path = Path(what)
    if not path.exists():
        raise NktcError(f"{what} is not there", help=near(what, KNOWN) or known_names())
    if backend_of(path):
        return _of_database(path)
    if path.is_dir() or is_archive(path):
        return _of_tree(path)
    if path.suffix.lower() == ".csv":
        return _of_table(path)
    return _of_hdf5(path) if h5py.is_hdf5(path) else _of_list(path)


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


def _of_tree(path: Path) -> list[Line]:
    tree = Tree(path)
    tops = sorted({name.split("/")[0] for name in tree.pictures()})
    try:
        plan = plan_of_tree(tree, "")
    except NktcError as error:
        if not error.help.startswith("give --split"):
            raise
        plans = {name: plan_of_tree(tree, name) for name in tops}
        splits = [(name, f"{len(plan)} images") for name, plan in plans.items()]
        plan = next(iter(plans.values()))
        return [("kind", "images in class folders"), *splits, *_of_pictures(plan), ("bytes", str(_bytes(path)))]
    kind = ("kind", "images in class folders")
    return [kind, ("images", str(len(plan))), *_of_pictures(plan), ("bytes", str(_bytes(path)))]


def _of_list(path: Path) -> list[Line]:
    """A list of HDF5 files, or of images that lie beside it."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        names = []
    for file in (path.parent / names[0], Path(names[0])) if names else ():
        if file.is_file() and h5py.is_hdf5(file):
            return [
                ("kind", "list of HDF5 files"),
                ("files", str(len(names))),
                ("first", str(file)),
                *_of_hdf5(file)[1:],
            ]
    if not names or not names[0].rpartition(" ")[2].lstrip("-").isdigit():
        help = "a list has lines of a path and a number, or of HDF5 files"
        raise NktcError(f"{path} is no data that nktc knows", help=help)
    plan = plan_of_list(Tree(path.parent), path)
    return [("kind", "list of images"), ("images", str(len(plan))), *_of_pictures(plan)]


def _of_pictures(plan: Plan) -> list[Line]:
    chosen = _spread(len(plan), SAMPLE // 10)
    sizes: Counter[Shape] = Counter()
    bad = []
    for i in chosen.tolist():
        try:
            data = plan.read(i)
            picture = decode(data, ANY) if isinstance(data, bytes) else data
        except (OSError, KeyError):
            bad.append(f"{plan.name(i)} cannot be read")
            continue
        if picture is None:
            bad.append(f"{plan.name(i)} is not an image that can be decoded")
        else:
            sizes[tuple(picture.shape)] += 1
    found = _counted((times(size), n) for size, n in sizes.most_common())
    lines = [("sizes", found), *_sampled(len(chosen), len(plan), "sizes are ")]
    return [*lines, *_of_labels(plan.labels.tolist(), plan.classes), *(("damaged", text) for text in bad[:SHOWN])]


def _of_table(path: Path) -> list[Line]:
    table = read_table(path)
    lines = [("kind", "table"), ("rows", str(len(table.lines)))]
    for name, words in table.columns.items():
        numbers = [value for value in map(number, words) if value is not None]
        empty = sum(not word for word in words)
        if len(numbers) + empty == len(words) and numbers:
            text = f"{min(numbers):g} to {max(numbers):g}"
        else:
            text = _named(*_distinct(words))
        lines.append((name, text + (f", {empty} empty" if empty else "")))
    return [*lines, ("bytes", str(_bytes(path)))]


def _distinct(words: Sequence[str]) -> tuple[list[str], int]:
    found = Counter(word for word in words if word)
    return [word for word, _ in found.most_common(SHOWN)], len(found)


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
                whole = (values == np.trunc(values)).all()
                lines += _of_labels(values.tolist(), ()) if whole else [("labels", _range(values))]
    except (OSError, RuntimeError) as error:
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
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
