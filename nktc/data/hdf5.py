"""The HDF5Data layer: rows of the files of a list, in their order or mixed anew in each epoch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import torch

from nktc.data.lists import read_list
from nktc.data.order import draw
from nktc.data.resident import send
from nktc.data.stream import Batch, Opening, Stream, with_tops
from nktc.errors import LayerError, NktcError, near
from nktc.files import find_file
from nktc.ir import Feed, Shape, times
from nktc.layers import HDF5Data

HARM = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what a damaged file makes h5py raise
OPEN = 2  # files whose rows are in memory at a time, where they are mixed


def describe(layer: HDF5Data, folder: Path) -> Feed:
    """A batch of rows of each top's dataset, as all files have them. Raises LayerError."""
    return _feed(layer, _files(layer, folder))


def _feed(layer: HDF5Data, files: Sequence[File]) -> Feed:
    shapes = tuple((layer.batch, *shape) for shape in files[0].shapes)
    return Feed(shapes, sum(file.rows for file in files), ())


def open_stream(layer: HDF5Data, opening: Opening) -> Stream:
    """The stream of the layer. Raises LayerError."""
    return RowStream(layer, opening)


def first_file(layer: HDF5Data, folder: Path) -> Path:
    """The file that the list has first. Raises LayerError."""
    return find_file(read_list(layer.source_path, folder)[0].text, folder)


@dataclass(frozen=True)
class File:
    """An HDF5 file, its rows and the shape of a row in each dataset."""

    path: Path
    rows: int
    shapes: tuple[Shape, ...]


class RowStream(Stream):
    """Reads rows as they are asked for. Where they are mixed, files are, and then the rows inside a file, as in Caffe,
    so that few files at a time are in memory."""

    def __init__(self, layer: HDF5Data, opening: Opening) -> None:
        self._layer, self._seed, self._files = layer, opening.seed, _files(layer, opening.folder)
        self.feed, self.device = with_tops(_feed(layer, self._files), opening.tops), opening.device
        self._names = layer.blobs[: opening.tops]
        self._whole = lru_cache(OPEN)(self._read_whole)

    def batch(self, k: int) -> Batch:
        records, batch = self.feed.records or 0, self._layer.batch
        pieces: list[list[np.ndarray]] = []
        start, end = k * batch, (k + 1) * batch
        while start < end:
            epoch, within = divmod(start, records)
            file, row = self._find(epoch, within)
            count = min(end - start, self._files[file].rows - row)
            pieces.append(self._rows(epoch, file, row, count))
            start += count
        return tuple(
            send(torch.from_numpy(np.concatenate(parts).astype(np.float32, copy=False)), self.device)
            for parts in zip(*pieces, strict=True)
        )

    def _find(self, epoch: int, within: int) -> tuple[int, int]:
        """The file, and the row in the order of that file, of a position in an epoch."""
        files = np.arange(len(self._files))
        if self._layer.shuffle:
            files = np.argsort(draw(self._seed, f"epoch {epoch} files", 0, len(files)), kind="stable")
        ends = np.cumsum([self._files[i].rows for i in files])
        turn = int(np.searchsorted(ends, within, side="right"))
        file = int(files[turn])
        return file, within - int(ends[turn]) + self._files[file].rows

    def _rows(self, epoch: int, file: int, row: int, count: int) -> list[np.ndarray]:
        """Rows of a file in the order that the epoch has it in, of each dataset."""
        if not self._layer.shuffle:
            return self._read(file, slice(row, row + count))
        drawn = draw(self._seed, f"epoch {epoch} rows {file}", 0, self._files[file].rows)
        chosen = np.argsort(drawn, kind="stable")[row : row + count]
        return [values[chosen] for values in self._whole(file)]

    def _read_whole(self, file: int) -> list[np.ndarray]:
        return self._read(file, slice(None))

    def _read(self, file: int, rows: slice) -> list[np.ndarray]:
        path = self._files[file].path
        try:
            with h5py.File(path) as opened:
                return [opened[name][rows] for name in self._names]
        except HARM as error:
            where = "it" if rows == slice(None) else f"its rows {rows.start} to {rows.stop - 1}"
            reason = "it is not there any more" if not os.path.exists(path) else f"{where} cannot be read"
            raise NktcError(f"{path}: {reason} ({str(error).partition(chr(10))[0]})") from None


def _files(layer: HDF5Data, folder: Path) -> list[File]:
    """The files of the list; those without rows are passed over. Raises LayerError."""
    found = [_file(layer, find_file(line.text, folder)) for line in read_list(layer.source_path, folder)]
    first = found[0]
    for file in found:
        for name, shape, expected in zip(layer.blobs, file.shapes, first.shapes, strict=True):
            if shape != expected:
                problem = (
                    f'a row of dataset "{name}" is {times(shape)} in {file.path}, {times(expected)} in {first.path}'
                )
                raise LayerError(problem, field="source")
    filled = [file for file in found if file.rows]
    if not filled:
        raise LayerError(f"the files that source lists have no rows: {first.path}", field="source")
    return filled


def _file(layer: HDF5Data, path: Path) -> File:
    shapes: dict[str, Shape] = {}
    try:
        with h5py.File(path) as file:
            held = {name: (tuple(s.shape), s.dtype) for name, s in file.items() if isinstance(s, h5py.Dataset)}
    except HARM as error:
        reason = "it is no HDF5 file" if os.path.exists(path) else "it does not exist"
        raise LayerError(f"cannot read {path}, which source lists: {reason}", field="source") from error
    for name in layer.blobs:
        if name not in held:
            help = near(name, held) or f"it has {', '.join(held) or 'no datasets'}"
            raise LayerError(f'{path} has no dataset "{name}"', field="top", help=help)
        shape, kind = held[name]
        if not shape:
            raise LayerError(f'dataset "{name}" of {path} is a single number, not rows', field="top")
        if kind.kind not in "fiu":
            raise LayerError(f'dataset "{name}" of {path} holds {kind}, not numbers', field="top")
        shapes[name] = shape
    first = layer.blobs[0]
    for name, shape in shapes.items():
        if shape[0] != shapes[first][0]:
            problem = f'dataset "{name}" of {path} has {shape[0]} rows, "{first}" has {shapes[first][0]}'
            raise LayerError(problem, field="source")
    return File(path, shapes[first][0], tuple(shapes[name][1:] for name in layer.blobs))
