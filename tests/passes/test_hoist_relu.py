"""ReLUs before poolings."""

from __future__ import annotations

import pytest

from nktc.passes import hoist_relu

NET = """
    layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 dim: 9 dim: 9 }} }} }}
    layer {{ name: "conv" type: "Convolution" bottom: "x" top: "conv"
            convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
    layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ {pool} }} }}
    layer {{ name: "relu" type: "ReLU" bottom: "pool" top: "{top}" relu_param {{ negative_slope: {slope} }} }}
    {more}
"""


def net(pool: str = "kernel_size: 3 stride: 2", top: str = "pool", slope: float = 0, more: str = "") -> str:
    return NET.format(pool=pool, top=top, slope=slope, more=more)


def test_a_relu_runs_with_its_convolution(weighted, golden, preserved) -> None:
    graph = weighted(net())
    found = hoist_relu(graph)
    golden(
        found,
        """
        net net TEST
          x         f32[2 3 9 9] = Input
          conv      f32[2 4 7 7] = Convolution(outputs=4 kernel=3) <- x
          conv@relu f32[2 4 7 7] = ReLU <- conv  # relu
          pool      f32[2 4 3 3] = Pooling(method=MAX kernel=3 stride=2) <- conv@relu
        """,
    )
    preserved(graph, found)


def test_a_leak_is_a_relu_too(weighted, preserved) -> None:
    graph = weighted(net(slope=0.1, top="y"))
    found = hoist_relu(graph)
    assert [node.name for node in found] == ["x", "conv", "relu", "pool"]
    preserved(graph, found)


def test_a_relu6_is_a_relu_too(weighted, preserved) -> None:
    graph = weighted(net(top="y").replace('type: "ReLU"', 'type: "ReLU6"').replace("relu_param", "relu6_param"))
    found = hoist_relu(graph)
    assert [node.name for node in found] == ["x", "conv", "relu", "pool"]
    preserved(graph, found)


@pytest.mark.parametrize(
    "text",
    [
        net("pool: AVE kernel_size: 3"),  # the mean of a ReLU is not the ReLU of a mean
        net(slope=-1),  # which turns the order around
        net(top="y", more='layer { name: "s" type: "Softmax" bottom: "pool" top: "s" }'),
        net(top="y", more='layer { name: "s" type: "Softmax" bottom: "conv" top: "s" }'),
        net("kernel_size: 1 stride: 5"),  # whose last window sees nothing
    ],
    ids=["mean", "negative", "pooling read", "convolution read", "sees nothing"],
)
def test_the_others_stay(text, weighted) -> None:
    graph = weighted(text)
    assert hoist_relu(graph) is graph
