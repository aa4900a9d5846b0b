"""Weight files of every kind, opened: what they hold, and their blobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from nktc.errors import NktcError
from nktc.files import Mapped, in_its_place
from nktc.ir import list_shape, size
from nktc.weights import binary, hdf5, safetensors_file, torch_file
from nktc.weights.entry import Contents, Entry, Holder

Blobs = dict[str, list[np.ndarray | None]]
"""The blobs of layers by their names, f32; None for a weight that the file holds with the layer that owns it."""

HDF5 = "HDF5, as Caffe writes it"
TEXTUAL = frozenset(range(32, 127)) | {*b"\t\r\n"}
TEXT = "it is text: the weights of a net in a .prototxt are in its .caffemodel"
SYNTAXES = {"V0": "Caffe's oldest syntax", "V1": "Caffe's old syntax", "V2": "Caffe's syntax"}


@contextmanager
def opened(path: str | Path) -> Iterator[Contents]:
    """What a file holds, its kind told by its first bytes; weights are read while it is open. Raises NktcError."""
    file = Mapped(path, "weights")
    with ExitStack() as stack:
        if bytes(file.view[: len(hdf5.MAGIC)]) == hdf5.MAGIC:
            contents = stack.enter_context(_opened_hdf5(Path(path), len(file.view)))
        elif safetensors_file.is_safetensors(file.view):
            with _whole(path, ".safetensors file"):
                named = safetensors_file.entries(file.view, file.release)
            contents = Contents("safetensors", len(file.view), named=named)
        elif torch_file.is_torch(file.view):
            with _whole(path, "file of weights"):
                named = torch_file.entries(Path(path), len(file.view))
            contents = Contents("torch.save", len(file.view), named=named)
        else:
            head = bytes(file.view[:200])
            if help := in_its_place(head) or (TEXT if head and TEXTUAL.issuperset(head) else ""):
                raise NktcError(f"{path} is no file of weights", help=help)
            with _whole(path, ".caffemodel"):
                contents = _binary(file)
        if not contents.layers and not contents.named and contents.kind != HDF5:
            help = "give a .caffemodel or .caffemodel.h5 that a solver wrote" if file.view else "the file is empty"
            raise NktcError(f"{path} holds no weights", help=help)
        yield contents


@contextmanager
def _opened_hdf5(path: Path, size: int) -> Iterator[Contents]:
    with hdf5.opened(path, ".caffemodel.h5") as file:
        with hdf5.harm(path, ".caffemodel.h5"):
            layers = hdf5.layers(file, path)
        yield Contents(HDF5, size, layers)


def _binary(file: Mapped) -> Contents:
    found: dict[str, Holder] = {}
    syntaxes = set()
    for layer in binary.stored_layers(file.view):
        blobs = [Entry(blob.shape, blob.dtype, partial(blob.array, file.release)) for blob in layer.blobs]
        found[layer.name] = Holder(layer.type, blobs)
        syntaxes.add(layer.syntax)
    return Contents(f"protobuf, {' and '.join(SYNTAXES[s] for s in sorted(syntaxes))}", len(file.view), found)


def read(path: str | Path) -> Blobs:
    """The blobs of every layer that has some, from a file of Caffe's. Raises NktcError."""
    with opened(path) as contents:
        if contents.named:
            raise NktcError(
                f"{path} has weights by name, and which layers of a net they are only the net can tell",
                help="attach them to a net",
            )
        return {
            name: [None if entry is None else entry.read() for entry in layer.blobs]
            for name, layer in contents.layers.items()
        }


def describe(path: str | Path) -> str:
    """A file's layers with the shapes and types of their weights, one aligned line each, below what it is and how much
    it holds. Raises NktcError."""
    with opened(path) as contents:
        held = [(name, layer.type, layer.blobs) for name, layer in contents.layers.items()]
        held += [(name, "", [entry]) for name, entry in contents.named.items()]
        rows = [("weight", "", "shape", "numbers")] if contents.named else [("layer", "type", "blobs", "numbers")]
        count = 0
        for name, kind, blobs in held:
            shapes = " ".join(list_shape(entry.shape) if entry else "elsewhere" for entry in blobs)
            rows.append((name, kind, shapes, " ".join(dict.fromkeys(entry.dtype for entry in blobs if entry))))
            count += sum(size(entry.shape) for entry in blobs if entry)
    of = f"{'weight' if contents.named else 'layer'}{'s' * (len(held) != 1)}"
    said = f"{len(held)} {of}, {count:,} numbers, {contents.size:,} bytes"
    return f"{path}: {contents.kind}\n{said}\n\n{columns(rows)}"


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of cells, one aligned line each."""
    used = [column for column in zip(*rows, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in used]
    aligned = (
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in zip(*used, strict=True)
    )
    shown = ("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in aligned)
    return "\n".join(f"  {line}".rstrip() for line in shown)


@contextmanager
def _whole(path: str | Path, kind: str) -> Iterator[None]:
    """What is wrong inside a file, said of the file."""
    try:
        yield
    except NktcError as error:
        raise NktcError(f"{path} is not a whole {kind}: {error.message}", help=error.help) from None
