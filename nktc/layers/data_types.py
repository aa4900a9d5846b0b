"""Data in lists, files and memory: AnnotatedData, HDF5Data, ImageData, MemoryData, WindowData."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from nktc.errors import LayerError
from nktc.ir import MANY, Layer, Phase, Shape, Transform
from nktc.layers import settings
from nktc.layers.input import Data, Part, batch_size, part
from nktc.schema import (
    SKIP,
    AnnotatedDataParameter,
    DataParameter,
    HDF5DataParameter,
    ImageDataParameter,
    MemoryDataParameter,
    SplitParameter,
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


class ImageData(Layer, param=("image_data_param", "transform_param", "split_param"), tops=2, source=True):
    """Reads the image files of a list, one `path label` a line, or of a folder that has a folder for each class.

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
    part: Part | None = None
    skips: bool = False  # an image that cannot be used is replaced by the next that can

    @classmethod
    def read(
        cls, p: ImageDataParameter, transform: TransformationParameter, split: SplitParameter, phase: Phase
    ) -> Self:
        if transform.resize_height or transform.resize_width:
            help = "write image_data_param { new_height: 256 new_width: 256 } in its place"
            raise LayerError("is resized by new_height and new_width", field="resize_height", help=help)
        if not p.has_label:
            help = 'write type: "ImageSegData"'
            raise LayerError("a list without labels is not of this layer", field="has_label", help=help)
        if p.label_type != ImageDataParameter.IMAGE:
            kind = ImageDataParameter.LabelType.Name(p.label_type)
            help = 'write type: "ImageSegData"' if kind == "PIXEL" else "leave it out, and the label top"
            raise LayerError(f"label_type {kind} is not of this layer", field="label_type", help=help)
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
            settings.transform(transform, rescales=True),
            phase,
            part(split, phase),
            p.on_bad_record == SKIP,
        )


class MemoryData(Layer, param=("memory_data_param", "transform_param"), tops=2, source=True):
    """Takes images and labels from an .npz file, or from whoever runs the net, and goes around and around in them.

    `source` names the file; it has the arrays data [n c h w] and label [n], and tells the shapes unless `channels`,
    `height` and `width` do. These are of what is fed, after a crop.
    """

    shapes: tuple[Shape, ...]  # empty: its source tells
    batch: int
    transform: Transform = Transform()
    phase: Phase = Phase.TEST
    source_path: str = ""
    shuffle: bool = False

    @classmethod
    def read(cls, p: MemoryDataParameter, transform: TransformationParameter, phase: Phase) -> Self:
        batch = batch_size(p)
        given = [name for name in ("channels", "height", "width") if getattr(p, name)]
        if given or not p.source:
            for name in ("channels", "height", "width"):
                if name not in given:
                    raise LayerError(f"has no {name}", field=name, help=f"add memory_data_param {{ {name}: 28 }}")
        shapes = ((batch, p.channels, p.height, p.width), (batch,)) if given else ()
        return cls(shapes, batch, settings.transform(transform), phase, p.source, p.shuffle)

    def shape(self) -> list[Shape]:
        if not self.shapes:
            raise LayerError("its shape is known only from what feeds it")
        return list(self.shapes)


class WindowData(Layer, param=("window_data_param", "transform_param"), tops=2, source=True):
    """Cuts windows that show objects or background out of images, as R-CNN is trained with.

    `source` is a text file of images and their windows. Each window, with `context_pad` pixels of its surroundings, is
    brought to crop_size; `fg_fraction` of a batch overlaps an object by at least `fg_threshold`, the rest by less
    than `bg_threshold`. Which windows, and which of them are mirrored, is drawn anew for each batch, in TEST too; what
    of a window lies outside its image is 0.
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
    skips: bool = False  # a window whose image cannot be used is replaced by another

    @classmethod
    def read(cls, p: WindowDataParameter, transform: TransformationParameter, phase: Phase) -> Self:
        path, batch, crop = source(p, "window_data_param"), batch_size(p), transform.crop_size
        help = "it is brought to crop_size, minus the mean, times the scale and mirrored, and no more"
        refuse(transform, ("force_gray", *SIZES, *GEOMETRY, *COLORS), "is not done to windows", help)
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
            p.on_bad_record == SKIP,
        )

    def shape(self) -> list[Shape]:
        return [(self.batch, 3, self.transform.crop, self.transform.crop), (self.batch,)]


class AnnotatedData(
    Layer,
    param=("data_param", "annotated_data_param", "transform_param", "split_param"),
    tops=(1, 2),
    source=True,
):
    """Reads pictures with boxes, records of AnnotatedDatum, from an LMDB or LevelDB that data_param names.

    The label has `max_boxes` rows a picture, [1 1 rows 8]: the picture's place in the batch, class, number of the
    object, xmin, ymin, xmax, ymax, whether it is difficult; the rows that are left are -1. Where the first record has
    no type of annotation the label is its Datum's, [n 1 1 1]. Boxes do not move, so nothing is done to a picture that
    would move them.
    """

    data: Data
    max_boxes: int = 16
    label_map: str = ""

    @classmethod
    def read(
        cls,
        p: DataParameter,
        annotated: AnnotatedDataParameter,
        transform: TransformationParameter,
        split: SplitParameter,
        phase: Phase,
    ) -> Self:
        if annotated.max_boxes < 1:
            raise LayerError("max_boxes is 0", field="max_boxes", help="it starts at 1")
        help = "leave it out; resize_height and resize_width bring pictures to one size"
        refuse(transform, ("crop_size", "mirror", *GEOMETRY), "would move its boxes", help)
        if transform.resize_mode != TransformationParameter.SQUASH:
            help = "leave it out: SQUASH keeps the boxes where they are"
            raise LayerError("resize_mode would move its boxes", field="resize_mode", help=help)
        refuse(transform, ("mixup", "cutmix"), "mixes labels, and boxes are not mixed", "leave it out")
        settings.transform(transform, resizes=True)
        return cls(Data.read(p, transform, split, phase), annotated.max_boxes, annotated.label_map_file)


SIZES = ("resize_height", "resize_width")
GEOMETRY = ("random_resized_crop", "rotation")
COLORS = ("color_jitter", "cutout", "random_erasing", "mixup", "cutmix")


def refuse(p: TransformationParameter, names: Sequence[str], what: str, help: str) -> None:
    """Refuse the first of some settings of a transform that asks for something. Raises LayerError."""
    for name in names:
        value = getattr(p, name)
        if p.HasField(name) and (not isinstance(value, bool | int | float) or value):  # type: ignore[arg-type]
            raise LayerError(f"{name} {what}", field=name, help=help)


def source(p: HDF5DataParameter | ImageDataParameter | WindowDataParameter, param: str) -> str:
    """The file that a data layer reads. Raises LayerError where it names none."""
    if not p.source:
        raise LayerError("has no source", field=param, help=f'add {param} {{ source: "FILE" }}')
    return p.source
