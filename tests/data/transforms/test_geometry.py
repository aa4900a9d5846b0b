"""Maps and sampling: against NumPy's turns, OpenCV's resize and its general affine map."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from nktc.data.transforms import geometry
from nktc.ir import RandomResizedCrop

COUNTERS = np.arange(2000)


def pictures(n: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(3).randint(0, 256, (n, *shape), np.uint8)


def sampled(pixels: np.ndarray, maps: np.ndarray, size: tuple[int, int], fill: float | None = None) -> np.ndarray:
    return geometry.sample(torch.from_numpy(pixels), maps, size, fill).numpy()


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("side", [1, 2, 9, 224])
def test_a_turn_by_right_angles_moves_every_pixel_whole(quarters: int, side: int) -> None:
    given = pictures(2, 3, side, side)
    maps = geometry.turns(np.full(2, 90.0 * quarters), (side, side))
    expected = np.rot90(given, quarters, (2, 3))
    np.testing.assert_array_equal(sampled(given, maps, (side, side), 7), expected)


def test_half_a_turn_of_an_oblong_picture_is_both_mirrors() -> None:
    given = pictures(1, 2, 5, 12)
    found = sampled(given, geometry.turns(np.array([180.0]), (5, 12)), (5, 12), 0)
    np.testing.assert_array_equal(found, given[:, :, ::-1, ::-1])


@pytest.mark.parametrize("degrees", [-33.0, 12.5, 75.0])
def test_any_turn_is_opencvs_with_the_fill_outside(degrees: float) -> None:
    # A smooth picture, for OpenCV takes places to 1/32 of a pixel.
    row, column = np.mgrid[:30, :40]
    smooth = (128 + 50 * np.sin(row / 5) + 50 * np.cos(column / 7)).astype(np.float32)
    there = geometry.turns(np.array([degrees]), (30, 40))
    found = geometry.sample(torch.from_numpy(smooth)[None, None], there, (30, 40), 90)[0, 0].numpy()
    matrix = cv2.getRotationMatrix2D((19.5, 14.5), degrees, 1)
    expected = cv2.warpAffine(smooth, matrix, (40, 30), flags=cv2.INTER_LINEAR, borderValue=(90.0,))
    np.testing.assert_allclose(found, expected, atol=4)
    assert (found == 90).any()


def test_maps_together_are_what_they_are_one_after_another() -> None:
    given = pictures(4, 3, 9, 9)
    rows, columns, flips = np.array([0, 1, 2, 3]), np.array([3, 1, 0, 2]), np.array([0, 1, 1, 0])
    maps = geometry.turns(np.full(4, 90.0), (9, 9)) @ geometry.shifts(rows, columns) @ geometry.mirrors(flips, 6)
    turned = np.rot90(given, 1, (2, 3)).copy()
    expected = geometry.window(torch.from_numpy(turned), rows, columns, flips, (6, 6)).numpy()
    np.testing.assert_array_equal(sampled(given, maps, (6, 6)), expected)
    for one, whole, row, column, flip in zip(expected, turned, rows, columns, flips, strict=True):
        np.testing.assert_array_equal(one, whole[:, row : row + 6, column : column + 6][..., :: -1 if flip else 1])


@pytest.mark.parametrize("size", [(8, 8), (20, 13), (33, 50), (1, 1)])
@pytest.mark.parametrize("shape", [(20, 13), (7, 31), (1, 5), (5, 1)])
def test_a_stretched_whole_picture_is_a_plain_resize(shape: tuple[int, int], size: tuple[int, int]) -> None:
    given = pictures(1, 3, *shape)
    boxes = np.array([[0.0], [0.0], [shape[0]], [shape[1]]])
    found = sampled(given, geometry.stretches(boxes, size), size)[0].transpose(1, 2, 0).astype(int)
    expected = cv2.resize(given[0].transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(found - expected).max() <= 2  # a place is taken to 1/256 of a pixel


def test_a_box_on_whole_pixels_in_its_own_size_is_cut_exactly() -> None:
    given = pictures(1, 3, 10, 12)
    boxes = np.array([[3.0], [2.0], [5.0], [6.0]])
    np.testing.assert_array_equal(sampled(given, geometry.stretches(boxes, (5, 6)), (5, 6))[0], given[0, :, 3:8, 2:8])


def test_floats_are_sampled_as_bytes_are_but_for_the_rounding() -> None:
    given = pictures(5, 3, 11, 14)
    maps = geometry.turns(np.linspace(-60, 60, 5), (11, 14))
    floats = sampled(given.astype(np.float32), maps, (11, 14), 0)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(sampled(given, maps, (11, 14), 0), np.rint(floats))


@pytest.mark.parametrize("shape", [(32, 32), (17, 45), (225, 300), (1, 7)])
@pytest.mark.parametrize("fill", [None, 0, 200])
def test_no_digit_is_lost_so_that_every_device_gives_the_same(shape: tuple[int, int], fill: int | None) -> None:
    given = pictures(3, 2, *shape)
    maps = geometry.turns(np.array([-140.0, 3, 77]), shape)
    found = sampled(given.astype(np.float32), maps, shape, fill).astype(np.float64) * 256 * 256
    np.testing.assert_array_equal(found, np.rint(found))  # two places of 1/256 each, times whole numbers
    assert found.max() <= 255 * 256 * 256


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_record_is_sampled_the_same_alone(kind: type) -> None:
    given = (pictures(7, 3, 13, 11) * 0.77).astype(kind)
    maps = geometry.turns(np.linspace(-60, 60, 7), (13, 11))
    whole = sampled(given, maps, (9, 7), 3)
    for i in range(7):
        np.testing.assert_array_equal(sampled(given[i : i + 1], maps[i : i + 1], (9, 7), 3)[0], whole[i])


def test_random_boxes_keep_area_and_aspect_and_lie_anywhere_inside() -> None:
    top, left, height, width = geometry.random_boxes(RandomResizedCrop((0.1, 0.4), (0.5, 2)), (60, 60), 1, COUNTERS)
    area, aspect = height * width / 3600, width / height
    assert 0.1 <= area.min() < 0.105
    assert 0.395 < area.max() <= 0.4
    assert area.mean() == pytest.approx(0.25, abs=0.01)
    assert 0.5 <= aspect.min() < 0.51
    assert 1.97 < aspect.max() <= 2
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.03)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 60).all()
    assert (left + width <= 60).all()
    for place, room in ((top, 60 - height), (left, 60 - width)):
        assert (place / room).mean() == pytest.approx(0.5, abs=0.03)


def test_a_box_that_does_not_fit_is_clipped() -> None:
    top, left, height, width = geometry.random_boxes(RandomResizedCrop((1, 1), (4, 4)), (10, 20), 1, COUNTERS[:3])
    assert (width == 20).all()
    assert (left == 0).all()
    np.testing.assert_allclose(height, np.sqrt(200 / 4))
    assert len(set(top)) == 3
