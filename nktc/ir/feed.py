"""What a data layer feeds: the shapes of its tops and how a picture becomes its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nktc.ir.value import Shape


@dataclass(frozen=True)
class Transform:
    """Caffe's TransformationParameter: x -> (x - mean) * scale, then a crop, then a mirror.

    `mean_file` is a .binaryproto; `mean_values` has one value, or one a channel. `crop` is the side in pixels, 0 for
    none: anywhere in TRAIN, the centre in TEST. `order` is that of the planes of a colour picture, BGR or RGB; `resize`
    the height and width it is brought to before the crop, 0 for those that the net takes.
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


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Exactly what a picture goes through to be an input of a deployed net.

    Resize to `size` (height, width), planes in `order` ("BGR", "RGB" or "GRAY"), pixels 0 to 255 as float, minus
    `mean` (None, [c 1 1] or [c h w], f32), centre crop to `crop` (0: none), times `scale`.
    """

    size: tuple[int, int]
    order: str
    mean: np.ndarray | None = None
    scale: float = 1.0
    crop: int = 0


@dataclass(frozen=True)
class Feed:
    """What is known of a data layer before a batch is read: `shapes` of its tops (batch first), `records` in its
    source (None: endless, or not counted yet), `labels`, the names of the classes, where the source knows them."""

    shapes: tuple[Shape, ...]
    records: int | None = None
    labels: tuple[str, ...] = ()
