"""Fillers: the moments Caffe's draws have."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from nktc.errors import Source
from nktc.ir import Filler
from nktc.layers import fill, settings
from nktc.layers.filler import bilinear, fan
from nktc.schema import FillerParameter
from nktc.text import bind, parse


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


def test_bilinear_weights_interpolate() -> None:
    square = bilinear((1, 1, 4, 4))[0, 0]
    torch.testing.assert_close(square[0], torch.tensor([1.0, 3.0, 3.0, 1.0]) / 16)
    torch.testing.assert_close(square, square.T)


def test_every_filler_draws_as_caffes(shared: Path) -> None:
    """Moments of weights that Caffe drew, for convolutions, grouped too, inner products and deconvolutions."""
    cases = json.loads((shared / "goldens/fillers.json").read_text())
    for case in cases:
        message = bind(parse(Source("filler", case["filler"])), FillerParameter)
        filler = settings.filler(message, "weight_filler")
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
