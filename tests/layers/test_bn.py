"""BN of each fork against its definition, and which fork its fields tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nktc.ir import Layer, Phase

X = (4, 3, 2, 5)
ALONG = (0, 2, 3)
PSPNET = "bn_param { slope_filler { value: 1 } bias_filler { value: 0 } momentum: 0.8 eps: 0.01 }"


def weights(it: Layer) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.rand(weight.shape, dtype=torch.float64) + 0.5 for name, weight in it.weights(X).items()}


@pytest.fixture
def x() -> Tensor:
    return torch.randn(X, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.TEST])
def test_segnets_takes_mean_and_variance_from_the_batch(layer: Callable[..., Layer], x: Tensor, phase: Phase) -> None:
    it = layer("BN", "bn_param { scale_filler { value: 1 } shift_filler { value: 0.001 } }", X, tops=3, phase=phase)
    held = weights(it)
    assert list(held) == ["slope", "bias"]
    y, mean, variance = it.forward(x, **held)
    torch.testing.assert_close(mean, x.mean(ALONG, keepdim=True))
    torch.testing.assert_close(variance, x.var(ALONG, correction=0, keepdim=True))
    expected = (x - mean) / (variance + 1e-9).sqrt() * held["slope"] + held["bias"]
    torch.testing.assert_close(y, expected)


def test_segnets_is_a_factor_and_a_shift_in_inference(layer: Callable[..., Layer], x: Tensor) -> None:
    it = layer("BN", "bn_param { bn_mode: INFERENCE }", X)
    held = weights(it)
    torch.testing.assert_close(it.forward(x, **held), x * held["slope"] + held["bias"])


def test_the_other_stores_in_train_what_it_takes_in_test(layer: Callable[..., Layer], x: Tensor) -> None:
    it = layer("BN", PSPNET, X, phase=Phase.TRAIN)
    held = weights(it)
    assert list(held) == ["slope", "bias", "mean", "variance"]
    assert [weight.learns for weight in it.weights(X).values()] == [True, True, False, False]
    before = {name: one.clone() for name, one in held.items()}
    mean, variance = x.mean(ALONG, keepdim=True), x.var(ALONG, correction=0, keepdim=True)
    expected = (x - mean) / (variance + 0.01).sqrt() * held["slope"] + held["bias"]
    torch.testing.assert_close(it.forward(x, **held), expected)
    torch.testing.assert_close(held["mean"], 0.8 * before["mean"] + 0.2 * mean)
    torch.testing.assert_close(held["variance"], 0.8 * before["variance"] + 0.2 * variance)
    stored = (x - held["mean"]) / (held["variance"] + 0.01).sqrt() * held["slope"] + held["bias"]
    torch.testing.assert_close(layer("BN", PSPNET, X).forward(x, **held), stored)


def test_the_stored_variance_starts_at_0_and_frozen_at_1(layer: Callable[..., Layer]) -> None:
    for settings, start in (("momentum: 0.9", 0), ("momentum: 0.9 frozen: true", 1)):
        found = layer("BN", f"bn_param {{ {settings} }}", X).weights(X)["variance"].filler
        assert (found.type, found.value) == ("constant", start)


def test_frozen_it_learns_and_stores_nothing(layer: Callable[..., Layer], x: Tensor) -> None:
    it = layer("BN", "bn_param { frozen: true }", X, phase=Phase.TRAIN)
    held = weights(it)
    assert not any(weight.learns for weight in it.weights(X).values())
    before = {name: one.clone() for name, one in held.items()}
    expected = (x - held["mean"]) / (held["variance"] + 1e-5).sqrt() * held["slope"] + held["bias"]
    torch.testing.assert_close(it.forward(x, **held), expected)
    torch.testing.assert_close(held, before)


@pytest.mark.parametrize(
    ("settings", "tops", "message"),
    [
        ("", 1, "does not say which of two it is"),
        ("bn_mode: LEARN momentum: 0.9", 1, "bn_mode is SegNet's, momentum is PSPNet's"),
        ("momentum: 2", 1, "momentum 2 is outside 0 to 1"),
        ("bn_mode: INFERENCE", 2, "makes 1 top, not 2"),
    ],
)
def test_what_stays_open_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, tops: int, message: str
) -> None:
    found, _ = refusal("BN", f"bn_param {{ {settings} }}", X, tops=tops)
    assert found == message
