"""Pictures brought to a net."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc.data import find_images, load_images, prepare
from nktc.data.images import resize, resized
from nktc.errors import NktcError
from nktc.ir import Phase, Preprocessing, RandomResizedCrop, Transform


@pytest.fixture
def picture(tmp_path: Path) -> tuple[Path, np.ndarray]:
    bgr = np.random.RandomState(0).randint(0, 256, (40, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), bgr)
    return tmp_path / "x.png", bgr


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_mean_crop_and_scale_are_applied_in_that_order(picture: tuple[Path, np.ndarray], order: str) -> None:
    path, bgr = picture
    mean = np.random.RandomState(1).rand(3, 20, 16).astype(np.float32) * 200
    found = prepare(path, Preprocessing((20, 16), order, mean, 0.25, 10))
    resized = cv2.resize(bgr, (16, 20)).transpose(2, 0, 1)[:: -1 if order == "RGB" else 1]
    np.testing.assert_array_equal(found, ((resized.astype(np.float32) - mean) * np.float32(0.25))[:, 5:15, 3:13])


def test_gray_has_one_plane(picture: tuple[Path, np.ndarray]) -> None:
    path, bgr = picture
    found = prepare(path.read_bytes(), Preprocessing((40, 30), "GRAY"))
    assert found.shape == (1, 40, 30)
    np.testing.assert_allclose(found[0], cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), atol=1)


def scaled(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """[3 h w] by OpenCV alone."""
    return cv2.resize(picture.transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)


WIDE = np.random.RandomState(5).randint(1, 256, (3, 20, 60), np.uint8)


def test_cropping_covers_the_size_and_cuts_the_middle() -> None:
    np.testing.assert_array_equal(resize(WIDE, (10, 12), "CROP"), scaled(WIDE, 10, 30)[:, :, 9:21])
    tall = WIDE.transpose(0, 2, 1)
    np.testing.assert_array_equal(resize(tall, (13, 10), "CROP"), scaled(tall, 30, 10)[:, 8:21])


def test_filling_fits_into_the_size_and_the_odd_rest_is_below() -> None:
    found = resize(WIDE, (17, 30), "FILL", 99)
    np.testing.assert_array_equal(found[:, 3:13], scaled(WIDE, 10, 30))
    assert (found[:, :3] == 99).all()
    assert (found[:, 13:] == 99).all()


def test_half_a_crop_cuts_half_and_fills_half() -> None:
    # Sides are divided by 2 and by 4 to be 10x15: by 3 here, which leaves 7x20.
    found = resize(WIDE, (10, 15), "HALF_CROP", 7)
    np.testing.assert_array_equal(found[:, 1:8], scaled(WIDE, 7, 20)[:, :, 2:17])
    assert (found[:, :1] == 7).all()
    assert (found[:, 8:] == 7).all()


@pytest.mark.parametrize("mode", ["SQUASH", "CROP", "FILL", "HALF_CROP"])
@pytest.mark.parametrize("planes", [1, 3, 5])
def test_every_mode_gives_the_size_in_the_pictures_own_kind(mode: str, planes: int) -> None:
    for kind in (np.uint8, np.float32):
        for shape, size in (((1, 9), (8, 8)), ((9, 1), (3, 7)), ((300, 2), (4, 5)), ((8, 6), (4, 3))):
            picture = np.full((planes, *shape), 5, kind)
            found = resize(picture, size, mode, 5)
            assert (found.shape, found.dtype) == ((planes, *size), kind)
            assert (found == 5).all()
    same = np.zeros((planes, 4, 4), np.uint8)
    assert resize(same, (4, 4), mode) is same


@pytest.mark.parametrize(
    ("shape", "size"),
    [((600, 1), (16, 16)), ((1, 601), (8, 9)), ((1500, 2), (20, 31)), ((2001, 7), (30, 40)), ((3000, 19), (64, 40))],
)
@pytest.mark.parametrize("tall", [True, False])
def test_of_a_thin_picture_the_middle_comes_out_as_if_all_were_scaled(
    shape: tuple[int, int], size: tuple[int, int], tall: bool
) -> None:
    rows, columns = np.indices(shape)
    waves = np.stack([127 + 120 * np.sin(rows / 9 + columns / 5 + i) for i in range(3)]).astype(np.uint8)
    if not tall:
        waves, size = waves.transpose(0, 2, 1), (size[1], size[0])
    height, width = waves.shape[1:]
    ratio = min(height / size[0], width / size[1])
    whole = scaled(waves, max(1, round(height / ratio)), max(1, round(width / ratio)))
    top, left = ((there - wanted) // 2 for there, wanted in zip(whole.shape[1:], size, strict=True))
    expected = whole[:, top : top + size[0], left : left + size[1]].astype(int)
    np.testing.assert_allclose(resize(waves, size, "CROP"), expected, atol=1 if min(shape) < 19 else 2)


def test_a_picture_however_thin_takes_no_more_than_a_multiple_of_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def note(picture: np.ndarray, size: tuple[int, int], **kind: int) -> np.ndarray:
        asked.append(size[0] * size[1])
        return np.zeros((size[1], size[0], 3), np.uint8)

    monkeypatch.setattr(cv2, "resize", note)
    for shape in ((65_000, 1), (1, 65_000), (65_000, 2), (65_000, 30), (3, 3000)):
        assert resize(np.zeros((3, *shape), np.uint8), (256, 256), "CROP").shape == (3, 256, 256)
        assert asked.pop() <= 64 * 256 * 256


@pytest.mark.parametrize("mode", ["SQUASH", "CROP", "FILL", "HALF_CROP"])
def test_a_size_that_no_picture_has_is_refused(mode: str) -> None:
    for size in ((2_000_000_000, 5), (5, 2**32 - 1)):
        with pytest.raises(NktcError) as refused:
            resize(WIDE, size, mode)
        assert refused.value.message == f"a picture of {size[0]}x{size[1]} has more than 1,073,741,824 pixels"


@pytest.mark.parametrize("error", [cv2.error("no more"), MemoryError()])
def test_a_picture_that_there_is_no_memory_for_is_refused(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def lack(*given: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(cv2, "resize", lack)
    monkeypatch.setattr(cv2.error, "err", "", raising=False)  # OpenCV leaves what it said last at the class
    said = "a picture of 3x20x60 cannot be brought to 9x9: there is no memory for it"
    with pytest.raises(NktcError, match=said):
        resize(WIDE, (9, 9))


@pytest.mark.parametrize("mode", ["CROP", "FILL", "HALF_CROP"])
def test_where_nothing_sticks_out_all_modes_are_one(mode: str) -> None:
    np.testing.assert_array_equal(resize(WIDE, (10, 30), mode), resize(WIDE, (10, 30)))


def test_a_random_resized_crop_takes_the_place_of_the_resize_in_training_alone() -> None:
    settings = Transform(resize=(10, 12), crop=8, resize_mode="FILL", fill=3)
    np.testing.assert_array_equal(resized(WIDE, settings, Phase.TRAIN), resize(WIDE, (10, 12), "FILL", 3))
    wanders = Transform(resize=(10, 12), crop=8, random_resized_crop=RandomResizedCrop((0.5, 1), (1, 1)))
    assert resized(WIDE, wanders, Phase.TRAIN) is WIDE
    assert resized(WIDE, wanders).shape == (3, 10, 12)
    assert resized(WIDE, Transform(crop=8)) is WIDE


def test_a_picture_is_prepared_by_its_mode_and_divided_by_the_deviation(picture: tuple[Path, np.ndarray]) -> None:
    path, bgr = picture
    std = np.array([3.0, 7.0, 0.3], np.float32).reshape(3, 1, 1)
    mean = np.array([1.0, 2.0, 3.0], np.float32).reshape(3, 1, 1)
    found = prepare(path, Preprocessing((30, 30), "BGR", mean, 0.1, 20, "FILL", 50, std))
    brought = resize(bgr.transpose(2, 0, 1), (30, 30), "FILL", 50)[:, 5:25, 5:25].astype(np.float32)
    np.testing.assert_array_equal(found, (brought - mean) * np.float32(0.1) / std)


def test_many_come_in_order(tmp_path: Path) -> None:
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), np.full((5, 5, 3), i, np.uint8))
    batch = load_images(find_images([tmp_path]), Preprocessing((4, 4), "RGB"))
    assert batch.shape == (12, 3, 4, 4)
    assert batch[:, 0, 0, 0].tolist() == list(range(12))


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("words")
    with pytest.raises(NktcError) as refused:
        load_images([tmp_path / "x.jpg"], Preprocessing((4, 4), "BGR"))
    assert str(refused.value) == f"error: {tmp_path / 'x.jpg'} is not an image that can be decoded"
    with pytest.raises(NktcError, match=r"y\.jpg cannot be read \(No such file or directory\)"):
        prepare(tmp_path / "y.jpg", Preprocessing((4, 4), "BGR"))


def test_images_are_found_in_folders_and_named_ones_kept(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("deep/er/b.PNG", "deep/a.jpg", "deep/notes.txt", "odd.name"):
        (tmp_path / name).touch()
    named = tmp_path / "odd.name"
    found = find_images([named, str(tmp_path / "deep")])
    assert found == [named, tmp_path / "deep" / "a.jpg", tmp_path / "deep" / "er" / "b.PNG"]
    with pytest.raises(NktcError, match="gone is not there"):
        find_images([tmp_path / "gone"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(NktcError, match="empty holds no image files"):
        find_images([tmp_path / "empty"])
