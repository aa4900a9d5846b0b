"""Pictures brought to a net."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc.data import find_images, load_images, prepare
from nktc.errors import NktcError
from nktc.ir import Preprocessing


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
