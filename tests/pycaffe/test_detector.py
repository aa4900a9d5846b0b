"""Detector: windows and what is around them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.pycaffe.detector import Detector
from nktc.pycaffe.io import InputError, load_image, resize_image
from nktc.pycaffe.proto.caffe_pb2 import BlobProto, LayerParameter, NetParameter

NET = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "scale" type: "Scale" bottom: "data" top: "scaled" }
    layer { name: "mean" type: "Pooling" bottom: "scaled" top: "mean" pooling_param { pool: AVE global_pooling: true } }
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "net.prototxt").write_text(NET)
    scale = LayerParameter(name="scale", type="Scale", blobs=[BlobProto(shape={"dim": [3]}, data=[1, 1, 1])])
    (tmp_path / "net.caffemodel").write_bytes(NetParameter(layer=[scale]).SerializeToString())
    return str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")


def test_every_window_is_warped_to_the_input(files, tmp_path: Path):
    names = [str(tmp_path / f"{i}.png") for i in range(2)]
    for i, name in enumerate(names):
        cv2.imwrite(name, np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    windows = [(names[0], np.array([[2, 3, 12, 9], [0, 0, 20, 30]])), (names[1], [(5, 5, 13, 13)])]
    found = Detector(*files, raw_scale=255, channel_swap=(2, 1, 0)).detect_windows(windows)
    assert [one["filename"] for one in found] == [names[0], names[0], names[1]]
    assert [[*one["window"]] for one in found] == [[2, 3, 12, 9], [0, 0, 20, 30], [5, 5, 13, 13]]
    wanted = resize_image(load_image(names[0])[2:12, 3:9], (8, 8)).mean((0, 1))[::-1] * 255
    np.testing.assert_allclose(found[0]["prediction"].ravel(), wanted, rtol=1e-4)
    wanted = load_image(names[1])[5:13, 5:13].mean((0, 1))[::-1] * 255
    np.testing.assert_allclose(found[2]["prediction"].ravel(), wanted, rtol=1e-4)
    assert Detector(*files).detect_windows([]) == []


def test_context_is_what_lies_around_a_window_and_the_mean_outside(files):
    net = Detector(*files, mean=np.array([10.0, 20, 30]), raw_scale=255, channel_swap=(2, 1, 0), context_pad=2)
    inside = np.random.default_rng(0).random((40, 40, 3)).astype(np.float32)
    # The window's 16 pixels become 4 of 8, so 16 more are seen, half of them on either side.
    around = resize_image(inside[4:36, 4:36], (8, 8))
    np.testing.assert_allclose(net.crop(inside, [12, 12, 27, 27]), around)
    corner = net.crop(np.full((40, 40, 3), 0.7, np.float32), [0, 0, 15, 15])
    np.testing.assert_allclose(corner[2:, 2:], 0.7, atol=1e-6)
    np.testing.assert_allclose(corner[:2, 5], np.array([[30, 20, 10]] * 2) / 255, atol=1e-6)
    assert net.crop(inside, [0, 0, 40, 40]).shape == (8, 8, 3)


def test_without_context_a_crop_is_the_window(files):
    picture = np.arange(5 * 6 * 3).reshape(5, 6, 3)
    net = Detector(*files)
    np.testing.assert_array_equal(net.crop(picture, (1, 2, 4, 9)), picture[1:4, 2:])
    np.testing.assert_array_equal(net.crop(picture, (-3, 0, 2, 2)), picture[:2, :2])


def test_what_cannot_be_cut_is_refused(files):
    with pytest.raises(InputError, match="the window 9, 0, 12, 4 has nothing of a 5x6"):
        Detector(*files).crop(np.zeros((5, 6, 3)), (9, 0, 12, 4))
    with pytest.raises(InputError, match="a context_pad of 4 leaves nothing of an input 8 wide"):
        Detector(*files, context_pad=4)
    Path(files[0]).write_text(NET.replace("dim: 8 }", "dim: 9 }"))
    with pytest.raises(InputError, match="context_pad is for a square input, this net's is 8 high and 9 wide"):
        Detector(*files, context_pad=2)
    with pytest.raises(NktcError, match="selective search is MATLAB code that is part neither of Caffe nor of nktc"):
        Detector(*files).detect_selective_search(["a.jpg"])
