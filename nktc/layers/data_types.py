"""Data in lists, files and memory: HDF5Data, ImageData, MemoryData, WindowData."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from nktc.errors import LayerError
from nktc.ir import MANY, Layer, Phase, Shape, Transform
from nktc.layers import settings
from nktc.layers.input import batch_size
from nktc.schema import (
    HDF5DataParameter,
    ImageDataParameter,
    MemoryDataParameter,
    TransformationParameter,
    WindowDataParameter,
)


class HDF5Data(Layer, param=("hdf5_data_param", "transform_param", "top"), tops=(1, MANY), source=True):
    """Reads rows of HDF5 files; each top is the dataset of its name.

    `source` is a text file that names the HDF5 files, one a line. A transform_param is refused: the files hold what the
    net takes.
    """

    source_path: str
    batch: int
    blobs: tuple[str, ...]
    shuffle: bool = False

    @classmethod
    def read(cls, p: HDF5DataParameter, transform: TransformationParameter, top: Sequence[str], phase: Phase) -> Self:
        if transform.ByteSize() > 0:
            help = "leave it out, and write the files as the net takes them"
            raise LayerError("transforms nothing, but has a transform_param", field="transform_param", help=help)
        return cls(source(p, "hdf5_data_param"), batch_size(p), tuple(top), p.shuffle)


class ImageData(Layer, param=("image_data_param", "transform_param"), tops=2, source=True):
    """Reads the image files of a list, one `path label` a line.

    `root_folder` is put before every path as it is. With `new_height` and `new_width` an image is resized before
    anything else is done to it.
    """

    source_path: str
    batch: int = 1
    color: bool = True
    resize: Shape = ()  # height, width; empty: images are taken as they are
    root_folder: str = ""
    shuffle: bool = False
    rand_skip: int = 0
    transform: Transform = Transform()
    phase: Phase = Phase.TEST

    @classmethod
    def read(cls, p: ImageDataParameter, transform: TransformationParameter, phase: Phase) -> Self:
        if transform.resize_height or transform.resize_width:
            help = "write image_data_param { new_height: 256 new_width: 256 } in its place"
            raise LayerError("is resized by new_height and new_width", field="resize_height", help=help)
        if bool(p.new_height) != bool(p.new_width):
            given = "new_height" if p.new_height else "new_width"
            raise LayerError("new_height and new_width go together", field=given, help="give both")
        resize = (p.new_height, p.new_width) if p.new_height else ()
        return cls(
            source(p, "image_data_param"),
            batch_size(p),
            p.is_color,
            resize,
            p.root_folder,
            p.shuffle,
            p.rand_skip,
            settings.transform(transform),
            phase,
        )


class MemoryData(Layer, param=("memory_data_param", "transform_param"), tops=2, source=True):
    """Takes images and labels from whoever runs the net, and goes around and around in them.

    Its label has four axes, as Caffe makes it.
    """

    shapes: tuple[Shape, ...]
    batch: int
    transform: Transform = Transform()
    phase: Phase = Phase.TEST

    @classmethod
    def read(cls, p: MemoryDataParameter, transform: TransformationParameter, phase: Phase) -> Self:
        batch = batch_size(p)
        for name in ("channels", "height", "width"):
            if not getattr(p, name):
                raise LayerError(f"has no {name}", field=name, help=f"add memory_data_param {{ {name}: 28 }}")
        shapes = ((batch, p.channels, p.height, p.width), (batch, 1, 1, 1))
        return cls(shapes, batch, settings.transform(transform), phase)

    def shape(self) -> list[Shape]:
        return list(self.shapes)


class WindowData(Layer, param=("window_data_param", "transform_param"), tops=2, source=True):
    """Cuts windows that show objects or background out of images, as R-CNN is trained with.

    `source` is a text file of images and their windows. Each window, with `context_pad` pixels of its surroundings, is
    brought to crop_size; `fg_fraction` of a batch overlaps an object by at least `fg_threshold`, the rest by less
    than `bg_threshold`.
    """

    source_path: str
    batch: int
    crop_mode: str = "warp"
    fg_threshold: float = 0.5
    bg_threshold: float = 0.5
    fg_fraction: float = 0.25
    context_pad: int = 0
    root_folder: str = ""
    cache_images: bool = False
    transform: Transform = Transform()
    phase: Phase = Phase.TEST

    @classmethod
    def read(cls, p: WindowDataParameter, transform: TransformationParameter, phase: Phase) -> Self:
        path, batch, crop = source(p, "window_data_param"), batch_size(p), transform.crop_size
        if not crop:
            help = "add transform_param { crop_size: 227 }, the side that windows are brought to"
            raise LayerError("has no crop_size", field="crop_size", help=help)
        if p.crop_mode not in ("warp", "square"):
            raise LayerError(f'unknown crop_mode "{p.crop_mode}"', field="crop_mode", help="warp or square")
        for name in ("fg_threshold", "bg_threshold", "fg_fraction"):
            if not 0 <= getattr(p, name) <= 1:
                raise LayerError(f"{name} {getattr(p, name):g} is outside 0 to 1", field=name)
        if 2 * p.context_pad >= crop:
            problem = f"context_pad {p.context_pad} on both sides leaves nothing of crop_size {crop}"
            raise LayerError(problem, field="context_pad")
        return cls(
            path,
            batch,
            p.crop_mode,
            p.fg_threshold,
            p.bg_threshold,
            p.fg_fraction,
            p.context_pad,
            p.root_folder,
            p.cache_images,
            settings.transform(transform),
            phase,
        )

    def shape(self) -> list[Shape]:
        return [(self.batch, 3, self.transform.crop, self.transform.crop), (self.batch,)]


def source(p: HDF5DataParameter | ImageDataParameter | WindowDataParameter, param: str) -> str:
    """The file that a data layer reads. Raises LayerError where it names none."""
    if not p.source:
        raise LayerError("has no source", field=param, help=f'add {param} {{ source: "FILE" }}')
    return p.source
