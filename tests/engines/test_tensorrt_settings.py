"""What may be said of a TensorRT engine, typed and as texts."""

from __future__ import annotations

import json

import pytest

from nktc.engines.tensorrt_settings import TensorRtSettings
from nktc.errors import NktcError

read = TensorRtSettings.read
PROFILES = (
    'it is the least, usual and largest batch, as in "1,8,32", or shapes of an input, as in "x:1x3x8x8,2x3x8x8,4x3x8x8"'
)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"workspace": "4G"}, "workspace", 4 << 30),
        ({"workspace": 1000}, "workspace", 1000),
        ({"builder_level": "0"}, "builder_level", 0),
        ({"cuda_graph": "True"}, "cuda_graph", True),
        ({"tf32": False}, "tf32", False),
        ({"hardware_compatibility": "same-capability"}, "hardware_compatibility", "same-capability"),
        ({"profiles": "1,8,32"}, "profiles", {"": ((1,), (8,), (32,))}),
        ({"profiles": "a:b:1x3,2x3,4x3;c:1,1,1"}, "profiles", {"a:b": ((1, 3), (2, 3), (4, 3)), "c": ((1,),) * 3}),
        ({"profiles": {"x": (1, 2, [4])}}, "profiles", {"x": ((1,), (2,), (4,))}),
    ],
)
def test_settings_are_read_typed_and_as_texts(given, name, value):
    found = read(given)
    assert getattr(found, name) == value
    assert read(json.loads(json.dumps(found.plain()))) == found


@pytest.mark.parametrize(
    ("given", "help"),
    [
        ({"workspace": "4T"}, "it is a number of bytes, such as 512M or 4G"),
        ({"workspace": -1}, "it is a number of bytes, such as 512M or 4G"),
        ({"workspace": True}, "it is a number of bytes, such as 512M or 4G"),
        ({"builder_level": 6}, "it is a number from 0 to 5"),
        ({"builder_level": "high"}, "it is a number from 0 to 5"),
        ({"tf32": "off"}, "it is true or false"),
        ({"cuda_graph": 1}, "it is true or false"),
        ({"hardware_compatibility": "all"}, "it is one of none, ampere+, same-capability"),
        ({"profiles": "1,8"}, None),
        ({"profiles": "8,4,2"}, None),
        ({"profiles": "0,1,2"}, None),
        ({"profiles": "1x3,8,32"}, None),
        ({"profiles": 3}, None),
        ({"profiles": {"x": 3}}, None),
        ({"profiles": ""}, None),
    ],
)
def test_a_value_that_is_none_is_refused(given, help):
    (name, value), *_ = given.items()
    with pytest.raises(NktcError) as caught:
        read(given)
    assert caught.value.message == f'the setting {name} is "{value}"'
    assert caught.value.help == (help or PROFILES)


def test_an_unknown_setting_is_refused_with_a_near_name():
    with pytest.raises(NktcError) as caught:
        read({"work_space": "4G"})
    assert str(caught.value) == (
        'error: the backend tensorrt has no setting "work_space"\nhelp: did you mean "workspace"?'
    )


def test_a_batch_bounds_axis_0_and_a_shape_all():
    assert read({}).bounds("x", (-1, 3, 8)) == ((1, 3, 8), (8, 3, 8), (32, 3, 8))
    chosen = read({"profiles": "x:2x3x4,2x3x8,2x3x16;1,2,4"})
    assert chosen.bounds("x", (2, 3, -1)) == ((2, 3, 4), (2, 3, 8), (2, 3, 16))
    assert chosen.bounds("y", (-1, 7)) == ((1, 7), (2, 7), (4, 7))


def test_an_input_of_open_size_wants_shapes():
    with pytest.raises(NktcError) as caught:
        read({}).bounds("x", (-1, 3, -1))
    assert caught.value.message == "the input x leaves more than its batch open"
    assert caught.value.help == 'give its least, usual and largest shape, as in profiles = "x:1x3x1,8x3x8,32x3x32"'
