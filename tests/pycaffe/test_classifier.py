"""Classifier: what it answers is worked out by hand from a net that takes means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nktc.pycaffe.classifier import Classifier
from nktc.pycaffe.io import InputError, resize_image
from nktc.pycaffe.proto.caffe_pb2 import BlobProto, LayerParameter, NetParameter

# Its output is the mean of each channel, and a weight file is needed: a Scale of 2 and 3.
NET = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
    layer { name: "scale" type: "Scale" bottom: "data" top: "scaled" }
    layer { name: "mean" type: "Pooling" bottom: "scaled" top: "mean" pooling_param { pool: AVE global_pooling: true } }
"""
FACTORS = np.array([2.0, 3.0, 5.0])
PICTURES = np.random.default_rng(0).random((3, 6, 7, 3)).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "net.prototxt").write_text(NET)
    scale = LayerParameter(name="scale", type="Scale", blobs=[BlobProto(shape={"dim": [3]}, data=FACTORS)])
    (tmp_path / "net.caffemodel").write_bytes(NetParameter(layer=[scale]).SerializeToString())
    return str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")


def test_the_centre_is_cut_swapped_scaled_and_centred(files):
    net = Classifier(*files, image_dims=(6, 7), mean=np.array([1.0, 2, 3]), raw_scale=255, channel_swap=(2, 1, 0))
    centre = PICTURES[:, 1:5, 1:5].mean((1, 2))[:, ::-1]
    found = net.predict(PICTURES, oversample=False)
    assert found.shape == (3, 3, 1, 1)
    np.testing.assert_allclose(found[..., 0, 0], (centre * 255 - [1, 2, 3]) * FACTORS, rtol=1e-5)


def test_ten_crops_are_averaged(files):
    net = Classifier(*files, image_dims=(6, 7), input_scale=0.5)
    places = [(0, 0), (0, 3), (2, 0), (2, 3), (1, 1)]
    means = np.mean([PICTURES[:, a : a + 4, b : b + 4].mean((1, 2)) for a, b in places], 0)
    np.testing.assert_allclose(net.predict(PICTURES), means * FACTORS * 0.5, rtol=1e-5)


def test_without_image_dims_pictures_are_resized_to_the_input(files):
    net = Classifier(*files)
    wanted = [resize_image(picture, (4, 4)).mean((0, 1)) * FACTORS for picture in PICTURES]
    np.testing.assert_allclose(net.predict([*PICTURES], oversample=False)[..., 0, 0], wanted, rtol=1e-5)


def test_pictures_that_give_no_crop_are_refused(files):
    net = Classifier(*files, image_dims=(3, 9))
    for oversample in (False, True):
        with pytest.raises(InputError, match="crops of 4x4 cannot be cut from 3x9"):
            net.predict(PICTURES, oversample)
    with pytest.raises(InputError, match="there are no pictures to classify"):
        net.predict([])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"channel_swap": (2, 1, 0)}, "a picture has 1 channels, channel_swap has 3"),
        ({"channel_swap": (-1, -2, -3)}, "a picture has 1 channels, channel_swap has 3"),
        ({"mean": np.zeros((3, 4, 4))}, "the mean is 3x4x4, the picture 1x4x4"),
    ],
)
def test_gray_pictures_are_refused_where_the_net_takes_colours(files, settings, said):
    with pytest.raises(InputError, match=said):
        Classifier(*files, **settings).predict(PICTURES[..., :1])


def test_a_net_without_an_input_is_refused(files):
    Path(files[0]).write_text(NET.replace("Input", "DummyData").replace("input_param", "dummy_data_param"))
    with pytest.raises(InputError, match="give its deploy net, which begins with an Input"):
        Classifier(*files)
