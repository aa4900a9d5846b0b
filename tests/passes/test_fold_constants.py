"""What nothing fed has a part in is computed once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nktc.ir import Phase
from nktc.passes import fold_constants

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
P = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 } } }\n'


def test_layers_of_parameters_become_one(weighted, golden, preserved):
    graph = weighted(
        P
        + """
        layer { name: "e" type: "Exp" bottom: "p" top: "e" }
        layer { name: "ip" type: "InnerProduct" bottom: "e" top: "ip" inner_product_param { num_output: 3 } }
        """
        + X
        + 'layer { name: "y" type: "Eltwise" bottom: "ip" bottom: "x" top: "y" }',
        {"p.value": [[1, 2, 3], [4, 5, 6]]},
    )
    folded = fold_constants(graph)
    preserved(graph, folded)
    golden(
        folded,
        """
        net net TEST
          ip f32[2 3] = Parameter
          x  f32[2 3] = Input
          y  f32[2 3] = Eltwise <- ip, x
        """,
    )
    weight, bias = graph.arrays["ip.weight"], graph.arrays["ip.bias"]
    expected = np.exp([[1, 2, 3], [4, 5, 6]]) @ weight.T + bias
    np.testing.assert_allclose(folded.arrays["ip.value"], expected, rtol=1e-5)
    assert fold_constants(folded) is folded


def test_dummy_data_that_is_constant_becomes_parameters(weighted, golden, preserved):
    graph = weighted(
        X
        + """
        layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 2 dim: 3 }
          data_filler { type: "constant" value: 3 } data_filler { type: "constant" value: -1 } } }
        layer { name: "r" type: "ReLU" bottom: "b" top: "b" }
        layer { name: "y" type: "Concat" bottom: "x" bottom: "a" bottom: "b" top: "y" }
        """
    )
    folded = fold_constants(graph)
    preserved(graph, folded)
    golden(
        folded,
        """
        net net TEST
          x f32[2 3] = Input
          a f32[2 3] = Parameter  # d
          b f32[2 3] = Parameter  # r
          y f32[2 9] = Concat <- x, a, b
        """,
    )
    assert folded.arrays["d.value"].tolist() == [[3] * 3] * 2
    assert folded.arrays["r.value"].tolist() == [[0] * 3] * 2


def test_parts_of_one_layer_become_parameters_of_their_own(weighted, golden, preserved):
    graph = weighted(
        X
        + P
        + """
        layer { name: "s" type: "Slice" bottom: "p" top: "s1" top: "s2" slice_param { axis: 0 } }
        layer { name: "y" type: "Concat" bottom: "x" bottom: "s1" bottom: "s2" top: "y" concat_param { axis: 0 } }
        """
    )
    folded = fold_constants(graph)
    preserved(graph, folded)
    golden(
        folded,
        """
        net net TEST
          x  f32[2 3] = Input
          s1 f32[1 3] = Parameter  # s_s1
          s2 f32[1 3] = Parameter  # s_s2
          y  f32[4 3] = Concat(axis=0) <- x, s1, s2
        """,
    )


def test_an_output_that_is_constant_stays_one(weighted, preserved):
    graph = weighted(
        X
        + P
        + """
        layer { name: "e" type: "Exp" bottom: "p" top: "e" }
        layer { name: "f" type: "TanH" bottom: "e" top: "f" }
        layer { name: "y" type: "ReLU" bottom: "x" top: "y" }
        """
    )
    folded = fold_constants(graph)
    preserved(graph, folded)
    assert [node.type for node in folded] == ["Input", "Parameter", "ReLU"]


@pytest.mark.parametrize(
    "text",
    [
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 dim: 3 }'
        ' data_filler { type: "gaussian" } } }'
        'layer { name: "y" type: "Eltwise" bottom: "d" bottom: "x" top: "y" }',
        P + 'layer { name: "y" type: "Eltwise" bottom: "p" bottom: "x" top: "y" }',
        'layer { name: "y" type: "Power" bottom: "x" top: "y" power_param { scale: 0 shift: 4 } }',
    ],
    ids=["drawn at random", "a parameter alone", "computed from what is fed"],
)
def test_what_is_no_constant_stays(text, weighted):
    graph = weighted(X + text)
    assert fold_constants(graph) is graph


def test_weights_that_are_not_known_and_training_nets_are_left_alone(weighted, read):
    text = X + P + 'layer { name: "e" type: "Exp" bottom: "p" top: "e" }'
    bare = dataclasses.replace(weighted(text), arrays={})
    assert fold_constants(bare) is bare
    training = read(text, Phase.TRAIN)
    assert fold_constants(training) is training
