"""What a model is fed with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.inference import ten_crops
from nktc.inference.intake import Intake, fits, open_times
from nktc.ir import DType, Preprocessing, Value

RGB = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
PNG = cv2.imencode(".png", RGB[:, :, ::-1])[1].tobytes()


def intake(order: str, dtype: DType = DType.F32, **more) -> Intake:
    planes = 1 if order == "GRAY" else 3
    return Intake((Value("x", (0, planes, 4, 4), dtype),), {"x": Preprocessing((9, 8), order, crop=4)}, **more)


@pytest.mark.parametrize("order", ["BGR", "RGB", "GRAY"])
def test_files_and_pixels_of_either_order_become_the_same(order):
    taken = intake(order)
    file = taken.file(PNG, "it")["x"]
    tolerance = 1 if order == "GRAY" else 0  # the decoder's gray is rounded otherwise
    for found in (taken.pixels(RGB, "RGB", "it"), taken.pixels(RGB[:, :, ::-1], "BGR", "it")):
        np.testing.assert_allclose(found["x"], file, atol=tolerance)
    assert file.shape[2:] == (4, 4)


def test_a_gray_picture_is_the_same_in_every_plane():
    found = intake("BGR").pixels(RGB[:, :, 0], "RGB", "it")["x"]
    np.testing.assert_array_equal(found[0], np.repeat(RGB[None, 2:6, 2:6, 0], 3, 0))
    np.testing.assert_array_equal(intake("BGR").pixels(RGB[:, :, :1], "RGB", "it")["x"], found)


def test_oversampling_makes_ten_rows_of_a_picture():
    taken = intake("BGR", oversample=True)
    expected = ten_crops(RGB[:, :, ::-1].transpose(2, 0, 1), taken.preprocessing["x"])
    np.testing.assert_array_equal(taken.file(PNG, "it")["x"], expected)
    assert len(expected) == 10


@pytest.mark.parametrize("dtype", [DType.F16, DType.F32, DType.BF16])
def test_rows_have_the_type_that_the_input_has(dtype):
    assert intake("RGB", dtype).file(PNG, "it")["x"].dtype == dtype.numpy
    table = Intake((Value("x", (0, 2), dtype),), {})
    assert table.row(np.ones(2), "it")["x"].dtype == dtype.numpy


def test_a_row_takes_the_shape_of_the_input_where_it_has_as_many_numbers():
    table = Intake((Value("x", (0, 2, 3)),), {})
    assert table.row(np.arange(6), "it")["x"].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    with pytest.raises(NktcError, match="it is 7, the model takes 2x3"):
        table.row(np.arange(7), "it")
    assert Intake((Value("x", (0, 0, 3)),), {}).row(np.ones((5, 3)), "it")["x"].shape == (1, 5, 3)


def test_pictures_are_for_models_that_take_them():
    two = Intake((Value("a", (0, 3, 4, 4)), Value("b", (0, 1))), {})
    inside = Intake((Value("x", (0, 4, 4, 3), DType.U8),), {"x": Preprocessing((4, 4), "RGB")}, oversample=True)
    for taken, said in (
        (two, "it is one thing, and the model takes a nx3x4x4, b nx1"),
        (Intake((Value("x", (0, 5)),), {}), "it is taken for a picture, and the model takes f32 nx5"),
        (Intake((Value("x", (0, 3, 0, 7)),), {}), "the model leaves the size of its pictures open: x 3xnx7"),
        (inside, "a model that prepares its pictures itself takes no crops"),
    ):
        with pytest.raises(NktcError) as caught:
            taken.file(PNG, "it")
        assert caught.value.message == said


def test_zero_in_a_shape_is_any_size():
    assert fits((3, 4), (0, 4))
    assert not fits((3, 4), (0, 5))
    assert not fits((3,), (0, 0))
    assert [open_times(shape) for shape in ((0, 10), (10, 0, 100), (2, 3), ())] == [
        "nx10",
        "10xnx100",
        "2x3",
        "a single number",
    ]
