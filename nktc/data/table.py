"""The TableData layer: rows of a CSV or Parquet file, all of them in the memory of the device."""

from __future__ import annotations

from pathlib import Path

import torch

from nktc.data.order import Order
from nktc.data.parts import part_size
from nktc.data.places import Places
from nktc.data.resident import send
from nktc.data.sets.catalogue import KNOWN, KnownSet
from nktc.data.sets.finding import Missing, known_file
from nktc.data.stream import Batch, Opening, Stream, with_tops
from nktc.data.table_columns import Rows, chosen, rows_of
from nktc.data.table_file import read_table
from nktc.errors import LayerError, NktcError, near
from nktc.files import find_file
from nktc.ir import Feed
from nktc.layers import TableData


def describe(layer: TableData, folder: Path) -> Feed:
    """What a file feeds, from the whole of it; a known table from what is known of it, without its data. Raises
    LayerError."""
    if known := known_table(layer, folder):
        return _known_feed(layer, known)
    return _feed(layer, rows_of(layer, read_table(find_file(layer.source_path, folder))))


def open_stream(layer: TableData, opening: Opening) -> Stream:
    """The stream of the layer; always resident. Raises LayerError."""
    return TableStream(layer, opening)


def known_table(layer: TableData, folder: Path) -> KnownSet | None:
    """The table that the layer's source is the name of, None where it is a file. Raises LayerError where it is
    neither."""
    if _is_there(path := find_file(layer.source_path, folder)):
        return None
    if is_known(layer):
        return KNOWN[layer.source_path]
    raise LayerError(f"source {path} does not exist", field="source", help=meant(layer))


def is_known(layer: TableData) -> bool:
    """Whether the layer's source is the name of a table that nktc knows."""
    return layer.source_path in _tables()


def meant(layer: TableData) -> str:
    """What is said of a source that is neither a file nor a known table."""
    return near(layer.source_path, _tables()) or f"name a file, or a table that nktc knows: {', '.join(_tables())}"


def _tables() -> list[str]:
    return [known.name for known in KNOWN.values() if known.kind == "table"]


def label_shape(layer: TableData) -> tuple[int, ...]:
    """Of a batch."""
    return (layer.batch,) if layer.classes else (layer.batch, len(layer.targets))


class TableStream(Stream):
    """Batches are slices of what lies on the device, or selections."""

    resident = True

    def __init__(self, layer: TableData, opening: Opening) -> None:
        rows = rows_of(layer, read_table(_path(layer, opening.folder, opening.places)))
        self.feed, self.device = with_tops(_feed(layer, rows), opening.tops), opening.device
        self._order = Order(len(rows.data), layer.batch, opening.seed, layer.shuffle)
        self._tops = tuple(
            torch.from_numpy(values).to(opening.device) for values in (rows.data, rows.label)[: opening.tops]
        )

    def batch(self, k: int) -> Batch:
        places = self._order.batch_records(k)
        if isinstance(places, slice):
            return tuple(top[places].clone() for top in self._tops)
        chosen_rows = send(torch.from_numpy(places), self.device)
        return tuple(top.index_select(0, chosen_rows) for top in self._tops)


def _feed(layer: TableData, rows: Rows) -> Feed:
    return Feed(((layer.batch, rows.data.shape[1]), label_shape(layer)), len(rows.data), rows.classes)


def _known_feed(layer: TableData, known: KnownSet) -> Feed:
    features = chosen(layer, known.name, known.columns)
    width = sum(len(known.words.get(name, ("",))) for name in features)
    classes = known.words.get(layer.targets[0], ()) if layer.classes and layer.targets else ()
    records = None if layer.missing == "DROP" else part_size(layer.part, known.rows)
    return Feed(((layer.batch, width), label_shape(layer)), records, classes)


def _path(layer: TableData, folder: Path, places: Places) -> Path:
    """Where the table lies. Raises LayerError."""
    known = known_table(layer, folder)
    try:
        return known_file(known.name, places) if known else find_file(layer.source_path, folder)
    except (Missing, NktcError) as error:
        raise LayerError(error.message, field="source", help=error.help) from None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no system takes
        return False
