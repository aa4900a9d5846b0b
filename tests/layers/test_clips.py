"""VideoData: what TSN's and C3D's settings mean."""

from __future__ import annotations

import pytest

from nktc import reader
from nktc.errors import NktcError
from nktc.ir import Feed, Phase
from nktc.layers import VideoData


def built(settings: str, phase: Phase = Phase.TRAIN, kind: str = "VideoData") -> VideoData:
    text = f'layer {{ name: "it" type: "{kind}" top: "data" top: "label" {settings} }}'
    graph = reader.build(reader.parse_net(text), phase, feeds=lambda layer: Feed(((2, 3, 4, 5), (2,))))
    layer = graph.nodes[0].layer
    assert isinstance(layer, VideoData)
    return layer


FLOW = """video_data_param { source: "list.txt" batch_size: 32 new_length: 5 num_segments: 3 modality: FLOW
    shuffle: true name_pattern: "flow_%c_%05d.jpg" } transform_param { crop_size: 224 mirror: true fix_crop: true
    more_fix_crop: true multi_scale: true max_distort: 1 scale_ratios: [1, .875, .75] mean_value: 128 is_flow: true }"""


def test_tsns_settings_are_read() -> None:
    layer = built(FLOW)
    assert (layer.batch, layer.length, layer.segments, layer.channels) == (32, 5, 3, 2)
    assert (layer.volume, layer.files, layer.shuffle, layer.inverts) == (False, False, True, True)
    assert (layer.pattern, layer.crop, layer.places, layer.sizes) == ("flow_%c_%05d.jpg", 224, 13, (1.0, 0.875, 0.75))
    assert (layer.transform.mean_values, layer.transform.crop, layer.distort) == ((128.0,), 0, 1)
    assert built('video_data_param { source: "l" num_segments: 2 }').pattern == "flow_%c_%04d.jpg"
    frames = built('video_data_param { source: "l" modality: RGB } transform_param { crop_size: 9 multi_scale: true }')
    assert (frames.pattern, frames.channels, frames.places) == ("image_%04d.jpg", 3, 0)
    assert frames.sizes == (1.0, 0.875, 0.75, 0.66)
    assert built('video_data_param { source: "l" modality: RGB grayscale: true }').channels == 1


def test_c3ds_settings_are_read() -> None:
    layer = built(
        """video_data_param { source: "l" root_folder: "r/" new_length: 16 new_height: 128 new_width: 171
        use_image: true sampling_rate: 2 }
        transform_param { crop_size: 112 mirror: true mean_value: 1 mean_value: 2 mean_value: 3 }"""
    )
    assert (layer.length, layer.resize, layer.rate, layer.root_folder) == (16, (128, 171), 2, "r/")
    assert (layer.volume, layer.files, layer.crop, layer.mirror) == (True, False, 112, True)
    assert layer.skips
    assert built('video_data_param { source: "l" }').files
    several = built(
        """video_data_param { source: "l" use_multiple_label: true num_of_labels: 7 use_temporal_jitter: true
        use_sampling_rate_jitter: true max_sampling_rate: 3 }""",
        Phase.TEST,
    )
    assert (several.labels, several.jitter, several.most_rate, several.skips) == (7, True, 3, False)


def test_c3ds_settings_of_2014_are_those_of_today() -> None:
    old = """layers { name: "it" type: VIDEO_DATA top: "data" top: "label" image_data_param { source: "l"
        use_image: true mean_value: 90 batch_size: 30 crop_size: 112 mirror: true show_data: 0
        new_height: 128 new_width: 171 new_length: 16 shuffle: true } }"""
    graph = reader.build(reader.parse_net(old), Phase.TRAIN, feeds=lambda layer: Feed(((2, 3, 4, 5), (2,))))
    today = """video_data_param { source: "l" use_image: true batch_size: 30 new_height: 128 new_width: 171
        new_length: 16 shuffle: true } transform_param { crop_size: 112 mirror: true mean_value: 90 }"""
    assert graph.nodes[0].layer == built(today)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("video_data_param { batch_size: 1 }", "has no source"),
        ('video_data_param { source: "l" new_height: 3 }', "new_height and new_width go together"),
        ('video_data_param { source: "l" new_length: 0 }', "new_length is 0"),
        ('video_data_param { source: "l" new_length: 4000000000 }', "a clip of 4000000000 frames"),
        ('video_data_param { source: "l" num_segments: 3 use_image: true }', "num_segments and use_image"),
        ('video_data_param { source: "l" modality: RGB name_pattern: "%s" }', "is no name with %05d"),
        ('video_data_param { source: "l" modality: RGB name_pattern: "%0999999999d" }', "is no name with %05d"),
        ('video_data_param { source: "l" modality: FLOW name_pattern: "%05d" }', "%c for the direction"),
        ('video_data_param { source: "l" } transform_param { multi_scale: true }', "a crop that it does not have"),
        (
            'video_data_param { source: "l" new_height: 3 new_width: 9 } transform_param { crop_size: 4 }',
            "crop_size 4 is larger than its frames, 3x9",
        ),
        (
            'video_data_param { source: "l" } transform_param { crop_size: 3 multi_scale: true scale_ratios: 2 }',
            "a scale ratio",
        ),
        ('video_data_param { source: "l" } transform_param { rotation: 3 }', "rotation is not done to clips"),
        ('video_data_param { source: "l" crop_size: 3 }', "crop_size has no effect"),
        ("video_data_param { video_type: WEBCAM }", "a camera"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: str, message: str) -> None:
    with pytest.raises(NktcError, match=message):
        built(settings)


def test_what_is_of_clips_alone_is_refused_elsewhere() -> None:
    settings = 'image_data_param { source: "l" } transform_param { crop_size: 3 fix_crop: true }'
    with pytest.raises(NktcError, match="fix_crop is of VideoData alone"):
        built(settings, kind="ImageData")
