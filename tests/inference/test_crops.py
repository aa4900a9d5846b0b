"""Ten crops against a loop that goes by Caffe's definition: corners and centre of the picture, and their mirrors."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from nktc.inference import cut, ten_crops
from nktc.ir import Preprocessing

MEAN = np.float32([104, 117, 123]).reshape(3, 1, 1)


def oversampled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h w c] -> [10 *size c], one pixel at a time, as Caffe's Classifier numbers and places them."""
    height, width = picture.shape[:2]
    middle = int(height / 2 - size[0] / 2), int(width / 2 - size[1] / 2)
    starts = [(0, 0), (0, width - size[1]), (height - size[0], 0), (height - size[0], width - size[1]), middle]
    found = np.empty((10, *size, picture.shape[2]), picture.dtype)
    for i, (top, left) in enumerate(starts):
        for row in range(size[0]):
            for column in range(size[1]):
                found[i, row, column] = picture[top + row, left + column]
                found[5 + i, row, size[1] - 1 - column] = picture[top + row, left + column]
    return found


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("shape", [(9, 12), (8, 8), (7, 11), (6, 5)])
@pytest.mark.parametrize("size", [(5, 5), (6, 4)])
def test_crops_are_where_caffe_takes_them(shape, size):
    if shape[0] < size[0]:
        return
    seen = picture(*shape)
    found = cut(seen.transpose(2, 0, 1), size)
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), oversampled(seen, size))


@pytest.mark.parametrize("mean", ["none", "values", "image"])
def test_a_model_with_a_crop_takes_them_from_the_size_that_it_trained_with(mean):
    seen = picture(30, 20)
    image = np.random.default_rng(1).random((3, 12, 10), np.float32) * 200
    p = Preprocessing((12, 10), "BGR", {"none": None, "values": MEAN, "image": image}[mean], 0.5, crop=8)
    resized = cv2.resize(seen, (10, 12)).astype(np.float32)
    off = 0 if p.mean is None else np.broadcast_to(p.mean, (3, 12, 10)).transpose(1, 2, 0)
    expected = oversampled((resized - off) * np.float32(0.5), (8, 8))
    np.testing.assert_array_equal(ten_crops(seen.transpose(2, 0, 1), p).transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize("mean", ["none", "values", "image"])
def test_a_model_without_a_crop_takes_them_from_a_larger_picture_as_the_classifier_does(mean):
    seen = picture(30, 20)
    image = np.random.default_rng(1).random((3, 14, 7), np.float32) * 200
    p = Preprocessing((14, 7), "BGR", {"none": None, "values": MEAN, "image": image}[mean], 2.0, std=MEAN)
    resized = cv2.resize(seen, (8, 16))
    off = 0 if p.mean is None else np.broadcast_to(p.mean, (3, 14, 7)).transpose(1, 2, 0)
    expected = (oversampled(resized, (14, 7)).astype(np.float32) - off) * np.float32(2) / MEAN.reshape(3)
    np.testing.assert_allclose(ten_crops(seen.transpose(2, 0, 1), p).transpose(0, 2, 3, 1), expected, rtol=1e-6)
    same = ten_crops(seen.transpose(2, 0, 1), dataclasses.replace(p, size=(7, 7), mean=None, crop=7))
    assert same.shape == (10, 3, 7, 7)
