"""Clips of videos: VideoData."""

from __future__ import annotations

import re
from typing import Self

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape, Transform, times
from nktc.layers import settings
from nktc.layers.data_types import COLORS, GEOMETRY, SIZES, refuse
from nktc.layers.input import batch_size
from nktc.schema import TransformationParameter, VideoDataParameter

TSN = ("num_segments", "modality", "name_pattern", "grayscale")
C3D = (
    "root_folder",
    "use_image",
    "use_temporal_jitter",
    "sampling_rate",
    "use_sampling_rate_jitter",
    "max_sampling_rate",
    "use_multiple_label",
    "num_of_labels",
    "mean_value",
)
NUMBER = r"%0?[1-9]?d"
DIRECTION = "%c"
PLACES, MORE_PLACES = 5, 13
SCALES = (1.0, 0.875, 0.75, 0.66)
MOST_FRAMES = 1 << 16


class VideoData(Layer, param=("video_data_param", "transform_param"), tops=(1, 2), source=True):
    """Reads clips of the videos of a list: frames that are pictures in a folder, or those of a video file.

    As TSN has it, with `num_segments`, `modality`, `name_pattern` or `grayscale`, a line is `folder frames label`; each
    of num_segments equal parts of the video gives new_length frames, drawn in TRAIN, the middle ones in TEST, and all
    are the channels of one picture, [n c h w], those of FLOW being x and y in turn. As C3D has it a line is `path start
    label`; every sampling_rate-th frame from `start` on is taken, [n 3 new_length h w]. All frames of a clip are cut,
    mirrored and resized as one. Source: TSN, C3D.
    """

    source_path: str
    batch: int
    length: int = 1
    volume: bool = True  # frames are an axis of their own, as C3D has it, not channels, as TSN has it
    segments: int = 1
    pattern: str = "%06d.jpg"
    channels: int = 3  # of one frame; 2 for flow
    files: bool = False  # each line names a video file, not a folder of pictures
    jitter: bool = False  # the first frame is drawn, not told
    rate: int = 1
    most_rate: int = 0  # in TRAIN the rate is drawn from 1 to this; 0: it is `rate`
    labels: int = 0  # classes, of which a line may have several; 0: a label is a number
    resize: Shape = ()  # height, width; empty: frames are taken as they are
    root_folder: str = ""
    shuffle: bool = False
    rand_skip: int = 0
    crop: int = 0
    mirror: bool = False
    inverts: bool = (
        False  # what is mirrored has its even channels turned about, as flow to the left is flow to the right
    )
    places: int = 0  # at which a crop may be in TRAIN; 0: anywhere
    sizes: tuple[float, ...] = ()  # of a crop in TRAIN, as shares of the shorter side; empty: that of the crop
    distort: int = 1
    transform: Transform = Transform()
    phase: Phase = Phase.TEST
    skips: bool = False  # a clip that cannot be used is replaced by the next that can

    @classmethod
    def read(cls, p: VideoDataParameter, transform: TransformationParameter, phase: Phase) -> Self:
        if not p.source:
            help = 'add video_data_param { source: "FILE" }'
            raise LayerError("has no source", field="video_data_param", help=help)
        if bool(p.new_height) != bool(p.new_width):
            given = "new_height" if p.new_height else "new_width"
            raise LayerError("new_height and new_width go together", field=given, help="give both")
        for name in ("new_length", "num_segments", "sampling_rate", "max_sampling_rate", "num_of_labels"):
            if getattr(p, name) < 1:
                raise LayerError(f"{name} is 0", field=name, help="it starts at 1")
        if p.new_length * p.num_segments > MOST_FRAMES:
            said = f"a clip of {p.new_length * p.num_segments} frames is longer than {MOST_FRAMES}"
            raise LayerError(said, field="new_length")
        segmented = next((name for name in TSN if p.HasField(name)), "")  # type: ignore[arg-type]
        spaced = next((name for name in C3D if p.HasField(name)), "")  # type: ignore[arg-type]
        if segmented and spaced:
            help = f"{segmented} is of TSN's Caffe, {spaced} of C3D's: keep one of them"
            raise LayerError(f"{segmented} and {spaced} are both given", field=spaced, help=help)
        flow = bool(segmented) and p.modality == VideoDataParameter.FLOW
        merged = _merged(p, transform)
        if p.new_height and merged.crop_size > min(p.new_height, p.new_width):
            size = times((p.new_height, p.new_width))
            raise LayerError(f"crop_size {merged.crop_size} is larger than its frames, {size}", field="crop_size")
        if merged.multi_scale and not merged.crop_size:
            help = "add crop_size: 224"
            raise LayerError("multi_scale is of a crop that it does not have", field="multi_scale", help=help)
        if any(not 0 < ratio <= 1 for ratio in merged.scale_ratios):
            raise LayerError("a scale ratio is not above 0 and at most 1", field="scale_ratios")
        return cls(
            p.source,
            batch_size(p),
            p.new_length,
            not segmented,
            p.num_segments,
            _pattern(p, flow) if segmented else "%06d.jpg",
            2 if flow else 1 if p.grayscale else 3,
            not segmented and not p.use_image,
            p.use_temporal_jitter,
            p.sampling_rate,
            p.max_sampling_rate if p.use_sampling_rate_jitter else 0,
            p.num_of_labels if p.use_multiple_label else 0,
            (p.new_height, p.new_width) if p.new_height else (),
            p.root_folder,
            p.shuffle,
            p.rand_skip,
            merged.crop_size,
            merged.mirror,
            merged.is_flow,
            (MORE_PLACES if merged.more_fix_crop else PLACES) if merged.fix_crop else 0,
            (tuple(merged.scale_ratios) or SCALES) if merged.multi_scale else (),
            merged.max_distort,
            _plain(merged),
            phase,
            not segmented and phase is Phase.TRAIN,
        )


def _pattern(p: VideoDataParameter, flow: bool) -> str:
    """What the pictures of a folder are called. Raises LayerError."""
    pattern = p.name_pattern or ("flow_%c_%04d.jpg" if flow else "image_%04d.jpg")
    wanted = f"[^%]*{DIRECTION}[^%]*{NUMBER}[^%]*" if flow else f"[^%]*{NUMBER}[^%]*"
    if not re.fullmatch(wanted, pattern):
        need = "%c for the direction and %05d for the number" if flow else "%05d for the number"
        said = f'name_pattern "{pattern}" is no name with {need}'
        raise LayerError(said, field="name_pattern", help="flow_%c_%05d.jpg" if flow else "write: img_%05d.jpg")
    return pattern


def _merged(p: VideoDataParameter, transform: TransformationParameter) -> TransformationParameter:
    """The transform with the mean value that C3D's nets of 2014 have beside it."""
    merged = TransformationParameter()
    merged.CopyFrom(transform)
    if p.HasField("mean_value") and not merged.mean_value and not merged.mean_file:
        merged.mean_value.append(p.mean_value)
    return merged


def _plain(p: TransformationParameter) -> Transform:
    """What is done to the values alone: mean, scale and deviation. Raises LayerError."""
    refuse(
        p, (*SIZES, *GEOMETRY, *COLORS), "is not done to clips", "leave it out: frames would differ from one another"
    )
    rest = TransformationParameter()
    rest.CopyFrom(p)
    for name in ("crop_size", "mirror", *settings.VIDEOS):
        rest.ClearField(name)  # type: ignore[arg-type]
    return settings.transform(rest)
