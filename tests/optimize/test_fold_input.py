"""A net that takes over what is done to its pixels: the file is fed otherwise and answers the same."""

from __future__ import annotations

import numpy as np
import pytest

from nktc import data, engines, inference
from nktc.ir import Preprocessing
from nktc.optimize import samples

TEXT = """
name: "folded"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } }
        transform_param { scale: 0.017 mean_value: 104 mean_value: 117 mean_value: 123 } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "i" type: "InnerProduct" bottom: "a" top: "i" inner_product_param { num_output: 5 } }
layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Preprocessing((6, 6), "BGR", scale=0.5), Preprocessing((6, 6), "BGR")),
        (
            Preprocessing((6, 6), "BGR", np.full((3, 1, 1), 104, np.float32), 0.017, std=np.full((3, 1, 1), 2, "f4")),
            Preprocessing((6, 6), "BGR"),
        ),
        (
            Preprocessing((6, 6), "GRAY", np.arange(36, dtype=np.float32).reshape(1, 6, 6), 0.1, crop=4),
            Preprocessing((6, 6), "GRAY", np.arange(36, dtype=np.float32).reshape(1, 6, 6), crop=4),
        ),
    ],
    ids=["scale", "mean and std", "mean of a crop"],
)
def test_inputs_are_those_that_a_picture_would_become(before, after) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1 if before.order == "GRAY" else 3, 6, 6), np.uint8)
    given, expected = (data.prepared(pixels, how).numpy() for how in (before, after))
    found = samples.change({"x": before, "other": before}, {"x": after, "other": before})({"x": given, "other": given})
    np.testing.assert_allclose(found["x"], expected, rtol=1e-5, atol=1e-4)
    assert found["other"] is given


def test_the_file_takes_pixels_and_answers_as_the_net_does(trained, quick) -> None:
    net = trained(TEXT)
    plain = quick(net, "plain.onnx")
    outcome = quick(net, "folded.onnx", fold_input=True)
    assert {one.pass_name for one in outcome.report.rewrites} == {"fold_input_scale"}
    assert outcome.proof.agrees
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert (
        engines.engine("onnxruntime").open(outcome.file, engines.Options("cpu")).facts.preprocessing["x"].mean is None
    )
    first, other = ([one.probability for one in inference.load(str(one.file))(picture)] for one in (plain, outcome))
    np.testing.assert_allclose(first, other, atol=1e-5)
