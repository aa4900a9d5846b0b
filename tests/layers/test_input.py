"""Input, DummyData, and the settings of Data and Dataset."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.errors import LayerError, Source
from nktc.ir import Graph, Phase
from nktc.layers import Data, Dataset, DummyData, Input, Part, find
from nktc.schema import LayerParameter
from nktc.text import bind, parse


def settings(kind: str, text: str, phase: Phase = Phase.TEST) -> object:
    """A layer's settings alone, without a net around it."""
    message = bind(parse(Source("layer", text)), LayerParameter)
    cls = find(kind)
    return cls.read(*(getattr(message, param) for param in cls.param), phase)


def test_a_single_shape_serves_every_top(read: Callable[..., Graph]) -> None:
    graph = read('layer { name: "i" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }')
    assert [value.shape for value in graph.inputs] == [(2, 3), (2, 3)]
    assert graph.nodes[0].layer == Input(((2, 3), (2, 3)))


def test_shapes_that_do_not_match_the_tops_are_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    shapes = "shape { dim: 2 } shape { dim: 3 }"
    assert refusal("Input", f"input_param {{ {shapes} }}", tops=3)[0] == "has 3 tops but 2 shapes"
    assert refusal("Input", "input_param { shape { dim: 0 } }") == ("a dimension is 0", "dim: 0")
    assert refusal("Input", "")[0] == "has no shape"


def test_dummy_data_fills_each_top_with_its_filler(layer: Callable[..., DummyData]) -> None:
    old = "num: 2 channels: 3 height: 1 width: 1 data_filler { value: 2.5 } data_filler { value: -1 }"
    it = layer("DummyData", f"dummy_data_param {{ {old} }}", tops=2)
    made = it.forward()
    assert [tuple(y.shape) for y in made] == [(2, 3, 1, 1)] * 2
    assert [set(y.flatten().tolist()) for y in made] == [{2.5}, {-1.0}]


def test_dummy_data_draws_anew_each_time(layer: Callable[..., DummyData]) -> None:
    it = layer("DummyData", 'dummy_data_param { shape { dim: 9 } data_filler { type: "gaussian" } }')
    assert not torch.equal(it.forward(), it.forward())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("num: 2 channels: 3", "has no height", "type"),
        ("num: 2 channels: 3 height: 0 width: 1", "height is 0", "height: 0"),
        (
            "num: 2 num: 2 num: 2 channels: 3 channels: 3 height: 1 width: 1",
            "num, channels, height and width differ in how often they are given",
            "num: 2",
        ),
        ("num: 2 num: 3 num: 4 channels: 3 height: 1 width: 1", "has 2 tops but 3 shapes", "type"),
        ("shape { dim: 1 } num: 2", "shape and num, channels, height, width are both given", "shape"),
        ("shape { dim: 1 } data_filler {} data_filler {} data_filler {}", "has 2 tops but 3 fillers", "data_filler"),
        (
            'shape { dim: 3 } data_filler { type: "bilinear" }',
            "the bilinear filler takes a square window, not weights of 3",
            "data_filler",
        ),
    ],
)
def test_dummy_data_that_cannot_be_made_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("DummyData", f"dummy_data_param {{ {settings} }}", tops=2)
    assert found == message
    assert at.startswith(blamed)


def test_data_takes_a_source_and_a_batch() -> None:
    text = 'data_param { source: "train_lmdb" batch_size: 8 backend: LMDB } transform_param { crop_size: 5 }'
    it = settings("Data", text, Phase.TRAIN)
    assert isinstance(it, Data)
    assert (it.source_path, it.batch, it.backend, it.transform.crop, it.phase) == (
        "train_lmdb",
        8,
        "LMDB",
        5,
        Phase.TRAIN,
    )


def test_dataset_splits_by_phase_unless_told() -> None:
    named = 'dataset_param { name: "digits" batch_size: 4 %s }'
    found = [settings("Dataset", named % told, Phase.TRAIN) for told in ("", "split: TEST")]
    assert [it.split for it in found if isinstance(it, Dataset)] == [Phase.TRAIN, Phase.TEST]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("Data", "", "has no source"),
        ("Data", 'data_param { source: "a" }', "has no batch_size"),
        ("Dataset", "", "names no data set"),
        (
            "Data",
            'data_param { source: "a" batch_size: 1 } transform_param { mean_file: "m" mean_value: 1 }',
            "mean_file and mean_value are both given",
        ),
    ],
)
def test_what_is_missing_is_said(kind: str, text: str, message: str) -> None:
    with pytest.raises(LayerError) as refused:
        settings(kind, text)
    assert refused.value.message == message


SOURCES = {
    "Data": 'data_param { source: "a" batch_size: 1 }',
    "Dataset": 'dataset_param { name: "digits" batch_size: 1 }',
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_data_layer_reads_the_part_of_its_phase_unless_told(kind: str) -> None:
    def read(split: str, phase: Phase) -> Part | None:
        it = settings(kind, f"{SOURCES[kind]} {split}", phase)
        assert isinstance(it, Data | Dataset)
        return it.part

    shares = "validation: 0.25 test: 0.125 seed: 3"
    assert read(f"split_param {{ {shares} }}", Phase.TRAIN) == Part("TRAIN", 0.25, 0.125, 3)
    assert read(f"split_param {{ {shares} }}", Phase.TEST) == Part("VALIDATION", 0.25, 0.125, 3)
    assert read(f"split_param {{ part: TEST {shares} }}", Phase.TRAIN) == Part("TEST", 0.25, 0.125, 3)
    assert read("split_param { part: TRAIN }", Phase.TEST) == Part("TRAIN")
    assert read("split_param {}", Phase.TEST) is None
    assert read("", Phase.TRAIN) is None


def test_parts_of_a_dataset_are_of_its_training_split_unless_told() -> None:
    split = "split_param { validation: 0.25 }"
    for told, expected in (("", Phase.TRAIN), ("split: TEST", Phase.TEST)):
        it = settings("Dataset", f'dataset_param {{ name: "digits" batch_size: 1 {told} }} {split}', Phase.TEST)
        assert isinstance(it, Dataset)
        assert it.split is expected


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(
    ("split", "message", "blamed"),
    [
        ("validation: 1", "validation is 1", "validation: 1"),
        ("test: -0.1", "test is -0.1", "test: -0.1"),
        ("validation: nan", "validation is nan", "validation: nan"),
        ("validation: 0.9 test: 0.1", "validation 0.9 and test 0.1 leave no records to train with", "test: 0.1"),
        ("part: VALIDATION test: 0.5", "reads its VALIDATION part, whose share is 0", "part: VALIDATION"),
        ("part: TEST validation: 0.5", "reads its TEST part, whose share is 0", "part: TEST"),
        ("seed: 1", "reads its VALIDATION part, whose share is 0", "split_param { seed: 1 }"),
    ],
)
def test_a_split_that_cannot_be_is_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, split: str, message: str, blamed: str
) -> None:
    assert refusal(kind, f"{SOURCES[kind]} split_param {{ {split} }}", tops=2) == (message, blamed)


@pytest.mark.parametrize("kind", ["ReLU", "HDF5Data"])
def test_a_layer_without_records_to_split_takes_no_split(refusal: Callable[..., tuple[str, str]], kind: str) -> None:
    inputs = () if kind == "HDF5Data" else ((2, 3),)
    given = "split_param { validation: 0.5 }"
    assert refusal(kind, given, *inputs) == ("takes no split_param", given)


def test_settings_of_nktcs_own_are_refused_where_caffes_are_passed_over(
    layer: Callable[..., object], refusal: Callable[..., tuple[str, str]]
) -> None:
    layer("ReLU", "pooling_param { kernel_size: 3 }", (2, 3))
    assert refusal("ReLU", "gelu_param { }", (2, 3)) == ("takes no gelu_param", "gelu_param { }")
