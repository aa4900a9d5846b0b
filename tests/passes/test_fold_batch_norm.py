"""BatchNorm, Scale and Bias go into the weights beside them, where that is exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nktc.ir import Grid, Phase, rewrite
from nktc.passes import fold_batch_norm

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 5 dim: 5 } } }\n'
NORM = """
    layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
    layer { name: "scale" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
    layer { name: "bias" type: "Bias" bottom: "c" top: "b" }
    layer { name: "relu" type: "ReLU" bottom: "b" top: "b" }
"""


def layer(kind: str, settings: str, bottom: str = "x", more: str = "") -> str:
    param = "inner_product_param" if kind == "InnerProduct" else "convolution_param"
    return f'layer {{ name: "c" type: "{kind}" bottom: "{bottom}" top: "c" {param} {{ {settings} }} {more} }}\n'


def test_a_convolution_does_the_work_of_what_follows(weighted, golden, preserved):
    graph = weighted(X + layer("Convolution", "num_output: 6 kernel_size: 3 pad: 1 bias_term: false") + NORM)
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    golden(
        folded,
        """
        net net TEST
          x      f32[2 4 5 5] = Input
          b@bias f32[2 6 5 5] = Convolution(outputs=6 kernel=3 pad=1) <- x  # c
          b      f32[2 6 5 5] = ReLU <- b@bias  # relu
        """,
    )
    node = folded.node("c")
    assert node.works_for == ("c", "bn", "scale", "bias")
    assert node.at.line == 2
    assert list(folded.arrays) == ["c.weight", "c.bias"]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Convolution", "num_output: 6 kernel_size: 3 pad: 2 stride: 2 dilation: 2 group: 2"),
        ("Convolution", "num_output: 8 kernel_size: 3 group: 4 bias_term: false"),
        ("Convolution", "num_output: 6 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0"),
        ("Deconvolution", "num_output: 6 kernel_size: 3 stride: 2 pad: 1"),
        ("Deconvolution", "num_output: 6 kernel_size: 3 stride: 2 group: 2 bias_term: false"),
        ("Deconvolution", "num_output: 4 kernel_size: 4 stride: 2 group: 4"),
        ("DepthwiseConvolution", "num_output: 4 kernel_size: 3 group: 4 bias_term: false"),
        ("ConvolutionDepthwise", "num_output: 4 kernel_size: 3 pad: 1 bias_term: false"),
        ("InnerProduct", "num_output: 6"),
        ("InnerProduct", "num_output: 6 transpose: true bias_term: false"),
    ],
)
def test_every_layer_with_a_matrix_folds(kind, settings, weighted, preserved):
    graph = weighted(X + layer(kind, settings) + NORM)
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c", "relu"]


@pytest.mark.parametrize(
    "norm",
    [
        'type: "BN" bn_param { momentum: 0.9 eps: 0.1 }',
        'type: "BN" bn_param { bn_mode: INFERENCE }',
        'type: "BatchNorm" batch_norm_param { scale_bias: true }',
        'type: "BatchNorm" batch_norm_param { use_weight_bias: true bias_term: false }',
    ],
)
def test_the_forks_normalisations_fold_with_what_they_learn(norm, weighted, preserved):
    convolution = layer("Convolution", "num_output: 6 kernel_size: 3 bias_term: false")
    graph = weighted(X + convolution + f'layer {{ name: "n" bottom: "c" top: "y" {norm} }}')
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c"]


def test_a_convolution_over_frames_says_where_its_bias_is(weighted, preserved):
    graph = weighted("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "c" type: "Convolution3D" bottom: "x" top: "c"
          convolution3d_param { num_output: 3 kernel_size: 2 kernel_depth: 2 bias_term: false } }
        layer { name: "bn" type: "BatchNorm" bottom: "c" top: "y" }
    """)
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert folded.node("c").definition.convolution3d_param.bias_term
    assert not folded.node("c").definition.HasField("convolution_param")


def test_the_weights_are_those_of_a_closed_form(weighted):
    graph = weighted(
        X
        + layer("Convolution", "num_output: 1 kernel_size: 1 bias_term: false")
        + 'layer { name: "bn" type: "BatchNorm" bottom: "c" top: "y" batch_norm_param { eps: 0.75 } }',
        {"c.weight": [[[[1]], [[2]], [[3]], [[4]]]], "bn.mean": 6, "bn.variance": 13, "bn.count": 4},
    )
    folded = fold_batch_norm(graph)
    # (x - 6/4) / sqrt(13/4 + 0.75) = x / 2 - 0.75
    assert folded.arrays["c.weight"].ravel().tolist() == [0.5, 1, 1.5, 2]
    assert folded.arrays["c.bias"].tolist() == [-0.75]
    assert folded.arrays["c.bias"].dtype == np.float32


@pytest.mark.parametrize(
    ("statistics", "folds"),
    [
        ({"bn.count": 0}, True),  # mean and variance are taken as 0 then
        ({"bn.count": 0.5}, True),
        ({"bn.variance": 0}, True),
        ({"bn.variance": -1}, False),  # no number comes out
        ({"bn.mean": np.inf}, False),
        ({"bn.variance": np.inf}, True),
    ],
)
def test_strange_statistics_give_what_the_layer_gives(statistics, folds, weighted, preserved):
    graph = weighted(X + layer("Convolution", "num_output: 6 kernel_size: 3") + NORM, statistics)
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert (folded is not graph and len(folded) == 3) == folds


def test_a_channel_that_never_varied_stays_where_nothing_is_added_to_its_variance(weighted, preserved):
    text = NORM.replace('top: "c" }', 'top: "c" batch_norm_param { eps: 0 } }', 1)
    graph = weighted(
        X + layer("Convolution", "num_output: 6 kernel_size: 3") + text, {"bn.variance": [0, 1, 1, 1, 1, 1]}
    )
    assert fold_batch_norm(graph) is graph


BEFORE = """
    layer { name: "bn" type: "BatchNorm" bottom: "x" top: "b" }
    layer { name: "scale" type: "Scale" bottom: "b" top: "b" scale_param { bias_term: true } }
"""


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Convolution", "num_output: 6 kernel_size: 3 group: 2"),
        ("Convolution", "num_output: 6 kernel_size: 1 bias_term: false"),
        ("InnerProduct", "num_output: 6"),
        ("InnerProduct", "num_output: 6 transpose: true bias_term: false"),
    ],
)
def test_what_stands_before_an_unpadded_layer_folds(kind, settings, weighted, preserved):
    graph = weighted(X + BEFORE + layer(kind, settings, "b"))
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c"]
    assert folded.node("c").works_for == ("bn", "scale", "c")


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_a_factor_alone_folds_into_a_padded_layer_behind_it(kind, weighted, preserved):
    settings = "num_output: 6 kernel_size: 3 pad: 1 group: 2"
    graph = weighted(X + 'layer { name: "s" type: "Scale" bottom: "x" top: "s" }\n' + layer(kind, settings, "s"))
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c"]


@pytest.mark.parametrize(
    "text",
    [
        BEFORE + layer("Convolution", "num_output: 6 kernel_size: 3 pad: 1", "b"),
        BEFORE + layer("Deconvolution", "num_output: 6 kernel_size: 3 stride: 2", "b"),
        'layer { name: "s" type: "Scale" bottom: "x" top: "s" scale_param { axis: 2 } }'
        + layer("Convolution", "num_output: 6 kernel_size: 3", "s"),
        layer("Convolution", "num_output: 6 kernel_size: 3")
        + 'layer { name: "s" type: "Scale" bottom: "c" top: "s" scale_param { num_axes: 2 } }',
        layer("Convolution", "num_output: 3 kernel_size: 3")
        + 'layer { name: "s" type: "Scale" bottom: "c" top: "s" scale_param { axis: 3 } }',
        layer("Convolution", "num_output: 6 kernel_size: 3 axis: 2")
        + 'layer { name: "s" type: "BatchNorm" bottom: "c" top: "s" }',
        layer("Convolution", "num_output: 6 kernel_size: 3")
        + 'layer { name: "s" type: "BatchNorm" bottom: "c" top: "s" }'
        + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }',
        layer("Convolution", "num_output: 4 kernel_size: 1")
        + 'layer { name: "s" type: "Scale" bottom: "c" bottom: "x" top: "s" scale_param { axis: 0 } }',
        layer("Convolution", "num_output: 6 kernel_size: 3")
        + 'layer { name: "s" type: "BatchNorm" bottom: "c" top: "s" batch_norm_param { use_global_stats: false } }',
        layer("Convolution", "num_output: 6 kernel_size: 3")
        + 'layer { name: "s" type: "BN" bottom: "c" top: "s" bn_param { bn_mode: LEARN } }',
        layer("Convolution", "num_output: 6 kernel_size: 3")
        + 'layer { name: "s" type: "BatchNorm" bottom: "c" top: "s" batch_norm_param { relu: true } }',
        'layer { name: "c" type: "Convolution" bottom: "x" bottom: "x" top: "c" top: "d"'
        " convolution_param { num_output: 6 kernel_size: 3 } }"
        + 'layer { name: "s" type: "BatchNorm" bottom: "c" top: "s" }',
    ],
    ids=[
        "a shift before padding",
        "a shift before a Deconvolution",
        "a Scale along rows",
        "a Scale along channels and rows",
        "a Scale along columns",
        "a Convolution along rows",
        "read by another layer too",
        "a factor that is fed",
        "normalised by the batch",
        "normalised by the batch in SegNet's way",
        "a ReLU in it",
        "a Convolution of two bottoms",
    ],
)
def test_what_would_not_be_exact_stays(text, weighted):
    graph = weighted(X + text)
    assert fold_batch_norm(graph) is graph


def test_a_convolution_along_another_axis_takes_a_scale_along_it(weighted, preserved):
    graph = weighted(
        X
        + layer("Convolution", "num_output: 6 kernel_size: 3 axis: 2")
        + 'layer { name: "s" type: "Scale" bottom: "c" top: "s" scale_param { axis: 2 bias_term: true } }'
    )
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c"]


def test_an_inner_product_along_another_axis_takes_what_runs_along_its_inputs(weighted, preserved):
    graph = weighted(
        X
        + 'layer { name: "s" type: "Scale" bottom: "x" top: "s" scale_param { axis: 2 num_axes: 2 bias_term: true } }'
        + layer("InnerProduct", "num_output: 6 axis: 2", "s")
        + 'layer { name: "t" type: "Scale" bottom: "c" top: "t" scale_param { axis: -1 bias_term: true } }'
    )
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c"]


def test_a_single_number_folds_whatever_its_axes(weighted, preserved):
    graph = weighted(
        X
        + layer("Convolution", "num_output: 6 kernel_size: 3")
        + 'layer { name: "s" type: "Scale" bottom: "c" top: "s" scale_param { num_axes: 0 bias_term: true } }'
    )
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c"]


def test_a_constant_that_is_a_second_bottom_folds(weighted, preserved):
    graph = weighted(
        X
        + 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 6 } } }'
        + layer("Convolution", "num_output: 6 kernel_size: 3")
        + 'layer { name: "s" type: "Scale" bottom: "c" bottom: "p" top: "s" }'
    )
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c"]


def test_weights_that_are_shared_are_left_to_the_others(weighted, preserved):
    shared = 'param { name: "w" } param { name: "b" }'
    graph = weighted(
        X
        + layer("Convolution", "num_output: 4 kernel_size: 3 pad: 1", more=shared)
        + layer("Convolution", "num_output: 4 kernel_size: 3 pad: 1", "c", shared)
        .replace('"c"', '"d"', 1)
        .replace('top: "c"', 'top: "d"')
        + 'layer { name: "bn" type: "BatchNorm" bottom: "d" top: "y" }'
    )
    before = {name: array.copy() for name, array in graph.arrays.items()}
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c", "d"]
    assert list(folded.arrays) == ["c.weight", "c.bias", "d.weight", "d.bias"]
    assert all(np.array_equal(folded.arrays[f"c.{w}"], before[f"c.{w}"]) for w in ("weight", "bias"))
    assert all(np.array_equal(graph.arrays[name], before[name]) for name in before)


def test_the_owner_of_shared_weights_may_be_the_one_that_folds(weighted, preserved):
    shared = 'param { name: "w" } param { name: "b" }'
    graph = weighted(
        X
        + layer("Convolution", "num_output: 4 kernel_size: 3 pad: 1", more=shared)
        + 'layer { name: "bn" type: "BatchNorm" bottom: "c" top: "n" }'
        + layer("Convolution", "num_output: 4 kernel_size: 3 pad: 1", "n", shared)
        .replace('"c"', '"d"', 1)
        .replace('top: "c"', 'top: "d"')
    )
    folded = fold_batch_norm(graph)
    preserved(graph, folded)
    assert [node.name for node in folded] == ["x", "c", "d"]
    assert folded.node("d").weights == {"weight": "c.weight", "bias": "c.bias"}
    assert folded.node("c").weights == {"weight": "c_2.weight", "bias": "c_2.bias"}


def test_an_output_is_not_folded_away(weighted):
    graph = weighted(
        X
        + layer("Convolution", "num_output: 6 kernel_size: 3")
        + 'layer { name: "bn" type: "BatchNorm" bottom: "c" top: "y" }'
    )
    both = rewrite.wanting(graph, ["c", "y"])
    assert fold_batch_norm(both) is both
    assert len(fold_batch_norm(graph)) == 2


def test_what_is_not_known_or_lies_on_a_grid_stays(weighted, read):
    text = X + layer("Convolution", "num_output: 6 kernel_size: 3") + NORM
    graph = weighted(text)
    grids = {"c.weight": Grid(np.ones(6, np.float32))}
    assert len(fold_batch_norm(dataclasses.replace(graph, grids=grids))) == len(graph)
    bare = dataclasses.replace(graph, arrays={n: a for n, a in graph.arrays.items() if n != "bn.count"})
    assert len(fold_batch_norm(bare)) == len(graph)
    training = read(text, Phase.TRAIN)
    assert fold_batch_norm(training) is training
