"""Factors and shifts become one."""

from __future__ import annotations

import pytest

from nktc.ir import Phase
from nktc.passes import fold_power

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 5 dim: 5 } } }\n'
ENDS = 'layer { name: "r" type: "ReLU" bottom: "y" top: "r" }\n'


def chain(*layers: str) -> str:
    """Layers in a row from x to y; each is a type and its settings."""
    names = ["x", *(f"l{i}" for i in range(1, len(layers))), "y"]
    return "".join(
        f'layer {{ name: "{after}" bottom: "{before}" top: "{after}" type: {layer} }}\n'
        for layer, before, after in zip(layers, names, names[1:], strict=False)
    )


POWER = '"Power" power_param { scale: 2 shift: 3 }'
SCALE = '"Scale" scale_param { bias_term: true }'


def test_a_chain_is_one_scale(weighted, golden, preserved):
    text = chain(POWER, '"BatchNorm"', SCALE, '"Bias"', POWER)
    graph = weighted(X + text + ENDS)
    folded = fold_power(graph)
    preserved(graph, folded)
    golden(
        folded,
        """
        net net TEST
          x f32[2 4 5 5] = Input
          y f32[2 4 5 5] = Scale(bias=True) <- x  # l1
          r f32[2 4 5 5] = ReLU <- y
        """,
    )
    assert folded.node("l1").works_for == ("l1", "l2", "l3", "l4", "y")


def test_single_numbers_in_a_row_are_one_power(weighted, golden, preserved):
    graph = weighted(X + chain(POWER, '"Power" power_param { scale: -0.5 shift: 1 }', '"Power"') + ENDS)
    folded = fold_power(graph)
    preserved(graph, folded)
    golden(
        folded,
        """
        net net TEST
          x f32[2 4 5 5] = Input
          y f32[2 4 5 5] = Power(scale=-1 shift=-0.5) <- x  # l1
          r f32[2 4 5 5] = ReLU <- y
        """,
    )


@pytest.mark.parametrize(
    ("first", "second", "settings"),
    [
        ('"Scale" scale_param { axis: 1 num_axes: 3 }', SCALE, (1, 3, True)),
        ('"Scale" scale_param { axis: -1 }', '"Bias" bias_param { axis: 3 }', (3, 1, True)),
        ('"Scale" scale_param { num_axes: 0 }', SCALE, (1, 1, True)),
        (SCALE, '"Scale" scale_param { axis: 0 num_axes: -1 }', (0, 4, True)),
        ('"Scale"', '"Scale"', (1, 1, False)),
    ],
)
def test_what_runs_along_other_axes_is_one_scale_where_that_is_no_larger(first, second, settings, weighted, preserved):
    graph = weighted(X + chain(first, second) + ENDS)
    folded = fold_power(graph)
    preserved(graph, folded)
    layer = folded.node(folded.nodes[1].name).layer
    assert (layer.axis, layer.num_axes, layer.bias) == settings


@pytest.mark.parametrize(
    "text",
    [
        chain('"Scale"', '"Scale" scale_param { axis: 2 }'),
        chain('"Scale"', '"Scale" scale_param { axis: 3 }'),
        chain('"Power" power_param { power: 2 }', POWER),
        chain(POWER, '"Power" power_param { scale: 0 shift: 1 }'),
        chain(POWER, '"BatchNorm" batch_norm_param { use_global_stats: false }'),
        chain(SCALE),
        chain(POWER, SCALE) + 'layer { name: "other" type: "TanH" bottom: "l1" top: "other" }',
        chain(POWER, '"Convolution" convolution_param { num_output: 2 kernel_size: 3 pad: 1 }'),
    ],
    ids=[
        "rows and channels",
        "columns and channels",
        "a square",
        "a constant",
        "normalised by the batch",
        "one alone",
        "read by another too",
        "a shift before padding",
    ],
)
def test_what_is_no_chain_stays(text, weighted):
    graph = weighted(X + text + ENDS)
    assert fold_power(graph) is graph


def test_powers_fold_into_the_layer_beside_them(weighted, golden, preserved):
    convolution = '"Convolution" convolution_param { num_output: 4 kernel_size: 3 }'
    graph = weighted(X + chain(POWER, convolution, POWER, '"InnerProduct" inner_product_param { num_output: 3 }'))
    folded = fold_power(graph)
    preserved(graph, folded)
    golden(
        folded,
        """
        net net TEST
          x  f32[2 4 5 5] = Input
          l3 f32[2 4 3 3] = Convolution(outputs=4 kernel=3) <- x  # l2
          y  f32[2 3]     = InnerProduct(outputs=3) <- l3
        """,
    )
    assert folded.node("l2").works_for == ("l1", "l2", "l3")


def test_a_scale_is_taken_by_both_of_its_bottoms_alike_and_stays(weighted):
    graph = weighted(
        X + chain(POWER) + 'layer { name: "s" type: "Scale" bottom: "y" bottom: "y" top: "s" scale_param { axis: 0 } }'
    )
    assert fold_power(graph) is graph


def test_what_overflows_stays(weighted):
    graph = weighted(X + chain(*['"Power" power_param { scale: 1e30 }'] * 2) + ENDS)
    assert fold_power(graph) is graph


def test_a_training_net_is_left_alone(read):
    graph = read(X + chain(POWER, SCALE) + ENDS, Phase.TRAIN)
    assert fold_power(graph) is graph
