"""Which layers suffer, and the fewest that must be kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
from big_nets import random_weights

from nktc.passes import quantizable, quantize
from nktc.quantization import answers, calibrate, fall_back, sensitivities

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "ra" type: "ReLU" bottom: "a" top: "ra" }
    layer { name: "b" type: "Convolution" bottom: "ra" top: "b" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "rb" type: "ReLU" bottom: "b" top: "rb" }
    layer { name: "i" type: "InnerProduct" bottom: "rb" top: "i" inner_product_param { num_output: 5 } }
"""
SAMPLES = [{"x": np.random.default_rng(k).standard_normal((4, 3, 8, 8)).astype(np.float32)} for k in range(2)]


@pytest.mark.parametrize("bad", ["a", "b", "i"])
def test_a_layer_that_is_made_bad_is_the_worst(bad, read):
    graph = random_weights(read(NET))
    # One weight of each output is so large that the others are less than half a step, which alone would not matter:
    # it meets an input that is always 0.
    table = calibrate(graph, SAMPLES, "minmax")
    weight = graph.arrays[f"{bad}.weight"]
    weight[:, 0] = 0
    weight.reshape(len(weight), -1)[:, 0] = 1e3 * np.abs(weight).max()
    feeds = [{"x": one["x"].copy()} for one in SAMPLES]
    if bad == "a":
        for one in feeds:
            one["x"][:, 0] = 0
    else:
        maker = {"b": "a", "i": "b"}[bad]
        graph.arrays[f"{maker}.weight"][0] = 0
        graph.arrays[f"{maker}.bias"][0] = -1
    heard: list[str] = []
    found = sensitivities(
        graph, lambda keep: quantize(graph, table.ranges, keep=keep), quantizable(graph), feeds, heard.append
    )
    assert found[0].layer == bad
    assert found[0].error > 0.5 > 10 * found[1].error
    assert [one.error for one in found] == sorted((one.error for one in found), reverse=True)
    assert heard == ["a", "b", "i"]
    assert found[0].at is not None
    assert found[0].at.line == {"a": 3, "b": 5, "i": 7}[bad]


def test_the_error_is_the_distance_over_the_size(read):
    graph = random_weights(read(NET))
    table = calibrate(graph, SAMPLES, "minmax")

    def lower(keep):
        return quantize(graph, table.ranges, keep=keep)

    found = {one.layer: one.error for one in sensitivities(graph, lower, ["a", "b", "i"], SAMPLES)}
    expected, alone = (np.concatenate(answers(g, SAMPLES)) for g in (graph, lower(["a", "b"])))
    assert found["i"] == pytest.approx(np.linalg.norm(alone - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("layers", [1, 2, 7, 8, 33])
def test_the_fewest_layers_are_found_in_few_tries(layers):
    ranked = [f"l{i}" for i in range(layers)]
    for needed in range(layers + 1):
        asked: list[list[str]] = []

        def good(keep, needed=needed, asked=asked):
            asked.append(list(keep))
            return len(keep) >= needed

        assert fall_back(ranked, good) == ranked[:needed]
        assert len(asked) <= 2 + math.ceil(math.log2(layers + 1))
        assert all(keep == ranked[: len(keep)] for keep in asked)


def test_where_nothing_will_do_all_are_kept():
    assert fall_back(["a", "b", "c"], lambda keep: False) == ["a", "b", "c"]
    assert fall_back([], lambda keep: False) == []
