"""The settings of TableData."""

from __future__ import annotations

import pytest

from nktc import reader
from nktc.errors import LayerError, NktcError, Source
from nktc.ir import Feed, Phase
from nktc.layers import Part, TableData
from nktc.schema import LayerParameter
from nktc.text import bind, parse

LEAST = 'source: "t.csv" batch_size: 4'


def settings(text: str, more: str = "", phase: Phase = Phase.TRAIN) -> TableData:
    message = bind(parse(Source("layer", f"table_data_param {{ {text} }} {more}")), LayerParameter)
    return TableData.read(*(getattr(message, param) for param in TableData.param), phase)


def test_it_has_every_setting() -> None:
    text = f"""{LEAST} shuffle: true feature: "a" feature: "b" exclude: "c" target: "d" target: "e" standardize: true
        standardize_target: true missing: DROP"""
    found = settings(text, "split_param { validation: 0.5 seed: 3 records: 9 }")
    part = Part("TRAIN", 0.5, 0, 3, 9)
    expected = TableData("t.csv", 4, ("d", "e"), ("a", "b"), ("c",), False, True, True, True, "DROP", Phase.TRAIN, part)
    assert found == expected
    assert settings(f'{LEAST} task: CLASSIFICATION target: "d"').classes


@pytest.mark.parametrize(
    ("text", "more", "said", "field"),
    [
        ("batch_size: 1", "", "has no source", "table_data_param"),
        ('source: "t"', "", "has no batch_size", "batch_size"),
        (LEAST, "transform_param { scale: 2 }", "has no pictures to transform", "transform_param"),
        (
            f'{LEAST} task: CLASSIFICATION target: "a" target: "b"',
            "",
            "CLASSIFICATION has one target, not 2",
            "target",
        ),
        (
            f'{LEAST} task: CLASSIFICATION target: "a" standardize_target: true',
            "",
            "standardize_target is for REGRESSION",
            "standardize_target",
        ),
        (f'{LEAST} target: "a" feature: "a"', "", 'column "a" is named as target and as feature', "feature"),
        (f'{LEAST} target: "a" exclude: "a"', "", 'column "a" is named as target and as exclude', "exclude"),
        (f'{LEAST} feature: "a" feature: "a"', "", 'column "a" is named twice as feature', "feature"),
    ],
)
def test_settings_that_cannot_be_are_refused(text: str, more: str, said: str, field: str) -> None:
    with pytest.raises(LayerError) as refusal:
        settings(text, more)
    assert (refusal.value.message, refusal.value.field) == (said, field)


def test_two_tops_need_a_target() -> None:
    text = 'layer {{ name: "d" type: "TableData" top: "x" {} table_data_param {{ source: "t" batch_size: 1 }} }}'
    with pytest.raises(NktcError, match="has two tops, but no target"):
        reader.build(reader.parse_net(text.format('top: "y"')), Phase.TEST)
    one = reader.build(reader.parse_net(text.format("")), Phase.TEST, feeds=lambda layer: Feed(((1, 3),)))
    assert [value.shape for value in one.outputs] == [(1, 3)]
