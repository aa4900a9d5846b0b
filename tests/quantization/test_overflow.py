"""What fp16 cannot hold is found, with its place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from big_nets import random_weights

from nktc import module
from nktc.ir import DType
from nktc.passes import assign_precision
from nktc.quantization import overflows

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
    layer { name: "one" type: "InnerProduct" bottom: "x" top: "one" inner_product_param { num_output: 4 } }
    layer { name: "two" type: "InnerProduct" bottom: "one" top: "two" inner_product_param { num_output: 4 } }
    layer { name: "three" type: "InnerProduct" bottom: "two" top: "three" inner_product_param { num_output: 4 } }
    layer { name: "four" type: "InnerProduct" bottom: "three" top: "four" inner_product_param { num_output: 4 } }
"""
SAMPLES = [{"x": np.ones((1, 4), np.float32)}, {"x": -np.ones((3, 4), np.float32)}]


@pytest.fixture
def graph(read):
    """Layers that give back what they take."""
    made = random_weights(read(NET))
    arrays = {name: np.eye(4, dtype=np.float32) if a.ndim == 2 else np.zeros_like(a) for name, a in made.arrays.items()}
    return dataclasses.replace(made, arrays=arrays)


def test_a_net_of_small_numbers_has_none(graph):
    assert overflows(graph, SAMPLES) == []
    graph.arrays["two.weight"][...] *= 65504
    assert overflows(graph, SAMPLES) == []


def test_the_layers_that_make_and_take_a_blob_beyond_fp16_are_named_with_their_lines(graph):
    graph.arrays["two.weight"][...] *= 60000
    graph.arrays["two.bias"][...] -= 6000
    graph.arrays["three.weight"][...] /= 60000
    found = overflows(graph, SAMPLES)
    assert [str(one) for one in found] == [
        'net.prototxt:4:21: "two" stays in fp32: its blob "two" reaches 66000, fp16 ends at 65504',
        'net.prototxt:5:23: "three" stays in fp32: its blob "two" reaches 66000, fp16 ends at 65504',
    ]
    lost = assign_precision(graph, DType.F16)
    kept = assign_precision(graph, DType.F16, [one.layer for one in found])
    (four,), (bad,), (good,) = (
        [y.detach().numpy() for y in module.compile(g)(torch.from_numpy(SAMPLES[1]["x"])).values()]
        for g in (graph, lost, kept)
    )
    assert not np.isfinite(bad).all()
    np.testing.assert_allclose(good, four, rtol=1e-3)


def test_a_weight_beyond_fp16_keeps_its_layer(graph):
    graph.arrays["three.weight"][0, 0] = 1e6
    graph.arrays["two.weight"][...] = 0
    (found,) = overflows(graph, SAMPLES)
    assert (found.layer, found.blob, found.largest) == ("three", 'its weight "three.weight"', 1e6)


def test_what_is_not_finite_counts_as_beyond(graph):
    graph.arrays["four.bias"][0] = np.nan
    (found,) = overflows(graph, SAMPLES)
    assert (found.layer, found.largest) == ("four", float("inf"))
