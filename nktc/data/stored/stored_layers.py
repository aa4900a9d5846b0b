"""What a data layer reads, opened to look at every record of it."""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

from nktc.data.database import decoding, open_source, read_labels
from nktc.data.image_folder import read_folder
from nktc.data.label_map import read_label_map
from nktc.data.lists import read_list
from nktc.data.memory import read_arrays
from nktc.data.parts import part_records
from nktc.data.places import Places
from nktc.data.sets.catalogue import find_set
from nktc.data.sets.finding import known_file, obtain
from nktc.data.stored.stored import Stored, StoredPart, Subject
from nktc.data.stored.stored_arrays import StoredArrays, StoredRows, file_of
from nktc.data.stored.stored_database import StoredDatabase
from nktc.data.stored.stored_images import StoredImages, StoredWindows, entries_of
from nktc.data.table import known_table
from nktc.data.table_columns import rows_of
from nktc.data.table_file import read_table
from nktc.data.transforms.transform import cropped
from nktc.data.window_file import read_windows
from nktc.errors import LayerError
from nktc.files import find_file
from nktc.ir import Layer, Phase, Shape, Transform
from nktc.layers import (
    AnnotatedData,
    Data,
    Dataset,
    DenseImageData,
    HDF5Data,
    ImageData,
    ImageSegData,
    MemoryData,
    Part,
    TableData,
    VideoData,
    WindowData,
)


def subject_of(layer: Layer, places: Places, folder: Path, part: bool = True) -> Subject:
    """What a layer that reads something reads, of it the layer's part alone unless told otherwise."""
    if isinstance(layer, TableData) and not part:
        layer = replace(layer, part=None)  # it is read in parts, as its numbers are brought to a scale by one of them

    def opened(order: str) -> Stored:
        try:
            stored = _of_layer(layer, places, folder, order)
            chosen = part_records(part_of(layer), len(stored)) if part and not isinstance(layer, TableData) else None
        except OSError as error:
            raise LayerError(f"its source cannot be read: {error.strerror}", field="source") from None
        return stored if chosen is None else StoredPart(stored, chosen)

    return Subject(source_name(layer), type(layer).__name__, opened, lambda shape: _fed(layer, shape), _look_of(layer))


def source_name(layer: Layer) -> str:
    """What the layer reads, as the net has it; "" where it reads nothing."""
    match layer:
        case Dataset():
            return f"{layer.name} {layer.split.name}"
        case AnnotatedData():
            return layer.data.source_path
        case DenseImageData() | ImageSegData():
            return layer.pixels.source_path
        case Data() | HDF5Data() | ImageData() | MemoryData() | TableData() | VideoData() | WindowData():
            return layer.source_path
    return ""


def part_of(layer: Layer) -> Part | None:
    """The part of its source that a layer reads."""
    layer = layer.data if isinstance(layer, AnnotatedData) else layer
    return layer.part if isinstance(layer, Data | Dataset | ImageData | TableData) else None


def _look_of(layer: Layer) -> Hashable:
    """What a look at every record of a layer's source depends on, besides that source and the layer's part."""
    cut: Hashable = ()
    if isinstance(layer, Data | Dataset | ImageData | MemoryData | WindowData):
        t = layer.transform
        cut = (t.crop, t.resize, t.order, t.force_gray, _cuts_any(t, layer.phase))
    match layer:
        case AnnotatedData():
            return layer.label_map, _look_of(layer.data)
        case Data():
            return layer.backend, decoding(layer), cut
        case ImageData():
            return layer.root_folder, layer.color, layer.resize, cut
        case WindowData():
            return layer.root_folder, cut
        case HDF5Data():
            return layer.blobs
        case TableData():
            return layer.targets, layer.features, layer.excluded, layer.classes, layer.missing
    return cut


def _of_layer(layer: Layer, places: Places, folder: Path, order: str) -> Stored:
    match layer:
        case AnnotatedData():
            labels = read_label_map(layer.label_map, folder) if layer.label_map else ()
            return _of_data(layer.data, folder, order, labels, annotated=True)
        case Data():
            return _of_data(layer, folder, order)
        case Dataset():
            return set_of(layer.name, layer.split, places)
        case HDF5Data():
            return lists_of(layer.source_path, folder, layer.blobs)
        case ImageData():
            own = layer.transform.order if layer.color else "GRAY"
            return images_of(layer.source_path, folder, order or own, layer.root_folder)
        case DenseImageData() | ImageSegData():
            help = "look at the pictures themselves, or train with it"
            raise LayerError("has a class for each pixel, which is no label of a picture", field="source", help=help)
        case VideoData():
            help = "look at the frames themselves, or train with it"
            raise LayerError("has clips, which are no pictures", field="source", help=help)
        case MemoryData():
            data, label = read_arrays(find_file(layer.source_path, folder))
            if data.ndim != 4 or label.size != len(data) or data.dtype.kind + label.dtype.kind not in NUMBERS:
                raise LayerError("its arrays are no pictures with a label each", field="source")
            return StoredArrays(data, label.reshape(-1))
        case TableData():
            known = known_table(layer, folder)
            path = known_file(known.name, places) if known else find_file(layer.source_path, folder)
            rows = rows_of(layer, read_table(path))
            return StoredArrays(rows.data, rows.label, rows.classes, not layer.classes, "row")
        case WindowData():
            windows = read_windows(layer, folder)
            return StoredWindows((*windows.foreground, *windows.background), folder, order or layer.transform.order)
    raise LayerError("its data comes from whoever runs the net, not from a source")


NUMBERS = [one + other for one in "fiub" for other in "fiub"]


def _of_data(
    layer: Data, folder: Path, order: str, labels: tuple[str, ...] = (), annotated: bool = False
) -> StoredDatabase:
    path, database = open_source(layer, folder)
    backwards = order == "BGR" and layer.transform.order == "RGB"
    return StoredDatabase(database, order or decoding(layer), labels or read_labels(path), backwards, annotated)


def set_of(name: str, split: Phase, places: Places) -> StoredArrays:
    """A split of a known set, colours as BGR. Raises NktcError."""
    known = find_set(name)
    images = obtain(known, places).load(known, split, places.cache)
    pixels = images.pixels[:, ::-1] if known.order == "RGB" else images.pixels
    return StoredArrays(pixels, images.labels, known.labels)


def images_of(source: str, folder: Path, order: str, root: str = "") -> StoredImages:
    """The images of a list, or of class folders. Raises LayerError."""
    path = find_file(source, folder)
    if os.path.isdir(path):
        entries, classes = read_folder(path)
        return StoredImages(entries, folder, order, classes)
    listed, faults = entries_of(read_list(source, folder), root)
    return StoredImages(listed, folder, order, (), faults)


def lists_of(source: str, folder: Path, blobs: tuple[str, ...] = ()) -> StoredRows:
    """The rows of the HDF5 files that a list names. Raises LayerError."""
    return StoredRows([file_of(find_file(line.text, folder), blobs) for line in read_list(source, folder)])


def _fed(layer: Layer, shape: Shape) -> Shape:
    """What becomes of the shape of a record."""
    if isinstance(layer, AnnotatedData):
        return _fed(layer.data, shape)
    if isinstance(layer, Data | Dataset | ImageData | MemoryData) and len(shape) == 3:
        size = layer.resize if isinstance(layer, ImageData) else layer.transform.resize
        if any(size) and not _cuts_any(layer.transform, layer.phase):
            shape = (shape[0], *size)
        return cropped(shape, layer.transform, layer.phase)
    if isinstance(layer, WindowData):
        return (shape[0], layer.transform.crop, layer.transform.crop)
    return shape


def _cuts_any(transform: Transform, phase: Phase) -> bool:
    return bool(transform.random_resized_crop) and phase is Phase.TRAIN
