"""Blobs by their bytes, against protobuf's own reading and numpy's own types."""

from __future__ import annotations

import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.ir import array, stored_blob
from nktc.schema import BlobProto

VALUES = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


def read(data: bytes) -> np.ndarray:
    return stored_blob(memoryview(data)).array()


def shaped(*dims: int, **fields: object) -> BlobProto:
    blob = BlobProto(**fields)
    blob.shape.dim.extend(dims)
    return blob


def raw(kind: int, values: np.ndarray) -> bytes:
    """A blob as NVIDIA Caffe writes it: raw_data_type = 10, raw_data = 12."""
    data = values.tobytes()
    assert len(data) < 1 << 14
    return (
        shaped(*values.shape).SerializeToString()
        + bytes([0x50, kind, 0x62, len(data) & 0x7F | 0x80, len(data) >> 7])
        + data
    )


@pytest.mark.parametrize(
    "blob",
    [
        shaped(2, 3, 4, data=VALUES.ravel()),
        shaped(2, 3, 4, double_data=VALUES.ravel()),
        shaped(24, data=VALUES.ravel(), diff=VALUES.ravel()),
        BlobProto(num=2, channels=3, height=4, width=1, data=VALUES.ravel()),
        BlobProto(data=VALUES.ravel()),
        shaped(7, num=1, channels=2, height=3, width=4, data=VALUES.ravel()),
        shaped(data=[3]),
        shaped(0),
    ],
    ids=["shape", "double", "diff", "four axes", "no shape", "both, as Caffe has it", "one number", "none"],
)
def test_the_bytes_of_a_blob_say_what_its_message_says(blob: BlobProto) -> None:
    found, expected = read(blob.SerializeToString()), array(blob)
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_nvidia_caffes_raw_numbers_are_read(kind: int, dtype: str) -> None:
    values = VALUES.astype(dtype)
    found = stored_blob(memoryview(raw(kind, values)))
    assert found.dtype == {0: "f64", 1: "f32", 2: "f16"}[kind]
    np.testing.assert_array_equal(found.array(), values.astype(np.float32))


@pytest.mark.parametrize("diff", [False, True])
def test_blobs_of_five_axes_are_read_as_c3d_1_0_wrote_them(diff: bool) -> None:
    """There 1 to 5 are num, channels, length, height and width, 6 is data and 7 is diff."""
    dims = bytes([0x08, 2, 0x10, 1, 0x18, 3, 0x20, 4, 0x28, 1])
    size = VALUES.nbytes
    data = bytes([0x32, size]) + VALUES.tobytes()
    more = bytes([0x3A, size]) + VALUES.tobytes() if diff else b""
    np.testing.assert_array_equal(read(dims + data + more), VALUES.reshape(2, 1, 3, 4, 1))


def test_numbers_that_stand_one_by_one_or_in_several_pieces_are_read() -> None:
    one_by_one = b"".join(b"\x2d" + value.tobytes() for value in VALUES.ravel())
    shape = shaped(2, 3, 4).SerializeToString()
    np.testing.assert_array_equal(read(one_by_one + shape), VALUES)
    pieces = (
        BlobProto(data=VALUES.ravel()[:5]).SerializeToString() + BlobProto(data=VALUES.ravel()[5:]).SerializeToString()
    )
    np.testing.assert_array_equal(read(shape + pieces), VALUES)


def test_a_double_that_no_float_holds_is_infinite() -> None:
    assert read(shaped(2, double_data=[1e300, -1e300]).SerializeToString()).tolist() == [np.inf, -np.inf]


def test_fields_of_other_forks_are_passed_over() -> None:
    more = b"\x9a\x01\x03abc" + b"\xa0\x01\x05" + b"\x4a\x00"
    np.testing.assert_array_equal(read(more + shaped(24, data=VALUES.ravel()).SerializeToString()), VALUES.ravel())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (shaped(2, 2, data=[1, 2, 3]).SerializeToString(), r"a blob of shape \[2, 2\] holds 3 numbers"),
        (shaped(-1, -3, data=[1, 2, 3]).SerializeToString(), "holds 3 numbers"),
        (shaped(2**62, 2**62, data=[1]).SerializeToString(), "holds 1 numbers"),
        (shaped(5).SerializeToString(), r"\[5\] holds 0 numbers"),
        (shaped(*[1] * 33, data=[1]).SerializeToString(), "a blob has more than 32 axes"),
        (b"\x2a\x03abc", "the 3 bytes of field 5 are no numbers of 4 bytes"),
        (raw(2, VALUES)[:-1], "field 12 at byte .* has 96 bytes, 95 are left"),
        (raw(3, VALUES), "its raw_data is of the type 3, not of DOUBLE, FLOAT or FLOAT16"),
        (raw(0, VALUES), r"a blob of shape \[2, 3, 4\] holds 12 numbers"),
    ],
)
def test_what_is_no_blob_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(NktcError, match=said):
        stored_blob(memoryview(data))
