"""The settings of AnnotatedData, HDF5Data, ImageData, MemoryData and WindowData."""

from __future__ import annotations

from typing import Any

import pytest

from nktc import reader
from nktc.errors import LayerError, NktcError, Source
from nktc.ir import Phase, Transform
from nktc.layers import AnnotatedData, Data, HDF5Data, ImageData, MemoryData, Part, WindowData, explain, find
from nktc.schema import LayerParameter
from nktc.text import bind, parse


def settings(kind: str, text: str, phase: Phase = Phase.TRAIN) -> Any:
    """A layer's settings alone, without a net around it."""
    message = bind(parse(Source("layer", text)), LayerParameter)
    cls = find(kind)
    return cls.read(*(getattr(message, param) for param in cls.param), phase)


def test_hdf5_data_takes_a_dataset_a_top() -> None:
    found = settings("HDF5Data", 'top: "b" top: "a" hdf5_data_param { source: "l.txt" batch_size: 3 shuffle: true }')
    assert found == HDF5Data("l.txt", 3, ("b", "a"), shuffle=True)


def test_image_data_has_a_batch_of_one_unless_said() -> None:
    assert settings("ImageData", 'image_data_param { source: "l.txt" }') == ImageData("l.txt", phase=Phase.TRAIN)


def test_image_data_has_every_setting() -> None:
    text = """image_data_param { source: "l" batch_size: 4 shuffle: true new_height: 8 new_width: 9 is_color: false
        root_folder: "r/" rand_skip: 5 } transform_param { crop_size: 6 mirror: true }"""
    transform = Transform(mirror=True, crop=6)
    assert settings("ImageData", text) == ImageData("l", 4, False, (8, 9), "r/", True, 5, transform, Phase.TRAIN)


def test_memory_data_has_the_shapes_of_its_settings() -> None:
    found = settings("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }")
    assert isinstance(found, MemoryData)
    assert found.shape() == [(2, 3, 4, 5), (2,)]
    named = settings("MemoryData", 'memory_data_param { batch_size: 2 source: "m.npz" shuffle: true }')
    assert named == MemoryData((), 2, phase=Phase.TRAIN, source_path="m.npz", shuffle=True)
    with pytest.raises(LayerError, match="its shape is known only from what feeds it"):
        named.shape()


def test_annotated_data_has_every_setting() -> None:
    text = """data_param { source: "db" batch_size: 4 backend: LMDB shuffle: true on_bad_record: SKIP }
        annotated_data_param { label_map_file: "map" max_boxes: 9 } split_param { validation: 0.5 records: 7 }
        transform_param { resize_height: 5 resize_width: 6 mean_value: 3 }"""
    found = settings("AnnotatedData", text)
    transform, part = Transform(mean_values=(3,), resize=(5, 6)), Part("TRAIN", 0.5, records=7)
    source = Data("db", 4, "LMDB", transform, Phase.TRAIN, part=part, shuffle=True, skips=True)
    assert found == AnnotatedData(source, 9, "map")


def test_window_data_has_every_setting() -> None:
    text = """window_data_param { source: "w" batch_size: 4 crop_mode: "square" fg_threshold: 0.75 bg_threshold: 0.25
        fg_fraction: 0.5 context_pad: 16 root_folder: "r/" cache_images: true on_bad_record: SKIP }
        transform_param { crop_size: 227 }"""
    found = settings("WindowData", text)
    transform = Transform(crop=227)
    assert found == WindowData("w", 4, "square", 0.75, 0.25, 0.5, 16, "r/", True, transform, Phase.TRAIN, True)
    assert found.shape() == [(4, 3, 227, 227), (4,)]


def test_the_old_fields_of_a_transform_are_read_from_an_old_net() -> None:
    text = """layers { name: "w" type: WINDOW_DATA top: "x" top: "t"
        window_data_param { source: "w" batch_size: 4 crop_size: 9 mirror: true scale: 0.5 } }"""
    node = reader.build(reader.parse_net(text), Phase.TEST).nodes[0]
    assert isinstance(node.layer, WindowData)
    assert node.layer.transform == Transform(scale=0.5, mirror=True, crop=9)
    assert [value.shape for value in node.outputs] == [(4, 3, 9, 9), (4,)]


CROP = "transform_param { crop_size: 9 }"


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("resize_height: 4 resize_width: 4", "resize_height"),
        ("rotation: 5", "rotation"),
        ("random_resized_crop {}", "random_resized_crop"),
        ("color_jitter {}", "color_jitter"),
        ("cutout: 2", "cutout"),
        ("random_erasing {}", "random_erasing"),
        ("mixup: 0.2", "mixup"),
        ("cutmix: 0.2", "cutmix"),
        ("force_gray: true", "force_gray"),
    ],
)
def test_what_is_not_done_to_windows_is_refused(setting: str, field: str) -> None:
    window = 'window_data_param {{ source: "w" batch_size: 1 }} transform_param {{ crop_size: 9 {} }}'
    with pytest.raises(LayerError) as refusal:
        settings("WindowData", window.format(setting))
    assert (refusal.value.message, refusal.value.field) == (f"{field} is not done to windows", field)
    assert settings("WindowData", window.format("rotation: 0 force_gray: false")).transform.crop == 9


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("crop_size: 4", "crop_size would move its boxes"),
        ("mirror: true", "mirror would move its boxes"),
        ("rotation: 5", "rotation would move its boxes"),
        ("crop_size: 4 random_resized_crop {}", "crop_size would move its boxes"),
        ("resize_height: 4 resize_width: 4 resize_mode: FILL", "resize_mode would move its boxes"),
        ("mixup: 0.2", "mixup mixes labels, and boxes are not mixed"),
    ],
)
def test_what_would_move_boxes_is_refused(setting: str, said: str) -> None:
    text = f'data_param {{ source: "db" batch_size: 1 }} transform_param {{ {setting} }}'
    with pytest.raises(LayerError) as refusal:
        settings("AnnotatedData", text)
    assert refusal.value.message == said
    with pytest.raises(LayerError, match="max_boxes is 0"):
        settings("AnnotatedData", "annotated_data_param { max_boxes: 0 }")


@pytest.mark.parametrize(
    ("kind", "text", "said", "field"),
    [
        ("HDF5Data", "hdf5_data_param { batch_size: 1 }", "has no source", "hdf5_data_param"),
        ("HDF5Data", 'hdf5_data_param { source: "l" }', "has no batch_size", "batch_size"),
        (
            "HDF5Data",
            'hdf5_data_param { source: "l" batch_size: 1 } transform_param { scale: 2 }',
            "transforms nothing, but has a transform_param",
            "transform_param",
        ),
        ("ImageData", "", "has no source", "image_data_param"),
        ("ImageData", 'image_data_param { source: "l" batch_size: 0 }', "has no batch_size", "batch_size"),
        (
            "ImageData",
            'image_data_param { source: "l" new_width: 4 }',
            "new_height and new_width go together",
            "new_width",
        ),
        (
            "ImageData",
            'image_data_param { source: "l" } transform_param { resize_height: 4 resize_width: 4 }',
            "is resized by new_height and new_width",
            "resize_height",
        ),
        ("MemoryData", "memory_data_param { channels: 3 height: 4 width: 5 }", "has no batch_size", "batch_size"),
        ("MemoryData", "memory_data_param { batch_size: 3 channels: 3 height: 4 }", "has no width", "width"),
        ("WindowData", f"window_data_param {{ batch_size: 1 }} {CROP}", "has no source", "window_data_param"),
        ("WindowData", f'window_data_param {{ source: "w" }} {CROP}', "has no batch_size", "batch_size"),
        ("WindowData", 'window_data_param { source: "w" batch_size: 1 }', "has no crop_size", "crop_size"),
        (
            "WindowData",
            f'window_data_param {{ source: "w" batch_size: 1 crop_mode: "wrap" }} {CROP}',
            'unknown crop_mode "wrap"',
            "crop_mode",
        ),
        (
            "WindowData",
            f'window_data_param {{ source: "w" batch_size: 1 fg_fraction: 1.5 }} {CROP}',
            "fg_fraction 1.5 is outside 0 to 1",
            "fg_fraction",
        ),
        (
            "WindowData",
            f'window_data_param {{ source: "w" batch_size: 1 fg_threshold: nan }} {CROP}',
            "fg_threshold nan is outside 0 to 1",
            "fg_threshold",
        ),
        (
            "WindowData",
            f'window_data_param {{ source: "w" batch_size: 1 context_pad: 5 }} {CROP}',
            "context_pad 5 on both sides leaves nothing of crop_size 9",
            "context_pad",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(kind: str, text: str, said: str, field: str) -> None:
    with pytest.raises(LayerError) as refusal:
        settings(kind, text)
    assert (refusal.value.message, refusal.value.field) == (said, field)


@pytest.mark.parametrize("kind", ["ImageData", "MemoryData", "WindowData"])
def test_a_label_is_not_left_out(kind: str) -> None:
    with pytest.raises(NktcError, match="makes 2 tops, not 1"):
        reader.build(reader.parse_net(f'layer {{ name: "d" type: "{kind}" top: "x" }}'), Phase.TEST)


def test_its_tops_are_no_setting_to_explain() -> None:
    assert "top {" not in explain("HDF5Data")
    assert "hdf5_data_param {" in explain("HDF5Data")
