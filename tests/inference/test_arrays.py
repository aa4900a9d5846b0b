"""Arrays: pictures of bytes are prepared, what is prepared is fed, and what fits nothing is told."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.inference import arrays
from nktc.inference.intake import Intake
from nktc.ir import DType, Preprocessing, Value

PICTURES = Intake((Value("data", (0, 3, 4, 6)),), {"data": Preprocessing((4, 6), "BGR", scale=0.5)})
GRAYS = Intake((Value("data", (0, 1, 4, 6)),), {"data": Preprocessing((4, 6), "GRAY")})
TABLE = Intake((Value("x", (0, 5)),), {})
TWO = Intake((Value("a", (0, 5)), Value("b", (0, 2, 2))), {})
APART = Intake((Value("a", (7, 5)), Value("info", (1, 3))), {})
INSIDE = Intake((Value("data", (0, 4, 6, 3), DType.U8),), {"data": Preprocessing((4, 6), "RGB")})

RGB = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8)


def rows(jobs) -> list[tuple[str, dict[str, np.ndarray]]]:
    return [(job.name, dict(job.load())) for job in jobs]


def save(folder: Path, **named: np.ndarray) -> Path:
    np.savez(folder / "a.npz", **named)
    return folder / "a.npz"


def test_pictures_of_bytes_are_rgb_and_prepared_as_files_are(tmp_path):
    np.save(tmp_path / "a.npy", RGB)
    found = rows(arrays.of_file(tmp_path / "a.npy", "a.npy", PICTURES))
    assert [name for name, _ in found] == ["a.npy#0", "a.npy#1", "a.npy#2"]
    for (_, one), picture in zip(found, RGB, strict=True):
        np.testing.assert_array_equal(one["data"][0], picture[:, :, ::-1].transpose(2, 0, 1) * np.float32(0.5))
        done, png = cv2.imencode(".png", picture[:, :, ::-1])
        assert done
        np.testing.assert_array_equal(one["data"], PICTURES.file(png.tobytes(), "it")["data"])


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 3), (2, 8, 9), (2, 8, 9, 1), (2, 8, 9, 3)])
def test_bytes_may_be_one_picture_or_several_gray_or_not(shape):
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    several = len(shape) == 4 or (len(shape) == 3 and shape[2] == 9)
    for intake, planes in ((PICTURES, 3), (GRAYS, 1)):
        found = rows(arrays.of_array(array, "x", intake))
        assert [name for name, _ in found] == (["x#0", "x#1"] if several else ["x"])
        assert found[0][1]["data"].shape == (1, planes, 4, 6)
        assert found[0][1]["data"].dtype == np.float32


def test_a_model_that_prepares_its_pictures_gets_bytes_in_rgb():
    ((_, one), *_) = rows(arrays.of_array(RGB, "x", INSIDE))
    assert one["data"].dtype == np.uint8
    np.testing.assert_array_equal(one["data"][0], RGB[0])
    larger = np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8)
    ((_, one),) = rows(arrays.of_array(larger, "x", INSIDE))
    np.testing.assert_array_equal(one["data"][0], cv2.resize(larger, (6, 4)))


def test_floats_are_fed_as_they_are():
    array = np.random.default_rng(0).standard_normal((2, 3, 4, 6))
    found = rows(arrays.of_array(array, "x", PICTURES))
    np.testing.assert_array_equal(np.concatenate([one["data"] for _, one in found]), array.astype(np.float32))
    ((name, one),) = rows(arrays.of_array(array[1], "x", PICTURES))
    assert name == "x"
    np.testing.assert_array_equal(one["data"][0], array[1].astype(np.float32))
    found = rows(arrays.of_array(np.arange(10, dtype=np.uint8).reshape(2, 5), "x", TABLE))
    assert [one["x"].tolist() for _, one in found] == [[[0, 1, 2, 3, 4]], [[5, 6, 7, 8, 9]]]


def test_an_npz_has_an_array_for_each_input_by_name(tmp_path):
    a, b = np.random.default_rng(0).random((3, 5)), np.random.default_rng(1).random((3, 2, 2))
    path = save(tmp_path, b=b, a=a, label=np.arange(9))
    found = rows(arrays.of_file(path, "f", TWO))
    assert [name for name, _ in found] == ["f#0", "f#1", "f#2"]
    np.testing.assert_array_equal(found[1][1]["a"], a[1:2].astype(np.float32))
    np.testing.assert_array_equal(found[1][1]["b"], b[1:2].astype(np.float32))
    assert [one["x"].shape for _, one in rows(arrays.of_file(save(tmp_path, anything=a), "f", TABLE))] == [(1, 5)] * 3
    assert len(rows(arrays.of_file(save(tmp_path, y=b, x=a), "f", TABLE))) == 3


def test_inputs_without_a_batch_in_common_are_fed_whole(tmp_path):
    path = save(tmp_path, a=np.ones((7, 5)), info=np.ones((1, 3)))
    (job,) = arrays.of_file(path, "f", APART)
    assert (job.name, job.whole) == ("f", True)
    assert {name: array.shape for name, array in job.load().items()} == {"a": (7, 5), "info": (1, 3)}


def test_the_bytes_of_a_file_are_read_as_it_is():
    held = io.BytesIO()
    np.save(held, np.ones((2, 5)))
    assert len(rows(arrays.of_bytes_or_array(held.getvalue(), "x", TABLE))) == 2


@pytest.mark.parametrize(
    ("array", "intake", "said"),
    [
        (np.zeros((2, 3, 4, 6), np.uint8), PICTURES, "x is uint8 2x3x4x6: pictures of bytes are height x width x 3"),
        (np.zeros((2, 3, 4, 5)), PICTURES, "x is float64 2x3x4x5, the model takes f32 nx3x4x6"),
        (np.zeros((0, 4, 3), np.uint8), PICTURES, "x is uint8 0x4x3, which is no picture"),
        (np.zeros(5, complex), TABLE, "x holds complex128, not numbers that a model takes"),
        (np.array(["a"]), TABLE, "x holds <U1, not numbers that a model takes"),
        (np.zeros((2, 5)), TWO, "x is one thing, and the model takes a nx5, b nx2x2"),
        (np.float32(3), TABLE, "x is float32 a single number, the model takes f32 nx5"),
    ],
)
def test_arrays_that_fit_nothing_are_told(array, intake, said):
    with pytest.raises(NktcError) as caught:
        list(arrays.of_array(np.asarray(array), "x", intake))
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize(
    ("named", "intake", "said"),
    [
        ({"a": np.ones((3, 5))}, TWO, "f has no array for the input b; it has a"),
        ({"dat": np.ones((3, 5)), "y": np.ones(1)}, PICTURES, 'f has no array for the input data; did you mean "dat"?'),
        ({"a": np.ones((3, 5)), "b": np.ones((4, 2, 2))}, TWO, "f has different numbers of rows: a 3, b 4"),
        ({"a": np.ones((3, 4)), "b": np.ones((3, 2, 2))}, TWO, "f: a is float64 3x4, the model takes f32 nx5"),
        ({"a": np.ones((6, 5)), "info": np.ones((1, 3))}, APART, "f: a is float64 6x5, the model takes 7x5"),
        ({}, TABLE, "f has no array for the input x; it has none"),
    ],
)
def test_an_npz_that_does_not_fit_is_told(named, intake, said, tmp_path):
    with pytest.raises(NktcError) as caught:
        list(arrays.of_file(save(tmp_path, **named), "f", intake))
    assert caught.value.message == said


def test_files_that_hold_no_arrays_are_told(tmp_path):
    good = save(tmp_path, x=np.ones((100, 5))).read_bytes()
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    for content, said in (
        (b"words", "is no .npy or .npz file"),
        (b"", "is no .npy or .npz file"),
        (good[:-30], "cannot be read as arrays: "),
        (good[:300] + b"?" * 100 + good[400:], "cannot be read as arrays: "),
        ((tmp_path / "o.npy").read_bytes(), "cannot be read as arrays: "),
        (b"\x93NUMPY\x01\x00", "cannot be read as arrays: "),
    ):
        (tmp_path / "f.npz").write_bytes(content)
        for held in (tmp_path / "f.npz", content):
            with pytest.raises(NktcError, match=said):
                list(arrays.of_file(held, "f.npz", TABLE))
    with pytest.raises(NktcError, match="cannot be read as arrays: No such file"):
        list(arrays.of_file(tmp_path / "none.npy", "none.npy", TABLE))
