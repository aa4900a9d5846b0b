from typing import Any

import pytest

from nktc.errors import NktcError, Source
from nktc.schema import Datum, NetParameter, SolverParameter
from nktc.text import bind, parse


def bound(text: str, cls: type[Any] = NetParameter) -> Any:
    return bind(parse(Source("net.prototxt", text)), cls)


def refusal(text: str, cls: type[Any] = NetParameter) -> str:
    with pytest.raises(NktcError) as caught:
        bound(text, cls)
    return str(caught.value)


def test_every_kind_of_value_lands_in_the_message() -> None:
    net = bound("""
        name: "n" force_backward: t
        state { phase: 0 level: -0x10 }
        layer { loss_weight: [1, .5f, inf, NaN] pooling_param { pool: AVE kernel_size: 017 }
                clip_param { min: -inf max: 6 } }
    """)
    (layer,) = net.layer
    assert (net.name, net.force_backward, net.state.phase, net.state.level) == ("n", True, 0, -16)
    assert [*map(str, layer.loss_weight)] == ["1.0", "0.5", "inf", "nan"]
    assert (layer.pooling_param.pool, layer.pooling_param.kernel_size) == (1, 15)
    assert (layer.clip_param.min, layer.clip_param.max) == (float("-inf"), 6)
    assert bound(r'data: "\377\0"', Datum).data == b"\xff\0"


def test_an_empty_message_is_present() -> None:
    assert bound("layer { relu_param { } }").layer[0].HasField("relu_param")


def test_our_own_fields_are_read() -> None:
    net = bound("""
        label_file: "names.txt"
        layer { type: "Dataset" dataset_param { name: "mnist" split: TEST subtract_mean: CHANNEL }
                transform_param { channel_order: RGB } }
    """)
    assert (net.label_file, net.layer[0].dataset_param.subtract_mean) == ("names.txt", 1)
    assert net.layer[0].transform_param.channel_order == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "layer { convolution_param { num_outputs: 20 } }",
            """\
net.prototxt:1:29: error: unknown field "num_outputs" in convolution_param  [unknown-field]
    1 | layer { convolution_param { num_outputs: 20 } }
      |                             ^~~~~~~~~~~~~~~
help: did you mean "num_output"?""",
        ),
        (
            "layer { kernel_size: 3 pooling_param { } }",
            """\
net.prototxt:1:9: error: unknown field "kernel_size" in layer  [unknown-field]
    1 | layer { kernel_size: 3 pooling_param { } }
      |         ^~~~~~~~~~~~~~
help: it belongs in pooling_param""",
        ),
        (
            'layer {\n  relu_param {\n  top: "y"\n}\n}',
            """\
net.prototxt:3:3: error: unknown field "top" in relu_param  [unknown-field]
    3 |   top: "y"
      |   ^~~~~~~~
help: it belongs to layer: is a "}" missing before it?""",
        ),
        (
            "layers { type: CONV }",
            """\
net.prototxt:1:16: error: unknown layer type CONV  [unknown-type]
    1 | layers { type: CONV }
      |                ^~~~
help: did you mean "CONVOLUTION"?""",
        ),
        (
            "layer { pooling_param { pool: MEAN } }",
            """\
net.prototxt:1:31: error: pool takes MAX, AVE or STOCHASTIC, not MEAN  [wrong-value]
    1 | layer { pooling_param { pool: MEAN } }
      |                               ^~~~""",
        ),
        (
            'layer { pooling_param { pool: "MAX" } }',
            """\
net.prototxt:1:31: error: pool takes MAX, AVE or STOCHASTIC, not "MAX"  [wrong-value]
    1 | layer { pooling_param { pool: "MAX" } }
      |                               ^~~~~
help: write MAX, without quotes""",
        ),
        (
            "layer { name: conv1 }",
            """\
net.prototxt:1:15: error: name takes a text in quotes, not conv1  [wrong-value]
    1 | layer { name: conv1 }
      |               ^~~~~
help: write "conv1\"""",
        ),
        (
            "layer { convolution_param { num_output: -3 } }",
            """\
net.prototxt:1:41: error: num_output takes a whole number from 0, not -3  [wrong-value]
    1 | layer { convolution_param { num_output: -3 } }
      |                                         ^~""",
        ),
        (
            "layer { convolution_param { num_output: 4294967296 } }",
            """\
net.prototxt:1:41: error: num_output takes a whole number from 0 up to 4294967295, not 4294967296  [wrong-value]
    1 | layer { convolution_param { num_output: 4294967296 } }
      |                                         ^~~~~~~~~~""",
        ),
        (
            "layer { concat_param { axis: 1.0 } }",
            """\
net.prototxt:1:30: error: axis takes a whole number, not 1.0  [wrong-value]
    1 | layer { concat_param { axis: 1.0 } }
      |                              ^~~""",
        ),
        (
            'layer { batch_norm_param { eps: "1e-5" } }',
            """\
net.prototxt:1:33: error: eps takes a number, not "1e-5"  [wrong-value]
    1 | layer { batch_norm_param { eps: "1e-5" } }
      |                                 ^~~~~~
help: write 1e-5, without quotes""",
        ),
        (
            "force_backward: yes",
            """\
net.prototxt:1:17: error: force_backward takes true or false, not yes  [wrong-value]
    1 | force_backward: yes
      |                 ^~~""",
        ),
        (
            "layer: 5",
            """\
net.prototxt:1:8: error: layer takes { ... }, not 5  [wrong-value]
    1 | layer: 5
      |        ^""",
        ),
        (
            'layer { name { text: "x" } }',
            """\
net.prototxt:1:9: error: name takes a text in quotes, not { ... }  [wrong-value]
    1 | layer { name { text: "x" } }
      |         ^~~~~~~~~~~~~~~~~~""",
        ),
        (
            "layer {\n  clip_param { min: 0 }\n}",
            """\
net.prototxt:2:3: error: clip_param lacks max  [missing-field]
    2 |   clip_param { min: 0 }
      |   ^~~~~~~~~~~~""",
        ),
        (
            "layer { pooling_param { kernel_h: 3 kernel_h: 4 } }",
            """\
net.prototxt:1:37: error: kernel_h is given twice in pooling_param  [given-twice]
    1 | layer { pooling_param { kernel_h: 3 kernel_h: 4 } }
      |                                     ^~~~~~~~~~~
net.prototxt:1:25: note: it is first given here""",
        ),
        (
            'name: "\\377"',
            """\
net.prototxt:1:7: error: name takes text in UTF-8, which "\\xff" is not  [wrong-value]
    1 | name: "\\377"
      |       ^~~~~~""",
        ),
    ],
)
def test_a_mistake_is_refused_at_its_place(text: str, expected: str) -> None:
    assert refusal(text) == expected


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "layer { clip_param { max: x }\n nam: 1 }\nforce_backward: 2"
    lines = [line for line in refusal(text).split("\n") if "error" in line]
    assert lines == [
        "net.prototxt:1:9: error: clip_param lacks min  [missing-field]",
        "net.prototxt:1:27: error: max takes a number, not x  [wrong-value]",
        'net.prototxt:2:2: error: unknown field "nam" in layer  [unknown-field]',
        "net.prototxt:3:17: error: force_backward takes true or false, not 2  [wrong-value]",
    ]


def test_the_outermost_message_is_called_what_it_is() -> None:
    assert "in the solver  [unknown-field]\n" in refusal("base_learning_rate: 1", SolverParameter)
    assert "in the net  [unknown-field]\n" in refusal("base_lr: 1", NetParameter)
