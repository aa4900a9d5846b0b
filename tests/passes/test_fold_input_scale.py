"""Mean, scale and deviation of the pixels go into the first layer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from nktc import data, ir, module
from nktc.ir import Phase, Preprocessing
from nktc.passes import fold_input_scale

MEAN = np.array([104, 117, 123], np.float32).reshape(3, 1, 1)
STD = np.array([50, 60, 70], np.float32).reshape(3, 1, 1)
PIXELWISE = np.linspace(90, 130, 3 * 12 * 14, dtype=np.float32).reshape(3, 12, 14)


def net(first: str, side: int = 8, transform: str = "") -> str:
    return f"""
        layer {{ name: "data" type: "Input" top: "x"
          input_param {{ shape {{ dim: 2 dim: 3 dim: {side} dim: {side} }} }} {transform} }}
        layer {{ name: "first" bottom: "x" top: "y" {first} }}
        layer {{ name: "relu" type: "ReLU" bottom: "y" top: "y" }}
    """


CONVOLUTION = 'type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 }'
PADDED = 'type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 pad: 1 bias_term: false }'
PRODUCT = 'type: "InnerProduct" inner_product_param { num_output: 4 }'


def answers(graph, size: tuple[int, int]):
    """What the net makes of two pictures of that size, prepared as it says."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, *size)).astype(np.uint8)
    with torch.no_grad():
        return module.compile(graph)(data.prepared(pictures, graph.preprocessing["x"]))["y"].numpy()


@pytest.mark.parametrize(
    ("first", "told", "left"),
    [
        (CONVOLUTION, Preprocessing((8, 8), "BGR", MEAN, 1 / 128), (False, 1.0, False)),
        (CONVOLUTION, Preprocessing((8, 8), "BGR", MEAN, 1.0, std=STD), (False, 1.0, False)),
        (CONVOLUTION, Preprocessing((12, 14), "BGR", MEAN, 2.0, crop=8), (False, 1.0, False)),
        (CONVOLUTION, Preprocessing((12, 14), "BGR", PIXELWISE, 0.5, crop=8), (True, 1.0, False)),
        (PADDED, Preprocessing((8, 8), "BGR", MEAN, 1 / 128, std=STD), (True, 1.0, False)),
        (PADDED, Preprocessing((8, 8), "BGR", None, 1 / 255), (False, 1.0, False)),
        (PRODUCT, Preprocessing((8, 8), "BGR", MEAN, 1 / 128, std=STD), (False, 1.0, False)),
        (PRODUCT, Preprocessing((12, 14), "BGR", PIXELWISE, 0.5, crop=8), (False, 1.0, False)),
    ],
    ids=[
        "mean and scale",
        "mean and deviation",
        "a crop",
        "a mean for each pixel before a convolution",
        "a mean before padding",
        "a scale before padding",
        "before an inner product",
        "a mean for each pixel before an inner product",
    ],
)
def test_pictures_give_the_same_prepared_less(first, told, left, weighted):
    graph = dataclasses.replace(weighted(net(first)), preprocessing={"x": told})
    folded = fold_input_scale(graph)
    ir.verify(folded)
    now = folded.preprocessing["x"]
    assert (now.mean is not None, now.scale, now.std is not None) == left
    assert (now.size, now.order, now.crop) == (told.size, told.order, told.crop)
    before, after = answers(graph, told.size), answers(folded, told.size)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())
    assert fold_input_scale(folded) is folded


def test_the_net_says_what_is_left(weighted):
    transform = "transform_param { scale: 0.5 mean_value: 100 std_value: 2 channel_order: RGB }"
    told = Preprocessing((8, 8), "RGB", np.full((3, 1, 1), 100, np.float32), 0.5, std=np.full((3, 1, 1), 2, np.float32))
    graph = dataclasses.replace(weighted(net(CONVOLUTION, transform=transform)), preprocessing={"x": told})
    folded = fold_input_scale(graph)
    said = folded.node("data").layer.transform
    assert (said.scale, said.mean_values, said.std_values, said.order) == (1.0, (), (), "RGB")
    assert str(folded.node("data").definition.transform_param).split() == ["scale:", "1", "channel_order:", "RGB"]
    padded = dataclasses.replace(weighted(net(PADDED, transform=transform)), preprocessing={"x": told})
    assert fold_input_scale(padded).node("data").layer.transform.mean_values == (100,)


def test_what_is_read_by_two_or_not_by_a_matrix_or_is_plain_stays(weighted):
    told = Preprocessing((8, 8), "BGR", MEAN, 1 / 128)
    for text in (
        net(CONVOLUTION) + 'layer { name: "other" type: "TanH" bottom: "x" top: "other" }',
        net('type: "Pooling" pooling_param { kernel_size: 2 }'),
    ):
        graph = dataclasses.replace(weighted(text), preprocessing={"x": told})
        assert fold_input_scale(graph) is graph
    plain = dataclasses.replace(weighted(net(CONVOLUTION)), preprocessing={"x": Preprocessing((8, 8), "BGR")})
    assert fold_input_scale(plain) is plain


def test_a_training_net_is_left_alone(read):
    graph = dataclasses.replace(
        read(net(CONVOLUTION), Phase.TRAIN), preprocessing={"x": Preprocessing((8, 8), "BGR", MEAN)}
    )
    assert fold_input_scale(graph) is graph
