"""PriorBox against a plain loop, and offsets beside priors against their definition."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc import passes, reader
from nktc.ir import Layer, Phase
from nktc.layers import Parameter
from nktc.layers.priors import decode

PICTURE = (1, 3, 50, 70)


def plainly(rows: int, columns: int, sizes: list[tuple[float, float]], step: tuple[float, float], offset: float = 0.5):  # type: ignore[no-untyped-def]
    """Boxes of each cell, in pixels: width and height, centre rows and columns."""
    return [
        [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        for i in range(rows)
        for j in range(columns)
        for w, h in sizes
        for y, x in [((i + offset) * step[0], (j + offset) * step[1])]
    ]


@pytest.mark.parametrize(
    ("settings", "sizes", "step", "picture"),
    [
        ("min_size: 12.7", [(12, 12)], (50 / 3, 14), (50, 70)),
        ("min_size: 12 max_size: 30 step: 16", [(12, 12), (math.sqrt(360),) * 2], (16, 16), (50, 70)),
        (
            "min_size: 8 min_size: 9 aspect_ratio: 4 img_size: 100",
            [(8, 8), (16, 4), (4, 16), (9, 9), (18, 4.5), (4.5, 18)],
            (100 / 3, 20),
            (100, 100),
        ),
        (
            "min_size: 8 aspect_ratio: 4 aspect_ratio: 1 aspect_ratio: 4 flip: false step_h: 5 step_w: 6",
            [(8, 8), (16, 4)],
            (5, 6),
            (50, 70),
        ),
        ("min_size: 8 img_h: 20 img_w: 30 offset: 0.25", [(8, 8)], (20 / 3, 6), (20, 30)),
    ],
)
def test_boxes_stand_around_the_centres_of_the_cells(
    layer: Callable[..., Layer],
    settings: str,
    sizes: list[tuple[float, float]],
    step: tuple[float, float],
    picture: tuple[int, int],
) -> None:
    priors = layer("PriorBox", f"prior_box_param {{ {settings} }}", (1, 2, 3, 5), PICTURE)
    made = priors.forward(torch.zeros(1, 2, 3, 5), torch.zeros(PICTURE))
    offset = 0.25 if "offset" in settings else 0.5
    expected = np.array(plainly(3, 5, sizes, step, offset)) / [picture[1], picture[0], picture[1], picture[0]]
    np.testing.assert_allclose(made[0, 0].reshape(-1, 4), expected, atol=1e-6)
    np.testing.assert_allclose(made[0, 1], 0.1)
    assert tuple(made.shape) == priors.shape((1, 2, 3, 5), PICTURE)


def test_textboxes_puts_a_second_box_below_each(layer: Callable[..., Layer]) -> None:
    settings = "prior_box_param { min_size: 10 max_size: 40 denser_prior_boxes: true variance: 0.2 }"
    made = layer("PriorBox", settings, (1, 2, 2, 3), PICTURE).forward(torch.zeros(1, 2, 2, 3), torch.zeros(PICTURE))
    sides = made[0, 0].reshape(2, 3, 2, 2, 4) * torch.tensor([70.0, 50, 70, 50])
    np.testing.assert_allclose(
        sides[..., 1, :] - sides[..., 0, :], np.broadcast_to([0, 12.5, 0, 12.5], (2, 3, 2, 4)), atol=1e-4
    )
    np.testing.assert_allclose(sides[1, 2, 0, 0], [70 * 2.5 / 3 - 5, 37.5 - 5, 70 * 2.5 / 3 + 5, 37.5 + 5], atol=1e-4)


def test_clipped_boxes_end_at_the_picture_and_four_variances_take_turns(layer: Callable[..., Layer]) -> None:
    settings = "prior_box_param { min_size: 60 clip: true variance: 1 variance: 2 variance: 3 variance: 4 }"
    made = layer("PriorBox", settings, (1, 2, 1, 1), PICTURE).forward(torch.zeros(1, 2, 1, 1), torch.zeros(PICTURE))
    np.testing.assert_allclose(made[0], [[5 / 70, 0, 65 / 70, 1], [1, 2, 3, 4]], atol=1e-6)


def test_priors_are_folded_to_a_constant() -> None:
    net = reader.parse_net("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "x" type: "Pooling" bottom: "data" top: "x" pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "p" type: "PriorBox" bottom: "x" bottom: "data" top: "p" prior_box_param { min_size: 4 } }
        layer { name: "q" type: "Concat" bottom: "p" bottom: "p" top: "q" concat_param { axis: 2 } }
    """)
    graph = reader.build(net, Phase.TEST)
    folded = passes.fold_constants(graph)
    assert isinstance(folded.producers["q"].layer, Parameter)
    (array,) = folded.arrays.values()
    expected = torch.cat([graph.node("p").layer.forward(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 8, 8))] * 2, 2)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "has no min_size"),
        ("min_size: 0", "min_size 0 is not above 0"),
        ("min_size: 8 max_size: 8", "max_size 8 is not above min_size 8"),
        ("min_size: 8 min_size: 9 max_size: 10", "has 1 max_size for 2 min_size"),
        ("min_size: 8 variance: 1 variance: 2", "has 2 variances"),
        ("min_size: 8 step_h: 3", "has step_h"),
        ("min_size: 8 img_size: 3 img_h: 3 img_w: 3", "has img_size and img_h and img_w"),
        ("min_size: 8 aspect_ratio: -2", "aspect_ratio -2 is not above 0"),
    ],
)
def test_settings_that_make_no_boxes_are_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str
) -> None:
    assert refusal("PriorBox", f"prior_box_param {{ {settings} }}", (1, 2, 3, 5), PICTURE)[0] == message


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
def test_offsets_move_and_stretch_priors(code: str, encoded: bool) -> None:
    prior, variance = np.array([0.2, 0.3, 0.6, 0.5]), np.array([0.1, 0.2, 0.3, 0.4])
    offset = np.array([0.5, -0.7, 0.9, 0.3])
    width, height = 0.4, 0.2
    by = offset if encoded else offset * variance
    x, y = 0.4 + by[0] * width, 0.4 + by[1] * height
    w, h = width * math.exp(by[2]), height * math.exp(by[3])
    expected = {
        "CORNER": prior + by,
        "CORNER_SIZE": prior + by * [width, height, width, height],
        "CENTER_SIZE": np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]),
    }[code]
    found = decode(*(torch.from_numpy(one) for one in (offset, prior, variance)), code, encoded)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
