"""Changes of colours: against a formula for each pixel, one step after another."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from nktc.data.transforms import chance, colors
from nktc.ir import ColorJitter

SETTINGS = ColorJitter(0.4, 0.3, 0.5, 40)
COUNTERS = np.arange(6) + 11


def given(planes: int = 3) -> np.ndarray:
    return np.random.RandomState(2).randint(60, 180, (6, planes, 9, 7)).astype(np.uint8)


def expected(rgb: np.ndarray, settings: ColorJitter, counter: int, seed: int = 5) -> np.ndarray:
    """f64[3 h w], step by step: brightness, contrast, saturation, hue."""

    def drawn(name: str, low: float, high: float) -> float:
        return float(chance.even(seed, name, np.array([counter]), low, high)[0])

    def grey(p: np.ndarray) -> np.ndarray:
        return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]

    x = rgb.astype(np.float64) * drawn("brightness", 1 - settings.brightness, 1 + settings.brightness)
    factor = drawn("contrast", 1 - settings.contrast, 1 + settings.contrast)
    x = factor * x + (1 - factor) * grey(x).mean()
    factor = drawn("saturation", 1 - settings.saturation, 1 + settings.saturation)
    x = factor * x + (1 - factor) * grey(x)
    angle = np.deg2rad(drawn("hue", -settings.hue, settings.hue))
    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    y, i, q = np.einsum("ij,jhw->ihw", yiq, x)
    turned = np.stack([y, np.cos(angle) * i - np.sin(angle) * q, np.sin(angle) * i + np.cos(angle) * q])
    found: np.ndarray = np.einsum("ij,jhw->ihw", np.linalg.inv(yiq), turned)
    return found


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize(
    "settings",
    [SETTINGS, ColorJitter(0.4), ColorJitter(0, 0.4), ColorJitter(0, 0, 0.4), ColorJitter(0, 0, 0, 90)],
    ids=["all", "brightness", "contrast", "saturation", "hue"],
)
def test_each_pixel_is_changed_step_by_step(settings: ColorJitter, order: str) -> None:
    way = slice(None, None, -1 if order == "BGR" else 1)
    found = colors.jittered(torch.from_numpy(given()), settings, order, 5, COUNTERS)
    assert found.dtype == torch.uint8
    for one, record, counter in zip(found.numpy(), given(), COUNTERS, strict=True):
        wanted = expected(record[way], settings, int(counter))
        np.testing.assert_allclose(one[way], wanted.clip(0, 255), atol=1)  # coefficients are multiples of 1/1024
    floats = colors.jittered(torch.from_numpy(given().astype(np.float32)), settings, order, 5, COUNTERS)
    np.testing.assert_array_equal(found, np.floor(floats.numpy() + 0.5).clip(0, 255))


def test_a_grey_plane_takes_brightness_and_contrast_alone() -> None:
    planes = torch.from_numpy(given(1))
    found = colors.jittered(planes, SETTINGS, "BGR", 5, COUNTERS)
    assert found.shape == planes.shape
    as_three = colors.jittered(planes.expand(-1, 3, -1, -1), SETTINGS, "BGR", 5, COUNTERS).numpy()
    assert np.abs(found.numpy().astype(int) - as_three).max() <= 1


def test_nothing_asked_changes_nothing_and_bytes_stay_bytes() -> None:
    planes = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (6, 3, 9, 7), np.uint8))
    assert torch.equal(colors.jittered(planes, ColorJitter(), "BGR", 1, COUNTERS), planes)
    bright = colors.jittered(torch.full((6, 3, 4, 4), 255, dtype=torch.uint8), ColorJitter(1), "BGR", 3, COUNTERS)
    factors = chance.even(3, "brightness", COUNTERS, 0, 2)
    np.testing.assert_allclose(bright[:, 0, 0, 0], np.minimum(255, np.rint(255 * factors)), atol=1)
    assert (bright == 255).all(dim=(1, 2, 3)).any()
    assert not (bright == 255).all()


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_record_is_changed_the_same_alone(kind: type) -> None:
    planes = torch.from_numpy((given() * 0.9).astype(kind))
    whole = colors.jittered(planes, SETTINGS, "BGR", 5, COUNTERS)
    for i in range(6):
        alone = colors.jittered(planes[i : i + 1], SETTINGS, "BGR", 5, COUNTERS[i : i + 1])
        assert torch.equal(alone[0], whole[i])


def test_a_third_of_a_turn_takes_red_towards_another_hue_of_the_same_grey() -> None:
    red = np.array([200.0, 60.0, 60.0])
    matrix = colors.color_matrices(np.ones(1), np.ones(1), np.array([120.0]))[0]
    turned = matrix @ red
    grey = np.array([0.299, 0.587, 0.114])
    assert grey @ turned == pytest.approx(grey @ red)
    hue = colorsys.rgb_to_hsv(*(turned.clip(0, 255) / 255))[0]
    assert abs(hue - 1 / 3) < 0.12 or abs(hue - 2 / 3) < 0.12
