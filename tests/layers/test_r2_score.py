"""R2Score: scikit-learn's r2_score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from nktc.errors import LayerError
from nktc.layers import R2Score


@pytest.mark.parametrize("shape", [(7, 1), (40, 3), (5,), (6, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_that_of_scikit_learn(shape: Sequence[int], dtype: torch.dtype) -> None:
    random = np.random.default_rng(1)
    target = 2e5 + 1e5 * random.normal(size=shape)
    prediction = target + 7e4 * random.normal(size=shape)
    found = R2Score().forward(torch.tensor(prediction, dtype=dtype), torch.tensor(target, dtype=dtype))
    expected = r2_score(target.reshape(len(target), -1), prediction.reshape(len(target), -1))
    assert found.dtype == dtype
    assert float(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("target", "prediction"), [([3, 3, 3], [3, 3, 3]), ([2.5] * 3, [2.5, 2.5, 3]), ([4], [5])])
def test_a_constant_target_is_met_or_not(target: list[float], prediction: list[float]) -> None:
    found = R2Score().forward(torch.tensor(prediction), torch.tensor(target))
    assert float(found) == (1 if target == prediction else 0)
    if len(target) > 1:
        assert float(found) == r2_score(target, prediction)


def test_nothing_learns_through_it() -> None:
    prediction = torch.randn(4, 2, requires_grad=True)
    assert not R2Score().forward(prediction, torch.randn(4, 2)).requires_grad


def test_bottoms_of_another_batch_or_count_are_refused() -> None:
    assert R2Score().shape((4, 2), (4, 2, 1)) == ()
    for target in ((3, 2), (4, 3)):
        with pytest.raises(LayerError, match="differ"):
            R2Score().shape((4, 2), target)


def test_rounding_makes_no_spread_of_a_constant_target() -> None:
    target = torch.full((3,), 0.1, dtype=torch.float64)  # the mean of these is not 0.1
    assert float(R2Score().forward(torch.tensor([0.1, 0.1, 0.2]), target)) == 0
