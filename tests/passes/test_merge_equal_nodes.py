"""What is done twice is done once."""

from __future__ import annotations

import pytest

from nktc.ir import Phase, rewrite
from nktc.passes import merge_equal_nodes

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 5 dim: 5 } } }\n'


def convolution(name: str, more: str = "", bottom: str = "x") -> str:
    settings = f"num_output: 4 kernel_size: 3 pad: 1 {more}"
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ {settings} }} }}\n"
    )


SUM = 'layer { name: "y" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }\n'


def equal(graph, *names: str):
    """The weights of the first layer in all of them."""
    for name in names[1:]:
        for local, own in graph.node(name).weights.items():
            graph.arrays[own][...] = graph.arrays[graph.node(names[0]).weights[local]]
    return graph


def test_equal_layers_with_equal_weights_are_one(weighted, golden, preserved):
    relu = 'layer { name: "r%s" type: "ReLU" bottom: "%s" top: "%s" }\n'
    # How weights start is no part of what a layer does.
    filled = convolution("b", 'weight_filler { type: "xavier" }')
    graph = weighted(X + convolution("a") + relu % (("a",) * 3) + filled + relu % (("b",) * 3) + SUM)
    merged = merge_equal_nodes(equal(graph, "a", "b"))
    preserved(graph, merged)
    golden(
        merged,
        """
        net net TEST
          x   f32[2 4 5 5] = Input
          a@a f32[2 4 5 5] = Convolution(outputs=4 kernel=3 pad=1) <- x  # a
          a   f32[2 4 5 5] = ReLU <- a@a  # ra
          y   f32[2 4 5 5] = Eltwise <- a, a
        """,
    )
    assert merged.node("a").works_for == ("a", "b")
    assert list(merged.arrays) == ["a.weight", "a.bias"]


def test_other_weights_or_settings_are_not_equal(weighted):
    graph = weighted(X + convolution("a") + convolution("b") + SUM)
    assert merge_equal_nodes(graph) is graph
    graph = equal(weighted(X + convolution("a") + convolution("b", "dilation: 1 stride: 1 group: 1") + SUM), "a", "b")
    assert len(merge_equal_nodes(graph)) == len(graph) - 1
    graph = weighted(
        X
        + 'layer { name: "a" type: "ReLU" bottom: "x" top: "a" relu_param { negative_slope: 0.1 } }'
        + 'layer { name: "b" type: "ReLU" bottom: "x" top: "b" }'
        + SUM
    )
    assert merge_equal_nodes(graph) is graph


@pytest.mark.parametrize(
    ("wanted", "left"), [(("y",), ["x", "a", "y"]), (("b", "y"), ["x", "a", "y"]), (("a", "b"), ["x", "a", "b", "y"])]
)
def test_an_output_keeps_its_name_and_two_stay_two(wanted, left, weighted, preserved):
    tanh = 'layer { name: "%s" type: "TanH" bottom: "x" top: "%s" }\n'
    graph = rewrite.wanting(weighted(X + tanh % ("a", "a") + tanh % ("b", "b") + SUM), [*wanted, "y"])
    merged = merge_equal_nodes(graph)
    preserved(graph, merged)
    assert [node.name for node in merged] == left


def test_an_output_that_nobody_reads_may_be_the_name_that_stays(weighted, golden, preserved):
    tanh = 'layer { name: "%s" type: "TanH" bottom: "x" top: "%s" }\n'
    graph = weighted(
        X + tanh % ("a", "a") + tanh % ("b", "b") + 'layer { name: "r" type: "ReLU" bottom: "a" top: "r" }'
    )
    merged = merge_equal_nodes(graph)
    preserved(graph, merged)
    golden(
        merged,
        """
        net net TEST
          x f32[2 4 5 5] = Input
          b f32[2 4 5 5] = TanH <- x  # a
          r f32[2 4 5 5] = ReLU <- b
        """,
    )


def test_what_works_in_place_on_the_one_does_not_change_the_other(weighted, golden, preserved):
    bent = 'layer { name: "r%s" type: "%s" bottom: "%s" top: "%s" }\n'
    graph = weighted(
        X + convolution("a") + bent % ("a", "ReLU", "a", "a") + convolution("b") + bent % ("b", "TanH", "b", "b") + SUM
    )
    merged = merge_equal_nodes(equal(graph, "a", "b"))
    preserved(graph, merged)
    golden(
        merged,
        """
        net net TEST
          x   f32[2 4 5 5] = Input
          a@a f32[2 4 5 5] = Convolution(outputs=4 kernel=3 pad=1) <- x  # a
          a   f32[2 4 5 5] = ReLU <- a@a  # ra
          b   f32[2 4 5 5] = TanH <- a@a  # rb
          y   f32[2 4 5 5] = Eltwise <- a, b
        """,
    )


def test_what_is_drawn_at_random_is_never_equal(weighted):
    dummy = (
        'layer { name: "%s" type: "DummyData" top: "%s" dummy_data_param { shape { dim: 2 }'
        ' data_filler { type: "gaussian" } } }\n'
    )
    graph = weighted(dummy % ("a", "a") + dummy % ("b", "b") + SUM)
    assert merge_equal_nodes(graph) is graph


def test_a_training_net_is_left_alone(read):
    tanh = 'layer { name: "%s" type: "TanH" bottom: "x" top: "%s" }\n'
    graph = read(X + tanh % ("a", "a") + tanh % ("b", "b") + SUM, Phase.TRAIN)
    assert merge_equal_nodes(graph) is graph
