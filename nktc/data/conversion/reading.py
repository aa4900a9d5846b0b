"""What a conversion reads: a source that the user names, in whatever form it lies."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from nktc.data.conversion.plan import Plan
from nktc.data.conversion.plan_arrays import first_bytes, is_idx, plan_of_binary, plan_of_idx, plan_of_set
from nktc.data.conversion.plan_pictures import plan_of_list, plan_of_paths, plan_of_tree
from nktc.data.conversion.plan_table import Columns, plan_of_table
from nktc.data.places import Places, is_archive
from nktc.data.sets.catalogue import KNOWN
from nktc.data.sets.finding import known_file
from nktc.data.table_file import read_table
from nktc.data.trees import Tree
from nktc.errors import LayerError, NktcError, near

TABLES = (".csv", ".parquet")


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read. `split` chooses a part: that of a known set, or the folder of that name in a tree.
    `listing` is a file of lines "path label", paths inside the source; then folders mean nothing. `idx_labels` are
    those of an idx file of pictures, `columns` those of a table."""

    split: str = ""
    listing: Path | None = None
    idx_labels: Path | None = None
    columns: Columns = field(default_factory=Columns)


def read_by(source: str, reading: SourceOptions) -> list[Path]:
    """The files and folders that a conversion names to be read."""
    return [path for path in (Path(source), reading.listing, reading.idx_labels) if path and os.path.lexists(path)]


def plan_of(source: str, reading: SourceOptions, places: Places) -> Plan:
    """The records of a folder, an archive, a file, or a known set. Raises NktcError."""
    path = Path(source)
    if not os.path.exists(path):
        if source not in KNOWN or reading.listing:
            help = near(source, KNOWN) or f"give a folder, an archive, a file, or one of {', '.join(KNOWN)}"
            raise NktcError(f"{source} is not there", help=help)
        if KNOWN[source].kind == "images":
            return plan_of_set(source, reading.split, places)
        path = known_file(source, places)
        if KNOWN[source].kind == "text":
            raise NktcError(f"{source} is a text, which has no records", help=f"it lies in {path}")
    if path.suffix.lower() in TABLES:
        return _plan_of_table(path, reading.columns)
    if os.path.isfile(path) and not is_archive(path):
        if is_idx(path):
            return plan_of_idx(path, reading.idx_labels)
        first_bytes(path)  # what cannot be read or unpacked is told
        help = "give a folder, an archive, a .csv or .parquet table, or an idx file"
        raise NktcError(f"{source} is neither a folder nor a file that can be read", help=help)
    if reading.listing:
        return plan_of_list(Tree(path), reading.listing)
    return plan_of_binary(path, reading.split) or plan_of_tree(Tree(path), reading.split)


def _plan_of_table(path: Path, columns: Columns) -> Plan:
    try:
        table = read_table(path)
    except LayerError as error:
        raise NktcError(error.message.removeprefix("source "), help=error.help) from None
    if columns.image and columns.label:
        return plan_of_paths(table, columns.image, columns.label)
    if columns.image or columns.label:
        given, lacking = ("image", "label") if columns.image else ("label", "image")
        raise NktcError(f"--{given}-column is given without --{lacking}-column")
    if not columns.target:
        names = ", ".join(table.columns)
        help = f"give --target, or --image-column and --label-column; its columns are {names}"
        raise NktcError(f"{path} is a table: which column is to be predicted is not said", help=help)
    return plan_of_table(table, columns)
