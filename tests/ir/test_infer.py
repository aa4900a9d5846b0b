"""Where a refusal is said to be, and the refusals that no single layer makes."""

from __future__ import annotations

import pytest

from nktc.errors import NktcError


def refusal(read, net: str) -> NktcError:
    with pytest.raises(NktcError) as caught:
        read(net)
    return caught.value


def test_a_refusal_tells_the_field_and_where_the_inputs_are_made(read, golden):
    golden(
        refusal(
            read,
            """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 5 } } }
layer {
  name: "p" type: "Pooling" bottom: "x" top: "y"
  pooling_param { kernel_size: 9 }
}
""",
        ),
        """
        net.prototxt:4:19: error: Pooling "p": window 9x9 is larger than its input 5x5  [shape]
            4 |   pooling_param { kernel_size: 9 }
              |                   ^~~~~~~~~~~~~~
        net.prototxt:1:9: note: its input "x" is made here: x [1 3 5 5]
        help: raise pad
        """,
    )


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ('name: "l" type: "ReLU" bottom: "x" bottom: "x" top: "y"', "takes 1 bottom, not 2"),
        ('name: "l" type: "Concat" top: "y"', "takes 1 or more bottoms, not 0"),
        ('name: "l" type: "ReLU" bottom: "x"', "makes 1 top, not 0"),
        ('name: "l" type: "Input"', "makes 1 or more tops, not 0"),
        (
            'name: "l" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2000000000 }',
            "its output would be 2x2000000000, more than 2147483647 numbers",
        ),
        (
            'name: "l" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 800000000 }',
            "its weight would be 800000000x3, more than 2147483647 numbers",
        ),
    ],
)
def test_refusals_of_the_layer_as_a_whole(layers, said, read):
    start = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
    assert said in refusal(read, f"{start}layer {{ {layers} }}").message


def test_an_input_beyond_counting_is_refused_by_the_first_that_takes_it(read):
    error = refusal(
        read,
        """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1000000000 dim: 1000000000 } } }
        layer { name: "r" type: "ReLU" bottom: "x" top: "y" }
        """,
    )
    assert error.message == 'ReLU "r": its input is 1000000000x1000000000, more than 2147483647 numbers'
    assert (error.at.line, error.notes[0].at.line) == (3, 2)
