"""Settings that several families read from their schema messages."""

from __future__ import annotations

import math

from google.protobuf.message import Message

from nktc.errors import LayerError, near
from nktc.ir import ColorJitter, Filler, RandomAspectCrop, RandomErasing, RandomResizedCrop, Rescale, Transform
from nktc.schema import (
    ColorJitterParameter,
    DetectionResizeParameter,
    FillerParameter,
    LossParameter,
    RandomErasingParameter,
    RandomResizedCropParameter,
    TransformationParameter,
)

FILLERS = (
    "constant",
    "gaussian",
    "uniform",
    "xavier",
    "msra",
    "bilinear",
    "positive_unitball",
    "gaussian_unitball",
)


def filler(p: FillerParameter, field: str) -> Filler:
    """The filler of message `p`, which stands in `field`. Raises LayerError for an unknown type."""
    if p.type not in FILLERS:
        help = near(p.type, FILLERS) or f"the fillers are {', '.join(FILLERS)}"
        raise LayerError(f'unknown filler "{p.type}"', field=f"{field}.type", help=help)
    norm = FillerParameter.VarianceNorm.Name(p.variance_norm)
    return Filler(p.type, p.value, p.min, p.max, p.mean, p.std, p.sparse, norm, field)


VIDEOS = ("fix_crop", "more_fix_crop", "multi_scale", "scale_ratios", "max_distort", "is_flow")
"""What TSN's transforms have for VideoData."""


def transform(p: TransformationParameter, resizes: bool = False, rescales: bool = False) -> Transform:
    """The transform of message `p`. Raises LayerError for settings that contradict each other, for a resize where
    the layer takes pictures as they are stored, and for forks' ways to rescale them where it has no whole pictures."""
    if (p.resize_height or p.resize_width) and not resizes:
        help = "store them in that size: nktc data convert --resize HxW"
        raise LayerError("takes pictures as they are stored", field="resize_height", help=help)
    if p.scale_factors:
        raise LayerError("scale_factors is of ImageSegData alone", field="scale_factors", help="leave it out")
    for name in VIDEOS:
        if getattr(p, name) != getattr(TransformationParameter(), name):
            raise LayerError(f"{name} is of VideoData alone", field=name, help="leave it out")
    if bool(p.resize_height) != bool(p.resize_width):
        raise LayerError("resize_height and resize_width go together", field="resize_height", help="give both")
    if p.mean_file and p.mean_value:
        raise LayerError("mean_file and mean_value are both given", field="mean_value", help="keep one of them")
    if p.force_color and p.force_gray:
        raise LayerError("force_color and force_gray are both set", field="force_gray", help="keep one of them")
    if min(p.std_value, default=1) <= 0:
        raise LayerError(f"std_value is {min(p.std_value):g}", field="std_value", help="a deviation is above 0")
    _between(p, "fill_value", 0, 255)
    _between(p, "rotation", 0, 180)
    for name in ("mixup", "cutmix"):
        _between(p, name, 0, 1000)
    if p.num_classes and not (p.mixup or p.cutmix):
        raise LayerError("num_classes is of mixed labels alone", field="num_classes", help="add mixup: 0.2")
    part = p.random_resized_crop if p.HasField("random_resized_crop") else None
    if part and not p.crop_size:
        raise LayerError(
            "random_resized_crop has no size to stretch to", field="random_resized_crop", help="add crop_size: 224"
        )
    return Transform(
        p.scale,
        p.mirror,
        p.crop_size,
        p.mean_file,
        tuple(p.mean_value),
        p.force_color,
        p.force_gray,
        TransformationParameter.ChannelOrder.Name(p.channel_order),
        (p.resize_height, p.resize_width),
        TransformationParameter.ResizeMode.Name(p.resize_mode),
        p.fill_value,
        tuple(p.std_value),
        _resized_crop(part) if part else None,
        p.rotation,
        _jitter(p.color_jitter) if p.HasField("color_jitter") else None,
        p.cutout,
        _erasing(p.random_erasing) if p.HasField("random_erasing") else None,
        p.mixup,
        p.cutmix,
        p.num_classes,
        _rescale(p, rescales),
    )


LEAST = 0.001  # height of a part by that of a square of its area
NVIDIAS = ("img_rand_resize", "rand_resize_ratio", "vertical_stretch", "horizontal_stretch")


def _rescale(p: TransformationParameter, rescales: bool) -> Rescale | RandomAspectCrop | None:
    """How forks scale pictures before the crop. Raises LayerError."""
    ranges = [f"{name}_{end}" for name in NVIDIAS for end in ("lower", "upper")]
    given = [name for name in ("random_resize_param", "random_aspect_ratio_param", *ranges) if p.HasField(name)]  # type: ignore[arg-type]
    if not given:
        return None
    field = given[0]
    if not rescales:
        raise LayerError("has no pictures that could be scaled before the crop", field=field, help="leave it out")
    if not p.crop_size:
        help = "add crop_size: 224; a net takes pictures of one size"
        raise LayerError("is scaled before a crop that it does not have", field=field, help=help)
    if p.resize_height or p.random_resized_crop.ByteSize() or p.HasField("random_resized_crop"):
        other = "resize_height" if p.resize_height else "random_resized_crop"
        raise LayerError(f"{field} and {other} are both given", field=other, help="keep one of them")
    if "random_resize_param" in given:
        resize = p.random_resize_param
        _ordered("random_resize_param", resize.min_size, resize.max_size or resize.min_size)
        method = _method(resize.resize_param)
        return Rescale((resize.min_size, resize.max_size), methods=(method, method), cuts=True)
    if "random_aspect_ratio_param" in given:
        part = p.random_aspect_ratio_param
        _ordered(field, part.min_area_ratio, part.max_area_ratio)
        if not (part.min_area_ratio > 0 and part.max_area_ratio <= 1 and LEAST <= part.aspect_ratio_change <= 1):
            said = f"its shares are above 0 and at most 1, its change of form is from {LEAST} to 1"
            raise LayerError(said, field=field)
        area = (part.min_area_ratio, part.max_area_ratio)
        return RandomAspectCrop(area, part.aspect_ratio_change, part.max_attempt, _method(part.resize_param))
    for name in NVIDIAS:
        low, high = getattr(p, f"{name}_lower"), getattr(p, f"{name}_upper")
        if low and high:
            _ordered(f"{name}_lower", low, high)
    sides = (p.img_rand_resize_lower, p.img_rand_resize_upper)
    longer = (p.rand_resize_ratio_lower, p.rand_resize_ratio_upper)
    tall, wide = (_factors(p, name) for name in NVIDIAS[2:])
    names = [
        TransformationParameter.InterpolationAlgo.Name(one).removeprefix("INTER_")
        for one in (p.interpolation_algo_down, p.interpolation_algo_up)
    ]
    return Rescale(
        sides if all(sides) else (0, 0),
        longer if longer[0] >= 1 and longer[1] > 1 else (0.0, 0.0),
        tall,
        wide,
        p.allow_upscale,
        (names[0], names[1]),
    )


def _factors(p: TransformationParameter, name: str) -> tuple[float, float]:
    low, high = getattr(p, f"{name}_lower"), getattr(p, f"{name}_upper")
    return (low, high) if low > 0 and high > 0 else (1.0, 1.0)


def _ordered(field: str, low: float, high: float) -> None:
    if not 0 <= low <= high < math.inf:
        raise LayerError(f"{low:g} to {high:g} is no range", field=field)


def _method(p: DetectionResizeParameter) -> str:
    """The one method of a fork's resize_param. Raises LayerError."""
    names = [DetectionResizeParameter.Interp_mode.Name(one) for one in p.interp_mode]
    if len(names) > 1:
        help = "keep one interp_mode"
        raise LayerError(f"has {len(names)} methods to draw from", field="interp_mode", help=help)
    if p.resize_mode != DetectionResizeParameter.WARP:
        raise LayerError("its resize_mode is not WARP", field="resize_mode", help="leave it out")
    return names[0] if names else "LINEAR"


def _resized_crop(p: RandomResizedCropParameter) -> RandomResizedCrop:
    return RandomResizedCrop(*_area_and_aspect(p, "random_resized_crop"))


def _erasing(p: RandomErasingParameter) -> RandomErasing:
    _between(p, "probability", 0, 1, "random_erasing.")
    return RandomErasing(p.probability, *_area_and_aspect(p, "random_erasing"))


def _jitter(p: ColorJitterParameter) -> ColorJitter:
    for name in ("brightness", "contrast", "saturation"):
        _between(p, name, 0, 1, "color_jitter.")
    _between(p, "hue", 0, 180, "color_jitter.")
    return ColorJitter(p.brightness, p.contrast, p.saturation, p.hue)


def _area_and_aspect(
    p: RandomResizedCropParameter | RandomErasingParameter, field: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Least and largest of both. Raises LayerError."""
    for name, least, largest in (("area", p.min_area, p.max_area), ("aspect", p.min_aspect, p.max_aspect)):
        if not 0 < least <= largest or (name == "area" and largest > 1):
            problem = f"min_{name} {least:g} to max_{name} {largest:g} is no range above 0"
            help = "an area is a share of the picture, 1 at most" if name == "area" else ""
            given = {f.name for f, _ in p.ListFields()}
            blamed = f"max_{name}" if f"max_{name}" in given else f"min_{name}"
            raise LayerError(problem, field=f"{field}.{blamed}", help=help)
    return (p.min_area, p.max_area), (p.min_aspect, p.max_aspect)


def _between(p: Message, name: str, least: float, largest: float, before: str = "") -> None:
    """Refuse a setting outside its range."""
    value = getattr(p, name)
    if not least <= value <= largest:
        raise LayerError(f"{name} {value:g} is outside {least:g} to {largest:g}", field=f"{before}{name}")


def outputs(num_output: int) -> int:
    """num_output, at least 1. Raises LayerError."""
    if num_output < 1:
        raise LayerError("has no num_output", field="num_output", help="add num_output: 10 (any number from 1)")
    return num_output


def normalization(p: LossParameter, default: str = "VALID") -> str:
    """What a loss is divided by: FULL, VALID, BATCH_SIZE or NONE. The old `normalize` counts where the new
    field is not given."""
    if p.HasField("normalize") and not p.HasField("normalization"):
        return "VALID" if p.normalize else "BATCH_SIZE"
    return LossParameter.NormalizationMode.Name(p.normalization) if p.HasField("normalization") else default
