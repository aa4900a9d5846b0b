"""caffe.io: what pictures and messages become."""

from __future__ import annotations

import io as streams
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from nktc.pycaffe import io
from nktc.pycaffe.proto.caffe_pb2 import BlobProto, Datum

PICTURE = np.random.default_rng(0).random((6, 9, 3)).astype(np.float32)


def scikit_resize(im: np.ndarray, size: tuple[int, int], order: int) -> np.ndarray:
    """What scikit-image's resize(mode="constant", anti_aliasing=False) comes down to, on a picture from 0 to 1."""
    factors = [wanted / there for wanted, there in zip((*size, im.shape[2]), im.shape, strict=True)]
    return ndimage.zoom(im, factors, order=order, mode="grid-constant", cval=0, grid_mode=True)


@pytest.mark.parametrize("size", [(6, 9), (3, 4), (13, 20), (1, 30), (12, 2)], ids=str)
@pytest.mark.parametrize("order", [1, 3])
def test_pictures_of_three_planes_are_resized_as_scikit_image_does(size, order):
    low, high = PICTURE.min(), PICTURE.max()
    wanted = scikit_resize((PICTURE - low) / (high - low), size, order)
    if order > 1:
        wanted = wanted.clip(0, 1)
    found = io.resize_image(PICTURE, size, order)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted * (high - low) + low, atol=1e-5)


def test_a_larger_picture_fades_to_its_smallest_value_at_its_edges():
    picture = np.array([[5.0, 9.0]]).reshape(1, 2, 1)
    # Twice as wide the outer places lie a quarter pixel outside: three quarters of the pixel, one of the smallest.
    wanted = [5, 0.75 * 5 + 0.25 * 9, 0.25 * 5 + 0.75 * 9, 0.75 * 9 + 0.25 * 5]
    np.testing.assert_allclose(io.resize_image(picture, (1, 4)).ravel(), wanted)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arrays_of_other_depths_are_resized_as_scipy_zooms(order):
    volume = np.random.default_rng(1).random((7, 5, 4))
    wanted = ndimage.zoom(volume, (10 / 7, 3 / 5, 1), order=order)
    np.testing.assert_allclose(io.resize_image(volume, (10, 3), order), wanted, atol=1e-5)


def test_a_constant_picture_stays_so():
    np.testing.assert_array_equal(io.resize_image(np.full((4, 4, 3), 0.3), (9, 2)), np.full((9, 2, 3), np.float32(0.3)))


@pytest.mark.parametrize(
    ("picture", "size", "order", "said"),
    [
        (np.zeros((4, 4)), (2, 2), 1, "a picture is height x width x channels, not 4x4"),
        (np.zeros((4, 4, 3)), (0, 2), 1, "a picture cannot be resized to 0x2"),
        (np.zeros((4, 4, 3)), (2, 2), 9, "interp_order 9 is none of 0 to 5"),
    ],
)
def test_what_cannot_be_resized_is_refused(picture, size, order, said):
    with pytest.raises(io.InputError, match=said):
        io.resize_image(picture, size, order)


def transformer(shape: tuple[int, ...] = (10, 3, 4, 5)) -> io.Transformer:
    return io.Transformer({"data": shape})


def test_a_picture_goes_through_every_step_in_order_and_back():
    made = transformer()
    made.set_transpose("data", (2, 0, 1))
    made.set_channel_swap("data", (2, 1, 0))
    made.set_raw_scale("data", 255)
    made.set_mean("data", np.array([104.0, 117.0, 123.0]))
    made.set_input_scale("data", 0.017)
    picture = np.random.default_rng(2).random((4, 5, 3)).astype(np.float32)
    given = picture.copy()
    found = made.preprocess("data", picture)
    blue = (picture[:, :, 2] * 255 - 104) * 0.017
    np.testing.assert_allclose(found[0], blue, atol=1e-4)
    assert found.shape == (3, 4, 5)
    np.testing.assert_array_equal(picture, given)
    np.testing.assert_allclose(made.deprocess("data", found[None]), picture, atol=1e-5)


def test_a_picture_of_another_size_is_resized_first():
    made = transformer((1, 3, 3, 2))
    made.set_transpose("data", (2, 0, 1))
    wanted = io.resize_image(PICTURE, (3, 2)).transpose(2, 0, 1)
    np.testing.assert_array_equal(made.preprocess("data", PICTURE), wanted)


def test_a_mean_picture_is_resized_to_the_input():
    made = transformer()
    mean = np.random.default_rng(3).random((3, 8, 10)) * 255
    made.set_mean("data", mean)
    wanted = io.resize_image(mean.transpose(1, 2, 0), (4, 5)).transpose(2, 0, 1)
    np.testing.assert_allclose(made.mean["data"], wanted, rtol=1e-6)
    made.set_mean("data", wanted)
    assert made.mean["data"] is wanted
    gray = io.Transformer({"data": (1, 1, 4, 5)})
    gray.set_mean("data", np.ones((4, 5)))
    assert gray.mean["data"].shape == (4, 5)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda t: t.set_raw_scale("dat", 1), "dat is not one of the net's inputs"),
        (lambda t: t.set_transpose("data", (1, 0)), "transpose has 2 axes, data has 3 behind the batch"),
        (lambda t: t.set_channel_swap("data", (1, 0)), "channel_swap has 2 channels, data has 3"),
        (lambda t: t.set_channel_swap("data", (0, 1, 3)), "channel_swap names channel 3, data has 3"),
        (lambda t: t.set_mean("data", np.zeros(2)), "the mean has 2 channels, data has 3"),
        (lambda t: t.set_mean("data", np.zeros((2, 9, 9))), "the mean has 2 channels, data has 3"),
        (lambda t: t.set_mean("data", np.zeros((1, 3, 4, 5))), r"a mean is \[c\], \[h w\] or \[c h w\], not 1x3x4x5"),
    ],
)
def test_settings_that_do_not_fit_the_input_are_refused(ask, said):
    with pytest.raises(ValueError, match=said):
        ask(transformer())


def test_ten_crops_come_in_caffes_order():
    picture = np.arange(5 * 6, dtype=np.float32).reshape(5, 6, 1)
    crops = io.oversample([picture, -picture], (2, 3))
    assert crops.shape == (20, 2, 3, 1)
    corners = [picture[a : a + 2, b : b + 3] for a, b in ((0, 0), (0, 3), (3, 0), (3, 3), (1, 1))]
    np.testing.assert_array_equal(crops[:5], corners)
    np.testing.assert_array_equal(crops[5:10], np.stack(corners)[:, :, ::-1])
    np.testing.assert_array_equal(crops[10:], -crops[:10])
    with pytest.raises(io.InputError, match="crops of 6x6 cannot be cut from 5x6"):
        io.oversample([picture], (6, 6))


def test_an_image_file_is_red_green_blue_from_0_to_1(tmp_path: Path):
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes blue first
    cv2.imwrite(str(tmp_path / "red.png"), red)
    found = io.load_image(str(tmp_path / "red.png"))
    assert (found.dtype, found.shape) == (np.float32, (2, 3, 3))
    np.testing.assert_array_equal(found[0, 0], [1, 0, 0])
    np.testing.assert_allclose(io.load_image(tmp_path / "red.png", color=False), np.full((2, 3, 1), 0.2125), atol=1e-6)
    np.testing.assert_array_equal(io.load_image(streams.BytesIO((tmp_path / "red.png").read_bytes())), found)


@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_gray_pictures_get_three_planes_and_transparency_goes(tmp_path: Path, kind: type, top: int):
    gray = np.array([[0, top], [top // 3, top]], kind)
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    np.testing.assert_allclose(io.load_image(tmp_path / "gray.png")[..., 1], gray / top, atol=1e-6)
    assert io.load_image(tmp_path / "gray.png", color=False).shape == (2, 2, 1)
    cv2.imwrite(str(tmp_path / "clear.png"), np.dstack([gray, gray * 0, gray * 0, gray * 0]))
    np.testing.assert_allclose(io.load_image(tmp_path / "clear.png"), np.dstack([gray * 0, gray * 0, gray]) / top)


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_is_no_image_is_an_oserror_that_names_it(tmp_path: Path, content: bytes):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(OSError, match=r"x\.png is not an image that can be decoded"):
        io.load_image(tmp_path / "x.png")
    with pytest.raises(OSError, match=r"nowhere\.png does not exist"):
        io.load_image(tmp_path / "nowhere.png")


def test_arrays_go_through_blobs_and_their_vectors():
    array, diff = np.arange(6.0).reshape(1, 2, 3), np.ones((1, 2, 3))
    blob = io.array_to_blobproto(array, diff)
    assert [*blob.shape.dim] == [1, 2, 3]
    np.testing.assert_array_equal(io.blobproto_to_array(blob), array)
    np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), diff)
    packed = io.arraylist_to_blobprotovector_str([array, array[0, 0]])
    np.testing.assert_array_equal(io.blobprotovector_str_to_arraylist(packed)[1], [0, 1, 2])
    with pytest.raises(ValueError, match="the diff is 1, the data 1x2x3"):
        io.array_to_blobproto(array, np.ones(1))


def test_old_blobs_and_those_in_double_precision_are_read():
    old = BlobProto(num=1, channels=1, height=2, width=2, double_data=[1, 2, 3, 4])
    np.testing.assert_array_equal(io.blobproto_to_array(old), [[[[1, 2], [3, 4]]]])
    with pytest.raises(ValueError, match="the blob holds 3 numbers, its shape is a single number"):
        io.blobproto_to_array(BlobProto(data=[1, 2, 3]))


def test_arrays_go_through_datums():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    datum = io.array_to_datum(pixels.transpose(0, 2, 1), label=7)
    assert (datum.data, datum.label) == (pixels.transpose(0, 2, 1).tobytes(), 7)
    np.testing.assert_array_equal(io.datum_to_array(datum), pixels.transpose(0, 2, 1))
    floats = io.array_to_datum(pixels / 4)
    assert not floats.data
    assert not floats.HasField("label")
    np.testing.assert_array_equal(io.datum_to_array(floats), pixels / 4)
    encoded = Datum(data=cv2.imencode(".png", pixels.transpose(1, 2, 0))[1].tobytes(), encoded=True)
    np.testing.assert_array_equal(io.datum_to_array(encoded), pixels)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: io.array_to_datum(np.zeros((2, 2))),
        lambda: io.datum_to_array(Datum(channels=1, height=2, width=2, data=b"abc")),
        lambda: io.datum_to_array(Datum(data=b"no picture", encoded=True)),
    ],
)
def test_datums_that_do_not_fit_are_refused(ask):
    with pytest.raises(io.InputError):
        ask()
