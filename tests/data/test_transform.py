"""Mean, crop, scale, mirror: against a loop over records written from Caffe's definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nktc.data.transform import Pipeline, cropped, mean_of
from nktc.errors import LayerError
from nktc.ir import Phase, Transform

SHAPE = (3, 12, 10)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (40, *SHAPE), np.uint8)


@pytest.fixture
def mean() -> np.ndarray:
    return np.random.RandomState(1).rand(*SHAPE).astype(np.float32) * 255


def test_without_settings_bytes_become_floats(pixels: np.ndarray) -> None:
    x = Pipeline(Transform(), Phase.TRAIN, SHAPE)(torch.from_numpy(pixels))
    assert x.dtype is torch.float32
    np.testing.assert_array_equal(x, pixels)


def test_floats_are_copied_not_passed_on() -> None:
    given = torch.zeros(2, *SHAPE)
    Pipeline(Transform(), Phase.TEST, SHAPE)(given).fill_(1)
    assert not given.any()


def test_the_centre_is_cut_after_the_mean_is_taken_off_and_before_the_scale(
    pixels: np.ndarray, mean: np.ndarray
) -> None:
    x = Pipeline(Transform(scale=0.25, crop=7, mirror=True), Phase.TEST, SHAPE, mean)(torch.from_numpy(pixels))
    expected = ((pixels.astype(np.float32) - mean) * np.float32(0.25))[:, :, 2:9, 1:8]
    np.testing.assert_array_equal(x, expected)


def test_in_training_crops_wander_and_half_the_records_are_mirrored(pixels: np.ndarray, mean: np.ndarray) -> None:
    x = Pipeline(Transform(crop=7, mirror=True), Phase.TRAIN, SHAPE, mean, seed=5)(torch.from_numpy(pixels))
    whole = pixels.astype(np.float32) - mean
    found = []
    for record, result in zip(whole, x.numpy(), strict=True):
        windows = {
            (row, column, flip): record[:, row : row + 7, column : column + 7][..., :: -1 if flip else 1]
            for row in range(6)
            for column in range(4)
            for flip in (False, True)
        }
        found.append(next(key for key, window in windows.items() if np.array_equal(window, result)))
    assert {row for row, _, _ in found} == set(range(6))
    assert {column for _, column, _ in found} == set(range(4))
    assert 10 <= sum(flip for _, _, flip in found) <= 30


def test_chance_follows_seed_and_position(pixels: np.ndarray) -> None:
    given, settings = torch.from_numpy(pixels), Transform(crop=7, mirror=True)
    pipeline = Pipeline(settings, Phase.TRAIN, SHAPE, seed=5)
    whole = pipeline(given, 100)
    assert torch.equal(whole[10:30], pipeline(given[10:30], 110))
    assert not torch.equal(whole, pipeline(given, 140))
    assert not torch.equal(whole, Pipeline(settings, Phase.TRAIN, SHAPE, seed=6)(given, 100))


def test_mirror_alone_keeps_the_size(pixels: np.ndarray) -> None:
    x = Pipeline(Transform(mirror=True), Phase.TRAIN, SHAPE)(torch.from_numpy(pixels)).numpy()
    as_is = (x == pixels).all(axis=(1, 2, 3))
    flipped = (x == pixels[..., ::-1]).all(axis=(1, 2, 3))
    assert (as_is ^ flipped).all()
    assert 0 < flipped.sum() < len(pixels)


@pytest.mark.parametrize("values", [(10.0,), (10.0, 20.0, 30.0)])
def test_mean_values_serve_all_channels_or_one_each(pixels: np.ndarray, values: tuple[float, ...]) -> None:
    settings = Transform(mean_values=values, crop=5)
    x = Pipeline(settings, Phase.TRAIN, SHAPE, mean_of(settings, SHAPE))(torch.from_numpy(pixels))
    expected = pixels[0, :, :5, :5].shape
    assert x.shape == (40, *expected)
    plain = Pipeline(Transform(crop=5), Phase.TRAIN, SHAPE)(torch.from_numpy(pixels))
    offsets = (plain - x).mean(dim=(0, 2, 3)).tolist()
    assert offsets == pytest.approx(list(np.broadcast_to(values, 3)))


@pytest.mark.parametrize("phase", Phase)
def test_a_mean_that_is_the_same_everywhere_may_be_taken_off_after_the_cut(pixels: np.ndarray, phase: Phase) -> None:
    settings = Transform(mean_values=(10.3, 20.7, 30.1), crop=5, mirror=True, scale=0.3)
    values = mean_of(settings, SHAPE)
    assert values is not None
    found = Pipeline(settings, phase, SHAPE, values, seed=2)(torch.from_numpy(pixels), 7)
    picture = np.broadcast_to(values, SHAPE).copy()
    assert torch.equal(found, Pipeline(settings, phase, SHAPE, picture, seed=2)(torch.from_numpy(pixels), 7))


@pytest.mark.parametrize("phase", Phase)
def test_a_mean_picture_one_column_wide_is_cut_with_the_picture(phase: Phase) -> None:
    given = np.random.RandomState(0).randint(0, 256, (30, 3, 6, 1), np.uint8)
    mean = np.random.RandomState(1).rand(3, 6, 1).astype(np.float32)
    x = Pipeline(Transform(crop=1, mirror=True), phase, (3, 6, 1), mean, seed=5)(torch.from_numpy(given)).numpy()
    whole = given - mean
    for found, one in zip(x, whole, strict=True):
        assert any(np.array_equal(found[:, 0], one[:, row]) for row in range(6))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(LayerError) as refused:
        cropped((3, 32, 30), Transform(crop=31))
    assert (refused.value.message, refused.value.field) == (
        "crop 31x31 is larger than its image 32x30",
        "crop_size",
    )
    with pytest.raises(LayerError) as refused:
        mean_of(Transform(mean_values=(1, 2)), (3, 8, 8))
    assert (refused.value.message, refused.value.field) == ("has 2 mean values for 3 channels", "mean_value")
    with pytest.raises(LayerError) as refused:
        mean_of(Transform(mean_file="m"), (3, 8, 8), np.zeros((3, 9, 9), np.float32))
    assert (refused.value.message, refused.value.field) == (
        "mean image is 3x9x9, its images are 3x8x8",
        "mean_file",
    )
