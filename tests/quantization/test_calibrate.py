"""Calibration: what the blobs of a net hold over samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from big_nets import random_weights

from nktc import module
from nktc.errors import NktcError
from nktc.ir import DType
from nktc.passes import assign_precision
from nktc.quantization import calibrate

NET = """
    name: "small"
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
    layer { name: "i" type: "InnerProduct" bottom: "c" top: "i" inner_product_param { num_output: 5 } }
"""


def samples(batches: int = 3) -> list[dict[str, np.ndarray]]:
    draw = np.random.default_rng(0)
    return [{"x": draw.standard_normal((n + 1, 3, 8, 8)).astype(np.float32)} for n in range(batches)]


def test_minmax_has_the_least_and_the_largest_of_every_blob(read):
    graph = random_weights(read(NET))
    table = calibrate(graph, samples(), "minmax")
    assert (table.net, table.method, table.records) == ("small", "minmax", 6)
    assert [*table.blobs] == ["x", "c@c", "c", "i"]
    with torch.no_grad():
        runs = [module.compile(graph).values(torch.from_numpy(one["x"])) for one in samples()]
    for name, entry in table.blobs.items():
        everything = torch.cat([values[name].flatten() for values in runs])
        assert (entry.least, entry.largest) == (min(0, float(everything.min())), float(everything.max()))
        assert (entry.low, entry.high) == (entry.least, entry.largest)
    assert table.blobs["c"].low == 0


def test_entropy_ranges_lie_within_what_was_seen_and_alike_on_both_sides(read):
    table = calibrate(random_weights(read(NET)), samples(), "entropy")
    for entry in table.blobs.values():
        assert entry.least <= entry.low <= 0 <= entry.high <= entry.largest
        assert max(-entry.low, entry.high) > 0.2 * max(-entry.least, entry.largest)


def test_values_in_other_types_have_no_range(read):
    half = assign_precision(random_weights(read(NET)), DType.F16, keep=["i"])
    assert [*calibrate(half, samples(), "minmax").blobs] == ["x", "c", "i"]


def test_no_samples_are_refused(read):
    with pytest.raises(NktcError) as caught:
        calibrate(random_weights(read(NET)), [])
    assert caught.value.message == "there is nothing to calibrate with"
    assert "--calibrate" in caught.value.help


def test_a_blob_that_is_not_finite_is_refused_with_its_line(read):
    graph = random_weights(read(NET))
    graph.arrays["c.weight"][0] = np.nan
    with pytest.raises(NktcError) as caught:
        calibrate(graph, samples())
    assert caught.value.message == 'the blob "c@c" holds numbers that are not finite'
    assert caught.value.at is not None
    assert caught.value.at.line == 4


def test_an_unknown_method_is_refused_before_the_work(read):
    with pytest.raises(NktcError, match="unknown calibration"):
        calibrate(random_weights(read(NET)), [{}], "kl")
