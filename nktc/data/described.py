"""Data layers whose shapes are told and whose batches are not read: HDF5Data, ImageData, MemoryData, WindowData."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import torch

from nktc.data.images import decode
from nktc.data.places import Places
from nktc.data.stream import Stream, data_feed
from nktc.data.transform import cropped
from nktc.errors import LayerError, NktcError, near
from nktc.files import find_file, read_bytes
from nktc.ir import Feed, Shape
from nktc.layers import Data, HDF5Data, ImageData, MemoryData, WindowData

Described = HDF5Data | ImageData | MemoryData | WindowData


def describe(layer: Described, folder: Path) -> Feed:
    """From the settings, or the first file of a list. Raises LayerError."""
    match layer:
        case HDF5Data():
            return Feed(_hdf5_shapes(layer, folder))
        case ImageData():
            image = image_shape(layer) or (channels(layer), *_first_size(layer, folder))
            return data_feed(image, layer.batch, len(read_list(layer.source_path, folder)), ())
    return Feed(tuple(layer.shape()))


def open_stream(
    layer: Described,
    *,
    places: Places,
    folder: Path,
    seed: int,
    device: torch.device,
    tops: int,
    resident: bool = False,
) -> Stream:
    """Raises LayerError: nothing reads these yet."""
    if isinstance(layer, MemoryData):
        raise LayerError("its data comes from whoever runs the net, not from a source")
    help = "a Data layer reads an LMDB, which nktc data convert makes of images; a Dataset reads a set by its name"
    raise LayerError("its batches are not read by this version of nktc", help=help)


def image_shape(layer: Data | ImageData) -> Shape | None:
    """[c h w] of what the layer feeds where its settings tell it, None where only its images do. Raises LayerError."""
    crop = layer.transform.crop
    if isinstance(layer, ImageData) and layer.resize:
        return cropped((channels(layer), *layer.resize), layer.transform)
    return (channels(layer), crop, crop) if crop else None


def channels(layer: Data | ImageData) -> int:
    """How many channels an image has by the settings; of a Data layer, what its mean has."""
    if isinstance(layer, ImageData):
        return 3 if layer.color else 1
    return 1 if layer.transform.force_gray else len(layer.transform.mean_values) or 3


def first_file(layer: HDF5Data | ImageData, folder: Path) -> Path:
    """The file that the list has first. Raises LayerError."""
    line = read_list(layer.source_path, folder)[0]
    if isinstance(layer, HDF5Data):
        return find_file(line, folder)
    name, _, _ = line.rpartition(" ")
    return find_file(f"{layer.root_folder}{name or line}", folder)


def read_list(name: str, folder: Path) -> list[str]:
    """The lines of a list file, but for empty ones; at least one. Raises LayerError."""
    path = find_file(name, folder)
    try:
        lines = read_bytes(path, "source").decode(errors="surrogateescape").splitlines()
    except NktcError as error:
        raise LayerError(error.message, field="source", help=error.help) from None
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise LayerError(f"source {path} lists nothing", field="source")
    return found


def _hdf5_shapes(layer: HDF5Data, folder: Path) -> tuple[Shape, ...]:
    """A batch of rows of each top's dataset, as the first file has them."""
    path = first_file(layer, folder)
    shapes: dict[str, Shape] = {}
    try:
        with h5py.File(path) as file:
            held = {name: tuple(s.shape) for name, s in file.items() if isinstance(s, h5py.Dataset)}
    except (OSError, RuntimeError, ValueError) as error:
        reason = "it is no HDF5 file" if os.path.exists(path) else "it does not exist"
        raise LayerError(f"cannot read {path}, which source lists: {reason}", field="source") from error
    for name in layer.blobs:
        if name not in held:
            help = near(name, held) or f"it has {', '.join(held) or 'no datasets'}"
            raise LayerError(f'{path} has no dataset "{name}"', field="top", help=help)
        if not held[name]:
            raise LayerError(f'dataset "{name}" of {path} is a single number, not rows', field="top")
        shapes[name] = held[name]
    first = layer.blobs[0]
    for name, shape in shapes.items():
        if shape[0] != shapes[first][0]:
            problem = f'dataset "{name}" of {path} has {shape[0]} rows, "{first}" has {shapes[first][0]}'
            raise LayerError(problem, field="source")
    return tuple((layer.batch, *shapes[name][1:]) for name in layer.blobs)


def _first_size(layer: ImageData, folder: Path) -> Shape:
    """Height and width of the first image. Raises LayerError."""
    path = first_file(layer, folder)
    try:
        picture = decode(read_bytes(path, "image"), "GRAY")
    except NktcError as error:
        raise LayerError(f"{error.message}, which source lists first", field="source", help=error.help) from None
    if picture is None:
        raise LayerError(f"{path}, which source lists first, is no 8-bit picture", field="source")
    return picture.shape[1:]
