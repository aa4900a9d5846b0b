"""Fillers: the moments Caffe's draws have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nktc.errors import LayerError, Source
from nktc.ir import Filler
from nktc.layers import check_filler, fill, settings
from nktc.layers.filler import bilinear, fan
from nktc.schema import FillerParameter
from nktc.text import bind, parse


def written(text: str) -> Filler:
    """The filler of a weight_filler in prototxt."""
    return settings.filler(bind(parse(Source("filler", text)), FillerParameter), "weight_filler")


def drawn(filler: Filler, *shape: int) -> torch.Tensor:
    return fill(torch.empty(shape), filler, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("filler", "mean", "deviation"),
    [
        (Filler(value=2.5), 2.5, 0),
        (Filler("uniform", min=1, max=3), 2, 2 / math.sqrt(12)),
        (Filler("gaussian", mean=1, std=0.5), 1, 0.5),
        (Filler("gaussian", std=2, sparse=50), 0, 2 * math.sqrt(50 / 200)),
        (Filler("xavier"), 0, math.sqrt(1 / 100)),
        (Filler("xavier", variance_norm="FAN_OUT"), 0, math.sqrt(1 / 200)),
        (Filler("xavier", variance_norm="AVERAGE"), 0, math.sqrt(1 / 150)),
        (Filler("msra"), 0, math.sqrt(2 / 100)),
    ],
    ids=str,
)
def test_moments(filler: Filler, mean: float, deviation: float) -> None:
    values = drawn(filler, 200, 100)
    assert values.mean().item() == pytest.approx(mean, abs=0.02)
    assert values.std().item() == pytest.approx(deviation, rel=0.02, abs=1e-6)


def test_fans_are_counts_over_the_first_two_axes() -> None:
    assert fan((8, 4, 3, 3), Filler()) == 36
    assert fan((8, 4, 3, 3), Filler(variance_norm="FAN_OUT")) == 72


def test_each_output_of_the_unit_ball_sums_to_one() -> None:
    values = drawn(Filler("positive_unitball"), 5, 3, 2)
    assert (values >= 0).all()
    torch.testing.assert_close(values.sum((1, 2)), torch.ones(5))


def test_each_output_of_the_gaussian_unit_ball_has_length_one_in_any_direction() -> None:
    values = drawn(Filler("gaussian_unitball"), 4000, 3)
    torch.testing.assert_close(values.norm(dim=1), torch.ones(4000))
    torch.testing.assert_close(values.T @ values / 4000, torch.eye(3) / 3, rtol=0, atol=0.02)
    assert values.mean(0).abs().max() < 0.05


def test_bilinear_weights_interpolate() -> None:
    square = bilinear((1, 1, 4, 4))[0, 0]
    torch.testing.assert_close(square[0], torch.tensor([1.0, 3.0, 3.0, 1.0]) / 16)
    torch.testing.assert_close(square, square.T)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 7])
def test_bilinear_weights_are_symmetric_whatever_the_side(side: int) -> None:
    """Caffe's first releases had another centre, which is off it for a side of 2, 3, 6 or 7."""
    square = bilinear((1, 1, side, side))[0, 0]
    torch.testing.assert_close(square, square.flip(0, 1))
    assert square.max() == square[(side - 1) // 2, (side - 1) // 2]


@pytest.mark.parametrize(
    ("settings", "shape", "message", "field"),
    [
        ('type: "bilinear"', (3, 1, 4, 3), "the bilinear filler takes a square window, not weights of 3x1x4x3", ""),
        ('type: "bilinear"', (3,), "the bilinear filler takes a square window, not weights of 3", ""),
        ('type: "xavier"', (), "the xavier filler takes an array, not a single number", ""),
        ('type: "uniform" min: 2', (3,), "min 2 is above max 1", ".min"),
        ('type: "uniform" min: nan', (3,), "min nan is above max 1", ".min"),
        ('type: "uniform" min: -3e38 max: 3e38', (3,), "min -3e+38 to max 3e+38 is wider than a float", ".min"),
        ('type: "gaussian" std: 0', (3,), "std 0 is not above 0", ".std"),
        ('type: "gaussian" std: -1', (3,), "std -1 is not above 0", ".std"),
        ('type: "gaussian" std: nan', (3,), "std nan is not above 0", ".std"),
        ('type: "gaussian" sparse: -2', (3,), "sparse is -2", ".sparse"),
        ('type: "gaussian" sparse: 2', (), "sparse is 2", ".sparse"),
        ('type: "gaussian" sparse: 4', (3, 9), "sparse 4 is more than 3, the first axis", ".sparse"),
        ('type: "xavier" sparse: 2', (3, 4), "sparse is 2", ".sparse"),
    ],
)
def test_weights_that_a_filler_cannot_start_are_refused(
    settings: str, shape: tuple[int, ...], message: str, field: str
) -> None:
    filler = written(settings)
    for refuses in (lambda: check_filler(filler, shape), lambda: fill(torch.empty(shape), filler)):
        with pytest.raises(LayerError) as refusal:
            refuses()
        assert refusal.value.message == message
        assert refusal.value.field == f"weight_filler{field}"


@pytest.mark.parametrize(
    ("kind", "settings", "message", "blamed"),
    [
        (
            "InnerProduct",
            'inner_product_param { num_output: 4 weight_filler { type: "bilinear" } }',
            "the bilinear filler takes a square window, not weights of 4x6",
            "weight_filler {",
        ),
        (
            "InnerProduct",
            'inner_product_param { num_output: 4 bias_filler { type: "gaussian" std: 0 } }',
            "std 0 is not above 0",
            "std: 0",
        ),
        (
            "PReLU",
            'prelu_param { channel_shared: true filler { type: "msra" } }',
            "the msra filler takes an array, not a single number",
            "filler {",
        ),
        ("Scale", 'scale_param { filler { type: "uniform" min: 3 } }', "min 3 is above max 1", "min: 3"),
    ],
)
def test_a_net_whose_weights_cannot_start_is_refused_where_the_filler_stands(
    refusal: Callable[..., tuple[str, str]], kind: str, settings: str, message: str, blamed: str
) -> None:
    found, at = refusal(kind, settings, (2, 6))
    assert found == message
    assert at.startswith(blamed)


def test_dummy_data_that_a_filler_cannot_make_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    settings = 'dummy_data_param { shape { dim: 2 dim: 3 } data_filler {} data_filler { type: "bilinear" } }'
    message = "the bilinear filler takes a square window, not weights of 2x3"
    assert refusal("DummyData", settings, tops=2)[0] == message


def test_a_single_number_is_filled_too() -> None:
    assert drawn(Filler(value=2.5)).item() == 2.5
    assert 1 <= drawn(Filler("uniform", min=1, max=3)).item() <= 3


def test_every_filler_draws_as_caffes(shared: Path) -> None:
    """Moments of weights that Caffe drew, for convolutions, grouped too, inner products and deconvolutions."""
    cases = json.loads((shared / "goldens/fillers.json").read_text())
    for case in cases:
        filler = written(case["filler"])
        made = fill(torch.empty(case["shape"]), filler, torch.Generator().manual_seed(5))
        spread = max(case["max"] - case["min"], 1e-6)
        # Two samples of n numbers differ in mean by about spread / sqrt(n), in standard deviation alike.
        tolerance = 4 * spread / math.sqrt(made.numel()) + 1e-6
        what = f"{case['filler']} of {case['layer']} {case['shape']}"
        assert abs(made.mean().item() - case["mean"]) <= tolerance, what
        assert abs(made.std(correction=0).item() - case["std"]) <= tolerance, what
        assert abs((made == 0).float().mean().item() - case["zeros"]) <= 3 / math.sqrt(made.numel()), what
        if filler.type in ("constant", "uniform", "xavier", "bilinear"):  # the others have tails
            assert abs(made.min().item() - case["min"]) <= 0.03 * spread, what
            assert abs(made.max().item() - case["max"]) <= 0.03 * spread, what
