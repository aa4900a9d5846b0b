"""Pictures whose every pixel has a class: DenseImageData, ImageSegData."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, Transform, times
from nktc.layers import settings
from nktc.layers.data_types import COLORS, GEOMETRY, SIZES, refuse
from nktc.layers.input import batch_size
from nktc.schema import SKIP, DenseImageDataParameter, ImageDataParameter, TransformationParameter

LARGEST = 100  # scale factor


@dataclass(frozen=True)
class LabelledPixels:
    """Pictures of a list and the class of each of their pixels.

    A line names a picture and what `label` says: a picture of classes (PIXEL), one class for all pixels (IMAGE), or
    nothing, which gives all of them `outside` (NONE). Both are brought to `resize`, the classes by the nearest pixel
    and so many times smaller as `divisor` tells. In TRAIN both are scaled by one of `factors` and mirrored. Then the
    crop: anywhere in TRAIN, the middle in TEST; where it `pads`, a smaller picture gets 0, and `outside` for its
    classes, below and to the right.
    """

    source_path: str
    batch: int
    color: bool = True
    resize: Shape = ()  # height, width; empty: pictures are taken as they are
    root_folder: str = ""
    shuffle: bool = False
    rand_skip: int = 0
    crop: Shape = ()  # height, width
    mirror: bool = False
    transform: Transform = field(default_factory=Transform)
    phase: Phase = Phase.TEST
    label: str = "PIXEL"
    outside: int = 255
    divisor: int = 1
    factors: tuple[float, ...] = ()
    pads: bool = False
    skips: bool = False  # a picture that cannot be used is replaced by the next that can


class DenseImageData(Layer, param=("dense_image_data_param", "transform_param"), tops=2, source=True):
    """Reads the pictures of a list and, of each, a picture of the class of every pixel: one `path label-path` a line.

    `root_folder` is put before both paths. Classes are never interpolated, and neither mean nor scale is for them. With
    `label_divide_factor` they are so many times smaller than the picture. Source: SegNet, ENet.
    """

    pixels: LabelledPixels

    @classmethod
    def read(cls, p: DenseImageDataParameter, transform: TransformationParameter, phase: Phase) -> Self:
        crop = _together("crop_height", p.crop_height, "crop_width", p.crop_width)
        square = (transform.crop_size,) * 2 if transform.crop_size else ()
        if crop and square:
            raise LayerError("crop_size and crop_height are both given", field="crop_size", help="keep one of them")
        if p.label_divide_factor < 1:
            raise LayerError("label_divide_factor is 0", field="label_divide_factor", help="it starts at 1")
        if p.label_divide_factor > 1 and (crop or square):
            help = "the classes would come from another place than the picture: leave the crop out"
            raise LayerError("label_divide_factor and a crop are both given", field="label_divide_factor", help=help)
        plain = _shared("dense_image_data_param", p, transform, phase)
        if plain.resize and min(plain.resize) < p.label_divide_factor:
            said = f"classes {p.label_divide_factor} times smaller than {times(plain.resize)} are less than a pixel"
            raise LayerError(said, field="label_divide_factor")
        mirror = p.mirror or transform.mirror
        return cls(replace(plain, crop=crop or square, mirror=mirror, divisor=p.label_divide_factor))


class ImageSegData(Layer, param=("image_data_param", "transform_param"), tops=(1, 3), source=True):
    """Reads the pictures of a list and, of each, the class of every pixel.

    With `label_type: PIXEL` a line is `path label-path`, the second a picture of classes; without one it has a class
    for the whole picture, `path label`; with NONE, or `has_label: false`, nothing: then every pixel has `ignore_label`.
    A crop may be larger than a picture, which is then padded below and to the right: by the mean, and by ignore_label.
    In TRAIN both are scaled by one of `scale_factors`. A third top has the height and width of each picture, at most
    those of the crop. Classes are never interpolated. Source: DeepLab, PSPNet.
    """

    pixels: LabelledPixels

    @classmethod
    def read(cls, p: ImageDataParameter, transform: TransformationParameter, phase: Phase) -> Self:
        if transform.mean_file:
            help = "give mean_value, one number a channel"
            raise LayerError("takes no mean image", field="mean_file", help=help)
        if any(not 0 < factor <= LARGEST for factor in transform.scale_factors):
            raise LayerError(f"a scale factor is not above 0 and at most {LARGEST}", field="scale_factors")
        return cls(
            replace(
                _shared("image_data_param", p, transform, phase),
                crop=(transform.crop_size,) * 2 if transform.crop_size else (),
                mirror=transform.mirror,
                label=ImageDataParameter.LabelType.Name(p.label_type) if p.has_label else "NONE",
                outside=p.ignore_label,
                factors=tuple(transform.scale_factors) if phase is Phase.TRAIN else (),
                pads=True,
                skips=p.on_bad_record == SKIP,
            )
        )


def _shared(
    name: str, p: DenseImageDataParameter | ImageDataParameter, transform: TransformationParameter, phase: Phase
) -> LabelledPixels:
    """What the settings of both layers, in the field of that name, have in common. Raises LayerError."""
    return LabelledPixels(
        _source(p.source, name),
        batch_size(p),
        p.is_color,
        _together("new_height", p.new_height, "new_width", p.new_width),
        p.root_folder,
        p.shuffle,
        p.rand_skip,
        transform=_plain(transform),
        phase=phase,
    )


def _plain(p: TransformationParameter) -> Transform:
    """What is done to the values of the picture alone: mean, scale and deviation. Raises LayerError."""
    help = "leave it out: the classes would not follow"
    refuse(p, (*SIZES, *GEOMETRY, *COLORS), "is not done to pictures with a class for each pixel", help)
    rest = TransformationParameter()
    rest.CopyFrom(p)
    for name in ("crop_size", "mirror", "scale_factors"):
        rest.ClearField(name)
    return settings.transform(rest)


def _together(first: str, one: int, second: str, other: int) -> Shape:
    if bool(one) != bool(other):
        raise LayerError(f"{first} and {second} go together", field=first if one else second, help="give both")
    return (one, other) if one else ()


def _source(path: str, param: str) -> str:
    if not path:
        raise LayerError("has no source", field=param, help=f'add {param} {{ source: "FILE" }}')
    return path
