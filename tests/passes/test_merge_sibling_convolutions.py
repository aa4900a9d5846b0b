"""Convolutions beside each other become one."""

from __future__ import annotations

import dataclasses

import pytest

from nktc.ir import Phase, rewrite
from nktc.passes import eliminate_concat, merge_sibling_convolutions

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 5 dim: 5 } } }\n'


def convolution(name: str, outputs: int, settings: str = "kernel_size: 1", kind: str = "Convolution") -> str:
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "x" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} {settings} }} }}\n"
    )


def relu(name: str, slope: float = 0) -> str:
    settings = f"relu_param {{ negative_slope: {slope} }}" if slope else ""
    return f'layer {{ name: "{name}/relu" type: "ReLU" bottom: "{name}" top: "{name}" {settings} }}\n'


def join(*names: str) -> str:
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    return f'layer {{ name: "y" type: "Concat" {bottoms} top: "y" }}\n'


def test_siblings_become_one_and_a_slice(weighted, golden, preserved):
    graph = weighted(
        X
        + convolution("a", 2)
        + convolution("b", 3)
        + convolution("c", 2, "kernel_size: 3 pad: 1")
        + convolution("d", 1)
        + 'layer { name: "e" type: "TanH" bottom: "a" top: "e" }'
        + join("b", "c", "d", "e")
    )
    merged = merge_sibling_convolutions(graph)
    preserved(graph, merged)
    golden(
        merged,
        """
        net net TEST
          x       f32[2 4 5 5]                             = Input
          a+b+d   f32[2 6 5 5]                             = Convolution(outputs=6 kernel=1) <- x
          a, b, d f32[2 2 5 5], f32[2 3 5 5], f32[2 1 5 5] = Slice(points=2x5) <- a+b+d  # a+b+d/slice
          c       f32[2 2 5 5]                             = Convolution(outputs=2 kernel=3 pad=1) <- x
          e       f32[2 2 5 5]                             = TanH <- a
          y       f32[2 8 5 5]                             = Concat <- b, c, d, e
        """,
    )
    assert merged.node("a+b+d").works_for == ("a", "b", "d")
    assert merged.node("a+b+d").at.line == 2
    assert merge_sibling_convolutions(merged) is merged


def test_their_relus_are_one_too(weighted, golden, preserved):
    graph = weighted(X + convolution("a", 2) + relu("a") + convolution("b", 3) + relu("b") + join("b", "a"))
    merged = merge_sibling_convolutions(graph)
    preserved(graph, merged)
    golden(
        merged,
        """
        net net TEST
          x       f32[2 4 5 5]               = Input
          a+b@a+b f32[2 5 5 5]               = Convolution(outputs=5 kernel=1) <- x  # a+b
          a+b     f32[2 5 5 5]               = ReLU <- a+b@a+b  # a/relu+b/relu
          a, b    f32[2 2 5 5], f32[2 3 5 5] = Slice(points=2) <- a+b  # a+b/slice
          y       f32[2 5 5 5]               = Concat <- b, a
        """,
    )


def test_what_is_only_joined_again_is_never_cut(weighted, golden, preserved):
    graph = weighted(X + convolution("a", 2) + relu("a") + convolution("b", 3) + relu("b") + join("a", "b"))
    merged = eliminate_concat(merge_sibling_convolutions(graph))
    preserved(graph, merged)
    golden(
        merged,
        """
        net net TEST
          x       f32[2 4 5 5] = Input
          a+b@a+b f32[2 5 5 5] = Convolution(outputs=5 kernel=1) <- x  # a+b
          y       f32[2 5 5 5] = ReLU <- a+b@a+b  # a/relu+b/relu
        """,
    )


@pytest.mark.parametrize("other", [relu("b", 0.1), ""], ids=["another slope", "none"])
def test_relus_that_differ_stay_behind_the_slice(other, weighted, preserved):
    graph = weighted(X + convolution("a", 2) + relu("a") + convolution("b", 3) + other + join("b", "a"))
    merged = merge_sibling_convolutions(graph)
    preserved(graph, merged)
    assert [node.type for node in merged][:3] == ["Input", "Convolution", "Slice"]


def test_outputs_keep_their_names(weighted, preserved):
    graph = rewrite.wanting(weighted(X + convolution("a", 2) + relu("a") + convolution("b", 3) + relu("b")), ["b", "a"])
    merged = merge_sibling_convolutions(graph)
    preserved(graph, merged)
    assert len(merged) == 4


@pytest.mark.parametrize(
    "other",
    [
        convolution("b", 3, "kernel_size: 1 stride: 2"),
        convolution("b", 3, "kernel_size: 1 pad: 1"),
        convolution("b", 4, "kernel_size: 1 group: 2"),
        convolution("b", 3, "kernel_size: 1 bias_term: false"),
        convolution("b", 3, "kernel_size: 1 axis: 2"),
        convolution("b", 3, kind="Deconvolution"),
    ],
    ids=["stride", "pad", "group", "no bias", "another axis", "a Deconvolution"],
)
def test_what_is_no_sibling_stays(other, weighted):
    graph = weighted(X + convolution("a", 2) + other)
    assert merge_sibling_convolutions(graph) is graph


def test_weights_that_are_not_known_and_training_nets_are_left_alone(weighted, read):
    text = X + convolution("a", 2) + convolution("b", 2)
    bare = dataclasses.replace(weighted(text), arrays={})
    assert merge_sibling_convolutions(bare) is bare
    training = read(text, Phase.TRAIN)
    assert merge_sibling_convolutions(training) is training
