"""Mean, crop, scale, mirror: against a loop over records written from Caffe's definition."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nktc.data import prepare
from nktc.data.images import resized
from nktc.data.transforms.transform import Pipeline, cropped, mean_of, preprocessing_of, std_of
from nktc.errors import LayerError
from nktc.ir import ColorJitter, Phase, RandomErasing, RandomResizedCrop, Transform

SHAPE = (3, 12, 10)
COUNTERS = np.arange(40)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (40, *SHAPE), np.uint8)


@pytest.fixture
def mean() -> np.ndarray:
    return np.random.RandomState(1).rand(*SHAPE).astype(np.float32) * 255


def test_without_settings_bytes_become_floats(pixels: np.ndarray) -> None:
    x = Pipeline(Transform(), Phase.TRAIN, SHAPE)(torch.from_numpy(pixels), COUNTERS)
    assert x.dtype is torch.float32
    np.testing.assert_array_equal(x, pixels)


def test_floats_are_copied_not_passed_on() -> None:
    given = torch.zeros(2, *SHAPE)
    Pipeline(Transform(), Phase.TEST, SHAPE)(given, np.arange(2)).fill_(1)
    assert not given.any()


def test_the_centre_is_cut_after_the_mean_is_taken_off_and_before_the_scale(
    pixels: np.ndarray, mean: np.ndarray
) -> None:
    x = Pipeline(Transform(scale=0.25, crop=7, mirror=True), Phase.TEST, SHAPE, mean)(
        torch.from_numpy(pixels), COUNTERS
    )
    expected = ((pixels.astype(np.float32) - mean) * np.float32(0.25))[:, :, 2:9, 1:8]
    np.testing.assert_array_equal(x, expected)


def test_in_training_crops_wander_and_half_the_records_are_mirrored(pixels: np.ndarray, mean: np.ndarray) -> None:
    x = Pipeline(Transform(crop=7, mirror=True), Phase.TRAIN, SHAPE, mean, seed=5)(torch.from_numpy(pixels), COUNTERS)
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


def test_chance_follows_seed_and_counter(pixels: np.ndarray) -> None:
    given, settings = torch.from_numpy(pixels), Transform(crop=7, mirror=True)
    pipeline = Pipeline(settings, Phase.TRAIN, SHAPE, seed=5)
    whole = pipeline(given, COUNTERS + 100)
    assert torch.equal(whole[10:30], pipeline(given[10:30], COUNTERS[10:30] + 100))
    assert not torch.equal(whole, pipeline(given, COUNTERS + 140))
    assert not torch.equal(whole, Pipeline(settings, Phase.TRAIN, SHAPE, seed=6)(given, COUNTERS + 100))


def test_mirror_alone_keeps_the_size(pixels: np.ndarray) -> None:
    x = Pipeline(Transform(mirror=True), Phase.TRAIN, SHAPE)(torch.from_numpy(pixels), COUNTERS).numpy()
    as_is = (x == pixels).all(axis=(1, 2, 3))
    flipped = (x == pixels[..., ::-1]).all(axis=(1, 2, 3))
    assert (as_is ^ flipped).all()
    assert 0 < flipped.sum() < len(pixels)


@pytest.mark.parametrize("values", [(10.0,), (10.0, 20.0, 30.0)])
def test_mean_values_serve_all_channels_or_one_each(pixels: np.ndarray, values: tuple[float, ...]) -> None:
    settings = Transform(mean_values=values, crop=5)
    x = Pipeline(settings, Phase.TRAIN, SHAPE, mean_of(settings, SHAPE))(torch.from_numpy(pixels), COUNTERS)
    expected = pixels[0, :, :5, :5].shape
    assert x.shape == (40, *expected)
    plain = Pipeline(Transform(crop=5), Phase.TRAIN, SHAPE)(torch.from_numpy(pixels), COUNTERS)
    offsets = (plain - x).mean(dim=(0, 2, 3)).tolist()
    assert offsets == pytest.approx(list(np.broadcast_to(values, 3)))


@pytest.mark.parametrize("phase", Phase)
def test_a_mean_that_is_the_same_everywhere_may_be_taken_off_after_the_cut(pixels: np.ndarray, phase: Phase) -> None:
    settings = Transform(mean_values=(10.3, 20.7, 30.1), crop=5, mirror=True, scale=0.3)
    values = mean_of(settings, SHAPE)
    assert values is not None
    found = Pipeline(settings, phase, SHAPE, values, seed=2)(torch.from_numpy(pixels), COUNTERS + 7)
    picture = np.broadcast_to(values, SHAPE).copy()
    assert torch.equal(found, Pipeline(settings, phase, SHAPE, picture, seed=2)(torch.from_numpy(pixels), COUNTERS + 7))


@pytest.mark.parametrize("phase", Phase)
def test_a_mean_picture_one_column_wide_is_cut_with_the_picture(phase: Phase) -> None:
    given = np.random.RandomState(0).randint(0, 256, (30, 3, 6, 1), np.uint8)
    mean = np.random.RandomState(1).rand(3, 6, 1).astype(np.float32)
    x = Pipeline(Transform(crop=1, mirror=True), phase, (3, 6, 1), mean, seed=5)(
        torch.from_numpy(given), np.arange(30)
    ).numpy()
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


VARIANTS = {
    "rotation": Transform(rotation=30, fill=9),
    "rotation and crop": Transform(rotation=30, crop=7, mirror=True),
    "random resized crop": Transform(crop=16, mirror=True, random_resized_crop=RandomResizedCrop((0.2, 1), (0.7, 1.4))),
    "both": Transform(crop=7, rotation=20, random_resized_crop=RandomResizedCrop((0.2, 1), (0.7, 1.4))),
    "colours": Transform(color_jitter=ColorJitter(0.4, 0.4, 0.4, 30)),
    "cutout": Transform(cutout=5),
    "erasing": Transform(random_erasing=RandomErasing(0.7, (0.1, 0.4), (0.5, 2))),
    "all": Transform(
        scale=0.1,
        crop=8,
        mirror=True,
        mean_values=(100, 110, 120),
        std_values=(50, 60, 70),
        rotation=20,
        random_resized_crop=RandomResizedCrop((0.2, 1), (0.7, 1.4)),
        color_jitter=ColorJitter(0.4, 0.4, 0.4, 30),
        cutout=3,
        random_erasing=RandomErasing(0.7, (0.1, 0.4), (0.5, 2)),
    ),
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=list(VARIANTS))
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_record_is_the_same_alone_in_any_order_and_in_two_halves(
    pixels: np.ndarray, settings: Transform, kind: type
) -> None:
    given = torch.from_numpy(pixels.astype(kind))
    pipeline = Pipeline(settings, Phase.TRAIN, SHAPE, mean_of(settings, SHAPE), seed=5)
    counters = COUNTERS.astype(np.uint64) + np.uint64(80)
    whole = pipeline(given, counters)
    assert whole.shape == (40, *pipeline.shape)
    assert torch.equal(whole, pipeline(given, counters.astype(np.int64)))
    mixed = np.random.RandomState(0).permutation(40)
    assert torch.equal(whole[mixed], pipeline(given[mixed], counters[mixed]))
    for i in range(0, 40, 7):
        one = pipeline.cut(given[i : i + 1], counters[i : i + 1])
        assert one.dtype == given.dtype
        assert torch.equal(pipeline.values(one, counters[i : i + 1])[0], whole[i])
    assert not torch.equal(whole, pipeline(given, counters + np.uint64(40)))  # the next epoch
    assert torch.equal(given, torch.from_numpy(pixels.astype(kind)))  # what was given is as it was


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=list(VARIANTS))
def test_in_test_nothing_comes_by_chance(pixels: np.ndarray, settings: Transform) -> None:
    if settings.crop > 10:
        settings = dataclasses.replace(settings, crop=10)
    plain = Transform(
        settings.scale, crop=settings.crop, mean_values=settings.mean_values, std_values=settings.std_values
    )
    given, mean = torch.from_numpy(pixels), mean_of(settings, SHAPE)
    found = Pipeline(settings, Phase.TEST, SHAPE, mean, seed=5)(given, COUNTERS)
    assert torch.equal(found, Pipeline(plain, Phase.TEST, SHAPE, mean)(given, COUNTERS * 0))


def test_the_deviation_divides_what_the_scale_leaves(pixels: np.ndarray) -> None:
    settings = Transform(scale=0.3, mean_values=(10,), std_values=(3, 5, 7))
    x = Pipeline(settings, Phase.TEST, SHAPE, mean_of(settings, SHAPE))(torch.from_numpy(pixels), COUNTERS)
    std = np.array([3, 5, 7], np.float32).reshape(3, 1, 1)
    np.testing.assert_array_equal(x, (pixels - np.float32(10)) * np.float32(0.3) / std)


def test_turned_pictures_are_cut_and_mirrored_and_the_mean_is_taken_off_the_window(mean: np.ndarray) -> None:
    # A picture of one colour without fill: what is left of it inside is that colour less the mean of the window.
    given = torch.full((90, 3, 12, 12), 200, dtype=torch.uint8)
    square = np.ascontiguousarray(np.broadcast_to(mean[:, :, :1], (3, 12, 12)))
    settings = Transform(rotation=10, crop=4, mirror=True, fill=200)
    x = Pipeline(settings, Phase.TRAIN, (3, 12, 12), square, seed=5)(given, np.arange(90)).numpy()
    rows = {
        next(row for row in range(9) if np.array_equal(one, 200 - square[:, row : row + 4, :4].astype(np.float32)))
        for one in x
    }
    assert rows == set(range(9))


def test_a_random_resized_crop_of_everything_is_a_plain_resize(pixels: np.ndarray) -> None:
    settings = Transform(crop=20, random_resized_crop=RandomResizedCrop((1, 1), (10 / 12, 10 / 12)))
    x = Pipeline(settings, Phase.TRAIN, SHAPE)(torch.from_numpy(pixels), COUNTERS).numpy()
    for one, record in zip(x, pixels, strict=True):
        expected = cv2.resize(record.transpose(1, 2, 0), (20, 20), interpolation=cv2.INTER_LINEAR)
        assert np.abs(one.transpose(1, 2, 0) - expected).max() <= 2


def test_with_a_random_resized_crop_the_mean_image_is_that_of_the_results(pixels: np.ndarray) -> None:
    settings = Transform(crop=20, mirror=True, random_resized_crop=RandomResizedCrop((0.2, 1), (1, 1)))
    image = np.random.RandomState(1).rand(3, 20, 20).astype(np.float32) * 99
    given = torch.from_numpy(pixels)
    plain = Pipeline(settings, Phase.TRAIN, SHAPE)(given, COUNTERS)
    less = Pipeline(settings, Phase.TRAIN, SHAPE, mean_of(settings, SHAPE, image))(given, COUNTERS)
    for a, b in zip(plain.numpy(), less.numpy(), strict=True):
        assert np.array_equal(b, a - image) or np.array_equal(b, a - image[..., ::-1])
    for wrong in (
        lambda: mean_of(settings, SHAPE, image[:, 1:]),
        lambda: Pipeline(settings, Phase.TRAIN, SHAPE, image[:, 1:]),
    ):
        with pytest.raises(LayerError) as refused:
            wrong()
        assert (refused.value.message, refused.value.field) == (
            "mean image is 3x19x20, what is cut at random is 3x20x20",
            "mean_file",
        )


def test_blots_are_the_mean(pixels: np.ndarray) -> None:
    settings = Transform(mean_values=(300,), scale=0.5, cutout=4)
    x = Pipeline(settings, Phase.TRAIN, SHAPE, mean_of(settings, SHAPE))(torch.from_numpy(pixels), COUNTERS).numpy()
    expected = (pixels - np.float32(300)) * np.float32(0.5)
    assert ((x == expected) | (x == 0)).all()
    assert ((x[:, 0] == 0).sum((1, 2)) >= 4).all()
    assert ((x[:, 0] == 0).sum((1, 2)) <= 16).all()


def test_batches_are_mixed_in_training_alone(pixels: np.ndarray) -> None:
    settings = Transform(mixup=1.0)
    assert not Pipeline(settings, Phase.TEST, SHAPE).mixes
    pipeline = Pipeline(settings, Phase.TRAIN, SHAPE)
    assert pipeline.mixes
    x = pipeline(torch.from_numpy(pixels), COUNTERS)
    found, labels = pipeline.mix(x.clone(), torch.arange(40.0), COUNTERS, 40)
    assert labels.shape == (40, 40)
    np.testing.assert_allclose(found.flatten(1), labels @ x.flatten(1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("mode", ["SQUASH", "CROP", "FILL", "HALF_CROP"])
@pytest.mark.parametrize("mean_image", [False, True])
def test_a_test_batch_and_a_prepared_picture_agree_to_the_bit(tmp_path: Path, mode: str, mean_image: bool) -> None:
    bgr = np.random.RandomState(0).randint(0, 256, (40, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), bgr)
    settings = Transform(
        0.017,
        crop=16,
        order="RGB",
        mean_values=() if mean_image else (123.7, 116.3, 103.5),
        std_values=(0.229, 0.224, 0.225),
        resize=(20, 24),
        resize_mode=mode,
        fill=77,
    )
    record = resized(np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1)), settings)
    image = np.random.RandomState(1).rand(3, 20, 24).astype(np.float32) if mean_image else None
    pipeline = Pipeline(settings, Phase.TEST, record.shape, mean_of(settings, record.shape, image))
    told = preprocessing_of(settings, record.shape, mean_of(settings, record.shape, image))
    assert told is not None
    assert torch.equal(prepare(tmp_path / "x.png", told), pipeline(torch.from_numpy(record)[None], COUNTERS[:1])[0])


def test_what_is_told_of_records_that_are_no_pictures_and_of_crops_of_any_size() -> None:
    assert preprocessing_of(Transform(), (4, 8, 8), None) is None
    wanders = Transform(crop=20, random_resized_crop=RandomResizedCrop((0.2, 1), (1, 1)))
    told = preprocessing_of(wanders, (1, 12, 30), None)
    assert told is not None
    assert (told.size, told.crop, told.order) == ((20, 20), 20, "GRAY")


def test_settings_that_do_not_fit_the_records_are_refused() -> None:
    with pytest.raises(LayerError) as refused:
        Pipeline(Transform(color_jitter=ColorJitter(0.1)), Phase.TRAIN, (4, 8, 8))
    assert (refused.value.message, refused.value.field) == (
        "changes the colours of pictures, its records 4x8x8 have 4 planes",
        "color_jitter",
    )
    Pipeline(Transform(color_jitter=ColorJitter(0.1)), Phase.TEST, (4, 8, 8))
    with pytest.raises(LayerError) as refused:
        std_of(Transform(std_values=(1, 2)), (3, 8, 8))
    assert (refused.value.message, refused.value.field) == ("has 2 std values for 3 channels", "std_value")
    wanders = Transform(crop=20, random_resized_crop=RandomResizedCrop((0.2, 1), (1, 1)))
    assert cropped((3, 5, 40), wanders, Phase.TRAIN) == (3, 20, 20)
    with pytest.raises(LayerError, match="crop 20x20 is larger than its image 5x40"):
        cropped((3, 5, 40), wanders, Phase.TEST)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "settings",
    [
        Transform(crop=7, mirror=True),
        Transform(rotation=20, fill=9, crop=7),
        Transform(crop=9, mirror=True, random_resized_crop=RandomResizedCrop((0.2, 1), (0.75, 1.3))),
        Transform(color_jitter=ColorJitter(0.3, 0.3, 0.3, 20)),
        Transform(cutout=5, random_erasing=RandomErasing(0.5, (0.1, 0.3), (0.5, 2)), std_values=(3.0,)),
    ],
)
def test_a_gpu_cuts_the_same_bytes_and_leaves_them_there(pixels: np.ndarray, settings: Transform) -> None:
    counters, gpu = np.arange(40), torch.device("cuda", 0)
    here = Pipeline(settings, Phase.TRAIN, SHAPE, seed=3)
    there = Pipeline(settings, Phase.TRAIN, SHAPE, seed=3, device=gpu)
    given = torch.from_numpy(pixels)
    cut = there.cut(given.to(gpu), counters)
    assert cut.device == gpu
    assert torch.equal(here.cut(given, counters), cut.cpu())
    torch.testing.assert_close(here(given, counters), there(given.to(gpu), counters).cpu(), rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", [Transform(mixup=0.4), Transform(cutmix=1.0), Transform(mixup=0.4, cutmix=1.0)])
def test_a_gpu_mixes_as_the_cpu_does(pixels: np.ndarray, settings: Transform) -> None:
    found = []
    for device in ("cpu", "cuda"):
        pipeline = Pipeline(settings, Phase.TRAIN, SHAPE, seed=3, device=torch.device(device))
        given, labels = torch.from_numpy(pixels).to(device), torch.arange(40.0, device=device) % 10
        x, shares = pipeline.mix(pipeline(given, np.arange(40)), labels, np.arange(40), 10)
        found.append((x.cpu(), shares.cpu()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-4)
