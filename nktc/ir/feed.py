"""What a data layer feeds: the shapes of its tops and how a picture becomes its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nktc.ir.value import Shape


@dataclass(frozen=True)
class RandomResizedCrop:
    """Share of the picture, and its width by height: least and largest."""

    area: tuple[float, float]
    aspect: tuple[float, float]


@dataclass(frozen=True)
class Rescale:
    """How pictures are scaled before the crop, in TRAIN by chance: least and largest of each, in TEST their middle.

    `sides` are lengths of the shorter side, 0 for that of the picture's shorter, or longer, side. `longer` is the
    longer side by the shorter one, (0, 0) where that stays; `tall` and `wide` are further factors. Without `enlarges`
    no side becomes longer than it was. `methods` are OpenCV's names for making smaller and for making larger. `cuts`
    sides to whole pixels in place of rounding them.
    """

    sides: tuple[int, int] = (0, 0)
    longer: tuple[float, float] = (0.0, 0.0)
    tall: tuple[float, float] = (1.0, 1.0)
    wide: tuple[float, float] = (1.0, 1.0)
    enlarges: bool = True
    methods: tuple[str, str] = ("LINEAR", "LINEAR")
    cuts: bool = False


@dataclass(frozen=True)
class RandomAspectCrop:
    """In TRAIN a part of the picture, brought to the crop: least and largest share of the picture, the least height by
    that of a square of the area, and how often one is drawn until it fits; else, and in TEST, the shorter side is
    brought to the crop. `method` is OpenCV's name."""

    area: tuple[float, float]
    change: float = 1.0
    attempts: int = 10
    method: str = "LINEAR"


@dataclass(frozen=True)
class ColorJitter:
    """Changes of brightness, contrast and saturation, 0 to 1; of hue in degrees."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


@dataclass(frozen=True)
class RandomErasing:
    """How often, 0 to 1; share of the picture, and height by width of what is erased: least and largest."""

    probability: float
    area: tuple[float, float]
    aspect: tuple[float, float]


@dataclass(frozen=True)
class Transform:
    """Caffe's TransformationParameter, and what its users asked for: resize, a turn, a crop, a mirror, change of
    colours, x -> (x - mean) * scale / std, blots, mixing; whatever goes by chance in TRAIN alone.

    `mean_file` is a .binaryproto; `mean_values` and `std_values` have one value, or one a channel. `crop` is the side
    in pixels, 0 for none: anywhere in TRAIN, the centre in TEST. `order` is that of the planes of a colour picture, BGR
    or RGB; `resize` the height and width it is brought to before the crop, 0 for those that the net takes, by
    `resize_mode`: SQUASH, CROP, FILL or HALF_CROP. `fill` is what is where a picture does not reach, 0 to 255.
    `rotation` is in degrees, `cutout` in pixels, `mixup` and `cutmix` are alphas of Beta distributions, all 0 for none.
    `classes` is the length of a mixed label, 0 for as many as the source knows. `rescale` is done to whole pictures,
    before the crop, by sources that have them.
    """

    scale: float = 1.0
    mirror: bool = False
    crop: int = 0
    mean_file: str = ""
    mean_values: tuple[float, ...] = ()
    force_color: bool = False
    force_gray: bool = False
    order: str = "BGR"
    resize: tuple[int, int] = (0, 0)
    resize_mode: str = "SQUASH"
    fill: int = 0
    std_values: tuple[float, ...] = ()
    random_resized_crop: RandomResizedCrop | None = None
    rotation: float = 0.0
    color_jitter: ColorJitter | None = None
    cutout: int = 0
    random_erasing: RandomErasing | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    classes: int = 0
    rescale: Rescale | RandomAspectCrop | None = None

    @property
    def mixes(self) -> bool:
        """Whether batches of TRAIN are mixed, so that a label is one share a class."""
        return bool(self.mixup or self.cutmix)


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Exactly what a picture goes through to be an input of a deployed net.

    Resize to `size` (height, width) by `resize_mode` (SQUASH, CROP, FILL or HALF_CROP; `fill`, 0 to 255, where the
    picture does not reach), planes in `order` ("BGR", "RGB" or "GRAY"), pixels 0 to 255 as float, minus `mean` (None,
    [c 1 1] or [c h w], f32), centre crop to `crop` (0: none), times `scale`, divided by `std` (None or [c 1 1], f32).
    """

    size: tuple[int, int]
    order: str
    mean: np.ndarray | None = None
    scale: float = 1.0
    crop: int = 0
    resize_mode: str = "SQUASH"
    fill: int = 0
    std: np.ndarray | None = None


@dataclass(frozen=True)
class Feed:
    """What is known of a data layer before a batch is read: `shapes` of its tops (batch first), `records` in its
    source (None: endless, or not counted yet), `labels`, the names of the classes, where the source knows them."""

    shapes: tuple[Shape, ...]
    records: int | None = None
    labels: tuple[str, ...] = ()
