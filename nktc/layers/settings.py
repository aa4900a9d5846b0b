"""Settings that several families read from their schema messages."""

from __future__ import annotations

from nktc.errors import LayerError, near
from nktc.ir import Filler, Transform
from nktc.schema import FillerParameter, LossParameter, TransformationParameter

FILLERS = ("constant", "gaussian", "uniform", "xavier", "msra", "bilinear", "positive_unitball")


def filler(p: FillerParameter, field: str) -> Filler:
    """The filler of message `p`, which stands in `field`. Raises LayerError for an unknown type."""
    if p.type not in FILLERS:
        help = near(p.type, FILLERS) or f"the fillers are {', '.join(FILLERS)}"
        raise LayerError(f'unknown filler "{p.type}"', field=f"{field}.type", help=help)
    norm = FillerParameter.VarianceNorm.Name(p.variance_norm)
    return Filler(p.type, p.value, p.min, p.max, p.mean, p.std, p.sparse, norm, field)


def transform(p: TransformationParameter, resizes: bool = False) -> Transform:
    """The transform of message `p`. Raises LayerError for settings that contradict each other, and for a resize where
    the layer takes pictures as they are stored."""
    if (p.resize_height or p.resize_width) and not resizes:
        help = "store them in that size: nktc data convert --resize HxW"
        raise LayerError("takes pictures as they are stored", field="resize_height", help=help)
    if bool(p.resize_height) != bool(p.resize_width):
        raise LayerError("resize_height and resize_width go together", field="resize_height", help="give both")
    if p.mean_file and p.mean_value:
        raise LayerError("mean_file and mean_value are both given", field="mean_value", help="keep one of them")
    if p.force_color and p.force_gray:
        raise LayerError("force_color and force_gray are both set", field="force_gray", help="keep one of them")
    order = TransformationParameter.ChannelOrder.Name(p.channel_order)
    return Transform(
        p.scale,
        p.mirror,
        p.crop_size,
        p.mean_file,
        tuple(p.mean_value),
        p.force_color,
        p.force_gray,
        order,
        (p.resize_height, p.resize_width),
    )


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
