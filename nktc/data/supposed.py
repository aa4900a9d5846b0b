"""What data layers are taken to feed where a net is only looked at, so that its data need not be there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nktc.data import annotated, clips, hdf5, image_list, labelled_pixels, table
from nktc.data.sources import describe
from nktc.errors import LayerError
from nktc.files import find_file
from nktc.ir import Feed, Layer, Shape
from nktc.layers import (
    AnnotatedData,
    Data,
    DenseImageData,
    HDF5Data,
    ImageData,
    ImageSegData,
    Input,
    MemoryData,
    TableData,
    VideoData,
)

PixelData = DenseImageData | ImageSegData
Listed = AnnotatedData | Data | HDF5Data | ImageData | MemoryData | TableData | VideoData | PixelData


def supposed(layer: Layer, folder: Path, tops: Sequence[str], shapes: Mapping[str, Shape]) -> Feed | None:
    """What `shapes` says of some tops: three numbers are one item of the layer's batch, any other count is the whole.
    Of the others, what is known without: where the layer's files are missing, what its settings tell.

    None where nothing is said and nothing is missing. Raises LayerError where the shape of a top stays unknown.
    """
    missing = _missing(layer, folder) if isinstance(layer, Listed) else None
    said = {top: shapes[top] for top in tops if top in shapes}
    if not missing and not said:
        return None
    if isinstance(layer, Input):
        known = dict(zip(tops, layer.shapes, strict=False))
        batch = layer.shapes[0][0] if any(layer.shapes[:1]) else 1
    elif isinstance(layer, Listed) and missing:
        batch = _batch(layer)
        if isinstance(layer, PixelData):
            size = labelled_pixels.picture_size(layer.pixels)
            known = dict(zip(tops, labelled_pixels.shapes(layer.pixels, size), strict=False)) if size else {}
        elif isinstance(layer, VideoData):
            size = clips.frame_size(layer)
            known = dict(zip(tops, clips.shapes(layer, size), strict=False)) if size else {}
        else:
            known = dict.fromkeys(tops[1:], _label_shape(layer))
            image = image_shape(layer)
            known |= {tops[0]: (batch, *image)} if image else {}
    else:
        feed = describe(layer, folder)
        known, batch = dict(zip(tops, feed.shapes, strict=False)), feed.shapes[0][0]
    known |= {top: (batch, *shape) if len(shape) == 3 else shape for top, shape in said.items()}
    if tops[0] in said:  # its batch is that of the others too
        follow = {top: shape for top, shape in known.items() if top not in said and shape[:1] == (batch,)}
        known |= {top: (*known[tops[0]][:1], *shape[1:]) for top, shape in follow.items()}
    for top in tops:
        if top not in known:
            why = f"{missing} is not there" if missing else "no shape is given for it"
            help = f"tell it with --input-shape {top}=CxHxW, one item of the batch, or NxCxHxW"
            if isinstance(layer, TableData):
                help = f"{table.meant(layer)}; or tell it with --input-shape {top}={layer.batch}xFEATURES"
            raise LayerError(f'the shape of its top "{top}" is not known: {why}', field="source", help=help)
    return Feed(tuple(known[top] for top in tops))


def _batch(layer: Listed) -> int:
    if isinstance(layer, PixelData):
        return layer.pixels.batch
    return layer.data.batch if isinstance(layer, AnnotatedData) else layer.batch


def _missing(layer: Listed, folder: Path) -> Path | None:
    """The first file that the shapes would be told from and that is not there."""
    if isinstance(layer, AnnotatedData):
        layer = layer.data
    if isinstance(layer, MemoryData) and not layer.source_path:
        return None
    if isinstance(layer, PixelData):
        path = find_file(layer.pixels.source_path, folder)
        if os.path.exists(path) and not labelled_pixels.picture_size(layer.pixels):
            path = labelled_pixels.first_file(layer.pixels, folder)
        return None if os.path.exists(path) else path
    path = find_file(layer.source_path, folder)
    if not os.path.exists(path):
        return None if isinstance(layer, TableData) and table.is_known(layer) else path
    if isinstance(layer, HDF5Data):
        first = hdf5.first_file(layer, folder)
    elif isinstance(layer, VideoData) and not clips.frame_size(layer):
        first = clips.first_file(layer, folder)
    elif isinstance(layer, ImageData) and not image_shape(layer):
        first = image_list.first_file(layer, folder)
    else:
        return None
    return None if os.path.exists(first) else first


def image_shape(layer: Listed) -> Shape | None:
    """[c h w] of what the layer feeds where its settings tell it, None where only its data does. Raises LayerError. The
    channels of a Data layer are those of its mean."""
    match layer:
        case ImageData():
            return image_list.image_shape(layer)
        case MemoryData():
            return layer.shapes[0][1:] if layer.shapes else None
        case AnnotatedData():
            resize = layer.data.transform.resize
            return (_channels(layer.data), *resize) if all(resize) else None
        case Data():
            crop = layer.transform.crop
            return (_channels(layer), crop, crop) if crop else None
    return None


def _channels(layer: Data) -> int:
    return 1 if layer.transform.force_gray else len(layer.transform.mean_values) or 3


def _label_shape(layer: Listed) -> Shape:
    """Of all tops but the first, where the settings tell it."""
    match layer:
        case AnnotatedData():
            return (1, 1, layer.data.batch * layer.max_boxes, annotated.FIELDS)
        case TableData():
            return table.label_shape(layer)
    return (_batch(layer),)
