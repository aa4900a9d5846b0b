"""Pictures and arrays as batches of a model's inputs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from nktc.engines import feeds_from
from nktc.errors import NktcError
from nktc.ir import DType, Preprocessing, Value

X = Value("x", (1, 3, 4, 4))
OTHER = Value("n", (0, 2))


def rows(count: int, shape=(3, 4, 4)) -> np.ndarray:
    return np.arange(count * np.prod(shape), dtype=np.float64).reshape(count, *shape)


def saved(tmp_path, name: str = "in.npz", **arrays):
    if name.endswith(".npy"):
        np.save(tmp_path / name, next(iter(arrays.values())))
    else:
        np.savez(tmp_path / name, **arrays)
    return tmp_path / name


def test_arrays_come_in_batches_as_the_inputs_types(tmp_path):
    path = saved(tmp_path, x=rows(5), n=np.ones((5, 2), np.int32), more=np.zeros(3))
    found = feeds_from([path], [X, OTHER], {}, 4, 3, "net")
    assert [[*one] for one in found] == [["x", "n"]] * 2
    assert [len(one["x"]) for one in found] == [3, 1]
    np.testing.assert_array_equal(np.concatenate([one["x"] for one in found]), rows(5)[:4])
    assert {array.dtype for one in found for array in one.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["in.npy", "in.npz", "IN.NPZ"])
def test_the_only_array_is_the_only_input_whatever_it_is_called(name, tmp_path):
    if name == "IN.NPZ":
        saved(tmp_path, z=rows(2)).rename(tmp_path / name)
    else:
        saved(tmp_path, name, z=rows(2))
    (found,) = feeds_from([tmp_path / name], [X], {}, 9, 9, "net")
    np.testing.assert_array_equal(found["x"], rows(2))


def test_pictures_are_prepared_as_the_model_says(tmp_path):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8, 3), 10 * i, np.uint8))
    found = feeds_from([tmp_path], [X], {"x": Preprocessing((4, 4), "BGR", scale=0.1)}, 3, 2, "net")
    assert [one["x"].shape for one in found] == [(2, 3, 4, 4), (1, 3, 4, 4)]
    np.testing.assert_allclose(np.concatenate([one["x"][:, 0, 0, 0] for one in found]), [0, 1, 2], rtol=1e-6)
    assert len(feeds_from([tmp_path], [X], {"x": Preprocessing((4, 4), "BGR")}, 2, 2, "net")) == 1


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": rows(2, (3, 4))}, "has no input x f32[any 3 4 4] but x float64[2 3 4]"),
        ({"x": rows(2, (3, 4, 5))}, "has no input x f32[any 3 4 4] but x float64[2 3 4 5]"),
        ({"x": rows(0)}, "has no input x f32[any 3 4 4] but x float64[0 3 4 4]"),
        ({"y": rows(2), "z": rows(2)}, "has no input x f32[any 3 4 4] but y float64[2 3 4 4], z float64[2 3 4 4]"),
        ({"x": rows(2).astype(str)}, "has no input x f32[any 3 4 4] but x <U32[2 3 4 4]"),
        ({}, "has no input x f32[any 3 4 4] but nothing"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, told, tmp_path):
    path = saved(tmp_path, **arrays)
    with pytest.raises(NktcError) as caught:
        feeds_from([path], [X], {}, 1, 1, "net")
    assert caught.value.message == f"{path} {told}"


def test_inputs_of_different_lengths_are_refused(tmp_path):
    path = saved(tmp_path, x=rows(2), n=np.ones((3, 2)))
    with pytest.raises(NktcError, match="have different numbers of records"):
        feeds_from([path], [X, OTHER], {}, 9, 9, "net")


def test_every_damage_of_a_file_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "in.npz"
    np.savez_compressed(path, x=rows(3))
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    damaged = [whole[:length] for length in range(0, len(whole) - 1, 17)]
    for _ in range(30):
        data = bytearray(whole)
        for place in draw.integers(len(data), size=4):
            data[place] = draw.integers(256)
        damaged.append(bytes(data))
    said = []
    for data in [*damaged, b"text", b""]:
        path.write_bytes(data)
        try:
            feeds_from([path], [X], {}, 9, 9, "net")
        except NktcError as error:
            said.append(error.message)
    assert len(said) > len(damaged) / 2
    assert not [message for message in said if "\n" in message]
    assert said[-2:] == [f"{path} is damaged, or no .npy or .npz file of arrays"] * 2
    with pytest.raises(NktcError, match=r"cannot read .*no\.npz: No such file"):
        feeds_from([tmp_path / "no.npz"], [X], {}, 9, 9, "net")


def test_what_cannot_be_fed_is_refused(tmp_path):
    path = saved(tmp_path, x=rows(2))
    with pytest.raises(NktcError, match="nothing goes with it"):
        feeds_from([path, path], [X], {}, 9, 9, "net")
    for inputs in ([X], [X, OTHER]):
        with pytest.raises(NktcError) as caught:
            feeds_from([tmp_path], inputs, {}, 9, 9, "net")
        assert str(caught.value) == (
            "error: net does not say how pictures become its inputs\nhelp: give prepared inputs as an .npz"
        )
    (tmp_path / "empty").mkdir()
    with pytest.raises(NktcError):
        feeds_from([tmp_path / "empty"], [X], {"x": Preprocessing((4, 4), "BGR")}, 9, 9, "net")


def test_bytes_stay_bytes(tmp_path):
    value = Value("x", (0, 4, 4, 3), DType.U8)
    (found,) = feeds_from([saved(tmp_path, x=np.ones((1, 4, 4, 3), np.uint8))], [value], {}, 9, 9, "net")
    assert found["x"].dtype == np.uint8
