"""What labels are called: a file in the text form of SSD's LabelMap."""

from __future__ import annotations

from pathlib import Path

from nktc import text
from nktc.errors import LayerError, NktcError, split
from nktc.files import find_file
from nktc.schema import LabelMap


def read_label_map(name: str, folder: Path) -> tuple[str, ...]:
    """The names of the labels from 0 on, those for people where there are any; a label that the map leaves out is
    called by its number. Raises LayerError."""
    path = find_file(name, folder)
    try:
        items = text.bind(text.read(path), LabelMap).item
    except NktcError as error:
        first = split(error)[0]
        where = f"{first.at.source.name}:{first.at.line}: " if first.at else ""
        raise LayerError(f"{where}{first.message}", field="label_map_file", help=first.help) from None
    known: dict[int, str] = {}
    for item in items:
        called = item.display_name or item.name
        if item.label < 0 or item.label in known:
            why = "below 0" if item.label < 0 else f"{known[item.label]} too"
            raise LayerError(f'{path}: label {item.label} of "{called}" is {why}', field="label_map_file")
        known[item.label] = called
    if not known:
        raise LayerError(f"{path} names no labels", field="label_map_file", help='write: item { name: "cat" label: 1 }')
    return tuple(known.get(label, str(label)) for label in range(max(known) + 1))
