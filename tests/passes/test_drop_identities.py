"""Copies go; outputs keep their names."""

from __future__ import annotations

import pytest

from nktc import ir
from nktc.ir import Phase
from nktc.passes import drop_identities

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 3 dim: 3 } } }\n'
CONV = """
    layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 1 } }
"""


def test_layers_that_copy_go(weighted, golden, preserved):
    graph = weighted(
        X
        + CONV
        + """
        layer { name: "drop" type: "Dropout" bottom: "c" top: "c" }
        layer { name: "split" type: "Split" bottom: "c" top: "s" top: "t" }
        layer { name: "power" type: "Power" bottom: "s" top: "power" }
        layer { name: "scale" type: "Scale" bottom: "power" top: "scale" scale_param { bias_term: true } }
        layer { name: "tile" type: "Tile" bottom: "scale" top: "tile" tile_param { tiles: 1 } }
        layer { name: "pool" type: "Pooling" bottom: "tile" top: "pool" pooling_param { kernel_size: 1 } }
        layer { name: "same" type: "Reshape" bottom: "pool" top: "same"
          reshape_param { shape { dim: 0 dim: 4 dim: 3 dim: -1 } } }
        layer { name: "cast" type: "Cast" bottom: "same" top: "cast" }
        layer { name: "tanh" type: "TanH" bottom: "cast" top: "y" }
        layer { name: "relu" type: "ReLU" bottom: "t" top: "z" }
        """,
        {"scale.weight": 1, "scale.bias": 0},
    )
    smaller = drop_identities(graph)
    preserved(graph, smaller)
    golden(
        smaller,
        """
        net net TEST
          x f32[2 4 3 3] = Input
          c f32[2 4 3 3] = Convolution(outputs=4 kernel=1) <- x
          y f32[2 4 3 3] = TanH <- c  # tanh
          z f32[2 4 3 3] = ReLU <- c  # relu
        """,
    )


def test_what_changes_something_stays(weighted):
    graph = weighted(
        X
        + CONV
        + """
        layer { name: "power" type: "Power" bottom: "c" top: "power" power_param { shift: 0.1 } }
        layer { name: "scale" type: "Scale" bottom: "power" top: "scale" }
        layer { name: "pool" type: "Pooling" bottom: "scale" top: "pool" pooling_param { kernel_size: 1 stride: 2 } }
        layer { name: "tile" type: "Tile" bottom: "pool" top: "tile" tile_param { tiles: 2 } }
        layer { name: "turn" type: "Reshape" bottom: "tile" top: "turn"
          reshape_param { shape { dim: 0 dim: 4 dim: 8 } } }
        """,
        {"scale.weight": [1, 1, 1, 2]},
    )
    assert drop_identities(graph) is graph


def test_a_reshape_that_keeps_one_batch_alone_is_no_copy(weighted):
    graph = weighted(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }'
        'layer { name: "r" type: "Reshape" bottom: "x" top: "r" reshape_param { shape { dim: 2 dim: -1 } } }'
        'layer { name: "y" type: "ReLU" bottom: "r" top: "y" }'
    )
    assert drop_identities(graph) is graph


@pytest.mark.parametrize(
    ("flatten", "product"),
    [
        ('type: "Flatten"', ""),
        ('type: "Flatten" flatten_param { axis: 2 }', ""),
        ('type: "Flatten"', "axis: -1"),
        ('type: "Reshape" reshape_param { shape { dim: 0 dim: -1 } }', ""),
        ('type: "Reshape" reshape_param { shape { dim: 0 dim: 9 dim: 4 } }', "transpose: true"),
        ('type: "Reshape" reshape_param { shape { dim: -1 dim: 36 } }', ""),
    ],
)
def test_an_inner_product_flattens_by_itself(flatten, product, weighted, golden, preserved):
    graph = weighted(
        X + f'layer {{ name: "flat" bottom: "x" top: "flat" {flatten} }}\n'
        f'layer {{ name: "y" type: "InnerProduct" bottom: "flat" top: "y" '
        f"inner_product_param {{ num_output: 5 {product} }} }}"
    )
    smaller = drop_identities(graph)
    preserved(graph, smaller)
    assert [node.name for node in smaller] == ["x", "y"]
    assert smaller.node("y").works_for == ("flat", "y")


@pytest.mark.parametrize(
    ("flatten", "product"),
    [
        ('type: "Flatten" flatten_param { axis: 0 }', "axis: 0"),
        ('type: "Flatten" flatten_param { axis: 0 end_axis: 1 }', ""),
        ('type: "Reshape" reshape_param { shape { dim: 6 dim: -1 } }', ""),
        ('type: "Reshape" reshape_param { shape { dim: 2 dim: -1 } }', ""),
    ],
)
def test_a_flatten_that_takes_the_batch_along_stays(flatten, product, weighted):
    graph = weighted(
        X + f'layer {{ name: "flat" bottom: "x" top: "flat" {flatten} }}\n'
        f'layer {{ name: "y" type: "InnerProduct" bottom: "flat" top: "y" '
        f"inner_product_param {{ num_output: 5 {product} }} }}"
    )
    assert drop_identities(graph) is graph


def test_a_flatten_that_another_layer_reads_stays(weighted):
    graph = weighted(
        X + 'layer { name: "flat" bottom: "x" top: "flat" type: "Flatten" }'
        'layer { name: "y" type: "InnerProduct" bottom: "flat" top: "y" inner_product_param { num_output: 5 } }'
        'layer { name: "z" type: "ReLU" bottom: "flat" top: "z" }'
    )
    assert drop_identities(graph) is graph


def test_a_training_net_keeps_its_dropout(read):
    graph = read(X + 'layer { name: "d" type: "Dropout" bottom: "x" top: "y" }', Phase.TRAIN)
    assert drop_identities(graph) is graph


def test_copies_that_are_outputs_keep_their_names(weighted, preserved):
    graph = weighted(
        X
        + CONV
        + """
        layer { name: "drop" type: "Dropout" bottom: "c" top: "d" }
        layer { name: "split" type: "Split" bottom: "d" top: "s" top: "t" }
        layer { name: "raw" type: "Dropout" bottom: "x" top: "raw" }
        """
    )
    smaller = drop_identities(graph)
    preserved(graph, smaller)
    assert [node.name for node in smaller] == ["x", "c", "split", "raw"]
    assert ir.listing(drop_identities(smaller)) == ir.listing(smaller)
