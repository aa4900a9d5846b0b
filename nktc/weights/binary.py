"""The layers of a binary NetParameter, of any fork: names, types and blobs are read, nothing else is trusted.

The forks number the fields of their layers' parameters each in its own way, and some those of the layer itself. Which
numbering a layer has is told by what its fields hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nktc import wire
from nktc.errors import NktcError
from nktc.ir import StoredBlob, stored_blob
from nktc.schema import V1LayerParameter
from nktc.wire import BYTES, VARINT, Field

MOST_BLOBS = 1 << 16  # of a file
LAYERS = (2, 100)  # `layers` of V0 and V1, `layer`
TOO_MANY = f"it has more than {MOST_BLOBS} blobs"
BLOBS = {"V2": 7, "V1": 6, "V0": 50}


class StoredLayer(NamedTuple):
    """A layer with blobs: its name, its type as the file has it, and which of Caffe's syntaxes it is in."""

    name: str
    type: str
    syntax: str
    blobs: list[StoredBlob]


def stored_layers(data: memoryview) -> Iterator[StoredLayer]:
    """The layers of a NetParameter that have blobs, in their order. Raises NktcError."""
    count = 0
    for field in wire.fields(data):
        if field.number in LAYERS and field.view is not None:
            found = _layer(field.view, field.number)
            count += len(found.blobs)
            if count > MOST_BLOBS:
                raise NktcError(TOO_MANY)
            if found.blobs:
                yield found


def _layer(data: memoryview, container: int) -> StoredLayer:
    held: dict[int, Field] = {}
    blobs: dict[int, list[memoryview]] = {number: [] for number in BLOBS.values()}
    for field in wire.fields(data):
        if field.number in blobs and field.kind == BYTES:
            _add(blobs[field.number], field)
        elif field.number in (1, 2, 4, 5):
            held.setdefault(field.number, field)
    first, name, kind = held.get(1), held.get(4), held.get(5)
    # V1 has a number where V2 has the weight of a loss, and a name where V2 has tops.
    if name and name.kind == BYTES and (kind.kind == VARINT if kind else not first):
        return _stored(_text(name), _type(kind), "V1", blobs[BLOBS["V1"]])
    inner = _inner(first) if first and container == 2 else None
    if inner:
        # The oldest have each layer inside a connection; its blobs lie inside, or beside it.
        return inner._replace(blobs=inner.blobs or _blobs(inner.name, blobs[BLOBS["V1"]]))
    syntax = "V2" if blobs[BLOBS["V2"]] or not blobs[BLOBS["V0"]] else "V0"
    kind = held.get(2)
    return _stored(_text(first), _text(kind), syntax, blobs[BLOBS[syntax]])


def _inner(field: Field) -> StoredLayer | None:
    """The layer inside a connection; None where the field holds no message with a name, but text."""
    if field.view is None:
        return None
    blobs: list[memoryview] = []
    held: dict[int, Field] = {}
    try:
        for inner in wire.fields(field.view):
            if inner.number == BLOBS["V0"] and inner.kind == BYTES:
                _add(blobs, inner)
            elif inner.number in (1, 2):
                held.setdefault(inner.number, inner)
        name = wire.text(held[1])
        kind = wire.text(held[2]) if 2 in held else ""
    except (wire.WireError, KeyError):
        return None
    return _stored(name, kind, "V0", blobs)


def _stored(name: str, kind: str, syntax: str, blobs: list[memoryview]) -> StoredLayer:
    return StoredLayer(name, kind, syntax, _blobs(name, blobs))


def _blobs(name: str, blobs: list[memoryview]) -> list[StoredBlob]:
    try:
        return [stored_blob(blob) for blob in blobs]
    except NktcError as error:
        raise NktcError(f'layer "{name}": {error.message}') from None


def _add(blobs: list[memoryview], blob: Field) -> None:
    if len(blobs) == MOST_BLOBS:
        raise NktcError(TOO_MANY)
    blobs.append(blob.view or memoryview(b""))


def _text(field: Field | None) -> str:
    """A name, whatever its bytes: old files have some that are no UTF-8."""
    return str(field.view, "utf-8", "backslashreplace") if field and field.view is not None else ""


def _type(field: Field | None) -> str:
    """A V1 type's name, or its number where another fork gave it one."""
    number = next(wire.varints(field), 0) if field else 0
    known = V1LayerParameter.LayerType.DESCRIPTOR.values_by_number.get(number)
    return known.name if known else str(number)
