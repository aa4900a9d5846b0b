"""Which code feeds which layer type: one table, which every new source enters."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from nktc.data import annotated, clips, database, dataset, hdf5, image_list, labelled_pixels, memory, table, window
from nktc.data.mean import file_mean
from nktc.data.places import Places
from nktc.data.stream import Opening, Stream
from nktc.data.transforms.transform import mean_of, std_of
from nktc.errors import LayerError
from nktc.ir import Feed, Layer, Preprocessing, times
from nktc.layers import (
    AnnotatedData,
    Data,
    Dataset,
    DenseImageData,
    HDF5Data,
    ImageData,
    ImageSegData,
    Input,
    MemoryData,
    TableData,
    VideoData,
    WindowData,
)


class Source(Protocol):
    """What a module of this folder has for its layer type."""

    def describe(self, layer: Any, folder: Path) -> Feed:
        """The layer's feed with all the tops it can have, as cheaply as can be told. Raises LayerError."""

    def open_stream(self, layer: Any, opening: Opening) -> Stream:
        """Its batches. Raises LayerError."""


SOURCES: dict[type[Layer], Source] = {
    AnnotatedData: annotated,
    Data: database,
    Dataset: dataset,
    DenseImageData: labelled_pixels,
    HDF5Data: hdf5,
    ImageData: image_list,
    ImageSegData: labelled_pixels,
    MemoryData: memory,
    TableData: table,
    VideoData: clips,
    WindowData: window,
}


def describe(layer: Layer, folder: Path) -> Feed:
    """What feeds the layer: the shapes of data and label (as many as it can have), records, labels.

    Files that the layer names lie in `folder`, that of the net, or under the working directory. Needs no data
    for a Dataset; opens the database of a Data layer, and what a list names. Raises LayerError, also for a
    layer that nothing here feeds.
    """
    try:
        return _source(layer).describe(layer, folder)
    except OSError as error:
        raise LayerError(f"its source cannot be read: {error.strerror}", field="source") from None


def open_stream(layer: Layer, opening: Opening) -> Stream:
    """The batches of the layer. Raises LayerError."""
    return _source(layer).open_stream(layer, opening)


def _source(layer: Layer) -> Source:
    if type(layer) not in SOURCES:
        raise LayerError("its data comes from whoever runs the net, not from a source")
    return SOURCES[type(layer)]


def preprocessing(layer: Layer, places: Places, folder: Path) -> Preprocessing | None:
    """What a picture goes through to be what the layer gives; None where it gives no pictures, or none is
    told.

    Reads a mean file; reads a Dataset when its own mean is taken off. Raises LayerError.
    """
    match layer:
        case Dataset():
            return dataset.preprocessing(layer, places, folder)
        case AnnotatedData() | Data() | ImageData():
            source = _source(layer)
            return source.open_stream(layer, Opening(places, folder, tops=1)).preprocessing
        case Input():
            return _of_input(layer, folder)
    return None


def _of_input(layer: Input, folder: Path) -> Preprocessing | None:
    """From the first top's shape, which is that after the crop, and the transform."""
    transform = layer.transform
    if transform is None:
        return None
    shape = layer.shape()[0]
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise LayerError("a picture's shape is batch, 1 or 3 channels, height and width", field="shape")
    channels, height, width = shape[1:]
    if transform.crop and (height, width) != (transform.crop, transform.crop):
        raise LayerError(f"crop_size {transform.crop} is not its {height}x{width} shape", field="crop_size")
    image = file_mean(transform, folder)
    size = transform.resize if any(transform.resize) else (height, width)
    if image is not None and transform.crop and not any(transform.resize):
        size = (image.shape[1], image.shape[2])  # Caffe crops the mean with the picture, so they are of one size.
    if size[0] < height or size[1] < width or (size != (height, width) and not transform.crop):
        raise LayerError(f"pictures of {times(size)} cannot be its {height}x{width}", field="resize_height")
    # A net that was trained with a random resized crop has a mean image of the size of its results.
    cut = image is not None and image.shape[1:] == (height, width)
    mean = mean_of(transform, (channels, height, width) if cut else (channels, *size), image)
    order = "GRAY" if channels == 1 else transform.order
    crop = transform.crop if size != (height, width) else 0
    std = std_of(transform, (channels, *size))
    return Preprocessing(size, order, mean, transform.scale, crop, transform.resize_mode, transform.fill, std)
