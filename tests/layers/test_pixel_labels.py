"""DenseImageData and ImageSegData: what their settings mean."""

from __future__ import annotations

import pytest

from nktc import reader
from nktc.errors import NktcError
from nktc.ir import Feed, Graph, Phase
from nktc.layers import DenseImageData, ImageSegData


def built(kind: str, settings: str, phase: Phase = Phase.TRAIN) -> Graph:
    text = f'layer {{ name: "it" type: "{kind}" top: "data" top: "label" {settings} }}'
    fed = Feed(((2, 3, 4, 5), (2, 1, 4, 5)))
    return reader.build(reader.parse_net(text), phase, feeds=lambda layer: fed)


def test_segnets_settings_are_read() -> None:
    layer = (
        built(
            "DenseImageData",
            """dense_image_data_param { source: "l.txt" batch_size: 4 shuffle: true mirror: true root_folder: "r/"
        new_height: 360 new_width: 480 crop_height: 300 crop_width: 400 } transform_param { mean_value: 3 }""",
        )
        .nodes[0]
        .layer
    )
    assert isinstance(layer, DenseImageData)
    one = layer.pixels
    assert (one.source_path, one.batch, one.shuffle, one.mirror, one.root_folder) == ("l.txt", 4, True, True, "r/")
    assert (one.resize, one.crop, one.transform.mean_values, one.divisor) == ((360, 480), (300, 400), (3.0,), 1)


def test_pspnets_settings_are_read() -> None:
    settings = """image_data_param { source: "l.txt" batch_size: 2 label_type: PIXEL }
    transform_param { crop_size: 513 mirror: true mean_value: 1 mean_value: 2 mean_value: 3 scale: 0.5
    scale_factors: 0.75 scale_factors: 1.25 }"""
    layer = built("ImageSegData", settings).nodes[0].layer
    assert isinstance(layer, ImageSegData)
    one = layer.pixels
    assert (one.label, one.crop, one.pads, one.outside, one.factors) == ("PIXEL", (513, 513), True, 255, (0.75, 1.25))
    assert (one.transform.scale, one.transform.crop) == (0.5, 0)
    tested = built("ImageSegData", settings, Phase.TEST).nodes[0].layer
    assert isinstance(tested, ImageSegData)
    assert tested.pixels.factors == ()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("DenseImageData", "dense_image_data_param { batch_size: 1 }", "has no source"),
        (
            "DenseImageData",
            'dense_image_data_param { source: "l" batch_size: 1 new_height: 3 }',
            "new_height and new_width go together",
        ),
        (
            "DenseImageData",
            'dense_image_data_param { source: "l" batch_size: 1 crop_height: 3 crop_width: 3 label_divide_factor: 2 }',
            "label_divide_factor and a crop are both given",
        ),
        (
            "DenseImageData",
            'dense_image_data_param { source: "l" batch_size: 1 } transform_param { rotation: 3 }',
            "rotation is not done to pictures with a class for each pixel",
        ),
        (
            "ImageSegData",
            'image_data_param { source: "l" } transform_param { mean_file: "m" }',
            "takes no mean image",
        ),
        (
            "ImageSegData",
            'image_data_param { source: "l" } transform_param { scale_factors: 0 }',
            "a scale factor is not above 0 and at most 100",
        ),
        (
            "ImageSegData",
            'image_data_param { source: "l" } transform_param { scale_factors: inf }',
            "a scale factor is not above 0 and at most 100",
        ),
        (
            "DenseImageData",
            'dense_image_data_param { source: "l" batch_size: 1 new_height: 3 new_width: 9 label_divide_factor: 4 }',
            "classes 4 times smaller than 3x9 are less than a pixel",
        ),
        ("ImageData", 'image_data_param { source: "l" label_type: PIXEL }', "label_type PIXEL is not of this layer"),
    ],
)
def test_what_contradicts_itself_is_refused(kind: str, settings: str, message: str) -> None:
    with pytest.raises(NktcError) as caught:
        built(kind, settings)
    assert caught.value.message == f'{kind} "it": {message}'
