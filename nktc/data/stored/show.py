"""What a source feeds, for a person to look at: a sheet of a batch's pictures, and lines that tell of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nktc.data.sources import open_stream
from nktc.data.stored.eye import Cell, boxes_of, captions, cells_of, for_the_eye, stretched, undone
from nktc.data.stored.histogram import are_classes, histogram, read_labels_of
from nktc.data.stored.stored import Item, Stored, Subject, named
from nktc.data.stored.stored_arrays import StoredTable
from nktc.data.stream import Opening, Stream
from nktc.data.table_file import Table
from nktc.data.transforms.transform import mean_of, preprocessing_of
from nktc.errors import LayerError, NktcError
from nktc.ir import Layer, Phase, Preprocessing, times
from nktc.layers import AnnotatedData, MemoryData, WindowData

MOST = 100  # pictures of a sheet, unless more are asked for
SAMPLE = 64  # records of data itself
ROWS = 10  # of what has no pictures
COLUMNS = 12
NO_PICTURES = "its records are no pictures"


@dataclass(frozen=True, eq=False)
class Shown:
    """Lines that tell of records, and those that are pictures; `how` they became such, or why there is none, in
    words."""

    lines: list[str]
    cells: list[Cell] = field(default_factory=list)
    how: str = ""


def show_batch(layer: Layer, phase: Phase, opening: Opening, k: int, count: int | None) -> Shown:
    """Batch `k` of a layer as the net gets it, `count` of its pictures at most. Where it has no pictures its first rows
    are told. Raises NktcError."""
    stream = open_stream(layer, opening)
    tops = [top.numpy() for top in stream.batch(k)]
    x, label = tops[0], tops[1] if len(tops) > 1 else None
    shapes = ", ".join(times(top.shape) for top in tops)
    finite = x[np.isfinite(x)]
    spread = f"{finite.min():g} to {finite.max():g}, mean {finite.mean(dtype=np.float64):g}" if finite.size else "none"
    lines = [f"batch {k}: {shapes}", f"values: {spread}"]
    if finite.size < x.size:
        lines.append(f"{x.size - finite.size} values are NaN or infinite")
    if stream.stand_in:
        lines.append(f"stand-in: {stream.stand_in} in place of what was asked for: {stream.missing}")
    classes = stream.feed.labels
    if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or min(x.shape[2:]) < 2:
        return Shown([*lines, *_rows(x[:ROWS], label)], how=NO_PICTURES)
    shown = count or MOST
    p = preprocessing_of_batch(layer, stream, opening)
    pictures, how = undone(x[:shown], p, phase)
    said = captions(label, len(x), classes)[:shown]
    cells = cells_of(pictures, p.order if p else "BGR", said)
    if isinstance(layer, AnnotatedData) and label is not None and label.shape[1:2] == (1,) and label.shape[-1:] == (8,):
        boxes = boxes_of(label, len(x), classes)
        cells = [Cell(cell.picture, _count(len(found)), found) for cell, found in zip(cells, boxes, strict=False)]
    rest = f"the first {len(cells)} of {len(x)}" if len(cells) < len(x) else ""
    return Shown(lines, cells, ", ".join(one for one in (rest, how) if one))


def _count(boxes: int) -> tuple[str, ...]:
    return (f"{boxes} {'box' if boxes == 1 else 'boxes'}",)


def preprocessing_of_batch(layer: Layer, stream: Stream, opening: Opening) -> Preprocessing | None:
    """What the pictures of a batch went through, as far as it is known."""
    if stream.preprocessing or not isinstance(layer, MemoryData | WindowData):
        return stream.preprocessing
    # The mean image of these is not looked for: pictures that need it are stretched.
    if layer.transform.mean_file:
        return None
    shape = stream.feed.shapes[0][1:]
    try:
        return preprocessing_of(layer.transform, shape, mean_of(layer.transform, shape))
    except LayerError:
        return None


def show_stored(subject: Subject, k: int, count: int | None) -> Shown:
    """Records of data as they are stored, spread evenly over it, the `k`-th such choice; or rows. Raises
    NktcError."""
    stored = subject.open("BGR")
    if not len(stored):
        raise NktcError(f"{subject.name} has no records", help=f"nktc data verify {subject.name} tells more")
    if isinstance(stored, StoredTable):
        return Shown([f"records: {len(stored)}", *_table(stored.table)], how=NO_PICTURES)
    total = len(stored)
    chosen = np.unique((np.arange(min(count or SAMPLE, total)) * total // min(count or SAMPLE, total) + k) % total)
    items = stored.look(chosen)
    good = [item for item in items if item.values is not None]
    bad = [fault for item in items if item.values is None for fault in item.faults]
    lines = [f"bad: {fault}" for fault in bad]
    if not good:
        return Shown([f"records: {total}", *lines], how="none of the records that were looked at can be had")
    values = [item.values for item in good if item.values is not None]
    sizes = ", ".join(dict.fromkeys(times(v.shape) for v in values))
    lines = [f"records: {total}, sizes of those looked at: {sizes}", *_spread(values), *lines]
    if pictures := [item for item in good if _is_picture(item)]:
        return Shown(lines, [_cell(stored, item) for item in pictures])
    rows = np.stack([v for v in values if v.shape == values[0].shape][:ROWS])
    return Shown([*lines, *_rows(rows, None)], how=NO_PICTURES)


def _spread(values: list[np.ndarray]) -> list[str]:
    """Range and mean of what is a number, and how many are none."""
    finite = [v[np.isfinite(v)] for v in values]
    there = [v for v in finite if v.size]
    lacking = sum(v.size for v in values) - sum(v.size for v in finite)
    lines = [f"{lacking} values are NaN or infinite"] if lacking else []
    if not there:
        return ["values: none", *lines]
    low, high = min(float(v.min()) for v in there), max(float(v.max()) for v in there)
    mean = sum(float(v.sum(dtype=np.float64)) for v in there) / sum(v.size for v in there)
    return [f"values: {low:g} to {high:g}, mean {mean:g}", *lines]


def _is_picture(item: Item) -> bool:
    values = item.values
    return values is not None and values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.size > 0


def _cell(stored: Stored, item: Item) -> Cell:
    assert item.values is not None
    planes = item.values if item.values.dtype == np.uint8 else _bytes(item.values)
    said = ", ".join(named(float(label), stored.classes) for label in item.labels[:2])
    return Cell(for_the_eye(planes, "BGR"), (said,) if said else ())


def _bytes(values: np.ndarray) -> np.ndarray:
    inside = bool(((values >= 0) & (values <= 255)).all()) and values.max() > 1
    return np.rint(values).astype(np.uint8) if inside else stretched(values[None])[0]


def _rows(x: np.ndarray, label: np.ndarray | None) -> list[str]:
    """The first records of what has no pictures, a line each."""
    lines = []
    for i, row in enumerate(x.reshape(len(x), -1) if x.size else []):
        numbers = " ".join(f"{value:.4g}" for value in row[:COLUMNS].tolist())
        target = ""
        if label is not None and len(label) > i:
            target = " -> " + " ".join(f"{v:.4g}" for v in np.ravel(label[i])[:COLUMNS].tolist())
        lines.append(f"  {numbers}{' ...' if row.size > COLUMNS else ''}{target}")
    return lines


def _table(table: Table) -> list[str]:
    """The first rows of a table, in columns."""
    names = list(table.columns)[:COLUMNS]
    cells = [[name, *(f"{value.as_py()}" for value in table.columns[name][:ROWS])] for name in names]
    wide = [max(map(len, column)) for column in cells]
    lines = [
        "  " + "  ".join(f"{column[i]:>{n}}" for column, n in zip(cells, wide, strict=True))
        for i in range(1 + min(ROWS, table.rows))
    ]
    more = len(table.columns) - len(names)
    return [*lines, *([f"  and {more} more columns"] if more else [])]


def describe_labels(name: str, stored: Stored) -> list[str]:
    """How many records a source has of each label."""
    labels = read_labels_of(stored, name)
    finite = labels[np.isfinite(labels)]
    if not len(finite):
        return [f"{name}: {len(stored)} records, without labels"]
    what = "labels" if are_classes(finite, stored.regression) else "targets"
    title = f"{name}: {len(stored)} records, {len(finite)} {what}"
    return [title, *(f"  {line}" for line in histogram(labels, stored.classes, stored.regression))]
