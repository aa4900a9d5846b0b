"""caffe.coord_map: maps of coordinates are held against where a lit pixel goes."""

from __future__ import annotations

import numpy as np
import pytest
from torch import randn
from torch.nn import functional as F

from nktc.pycaffe import NetSpec, coord_map
from nktc.pycaffe import layers as L
from nktc.pycaffe.coord_map import AxisMismatchException, CropError, UnconnectedError, UndefinedMapException


def numbers(found: tuple) -> tuple:
    """A map with plain numbers; those of several axes are lists."""
    axis, *rest = found
    plain = [np.atleast_1d(np.asarray(value, float)).tolist() for value in rest]
    return (axis, *(value[0] if len(value) == 1 else value for value in plain))


def data() -> object:
    return L.Input(shape={"dim": [1, 1, 40, 40]})


def test_windows_scale_and_shift():
    n = NetSpec()
    n.data = data()
    n.conv = L.Convolution(n.data, num_output=1, kernel_size=5, stride=2, pad=1, dilation=2)
    assert numbers(coord_map.coord_map(n.conv.fn)) == (1, 0.5, (1 - 4) / 2)
    n.pool = L.Pooling(n.data, kernel_size=3, stride=3)
    assert numbers(coord_map.coord_map(n.pool.fn)) == (1, 1 / 3, -1 / 3)
    n.up = L.Deconvolution(n.data, convolution_param={"num_output": 1, "kernel_size": 4, "stride": 2, "pad": 1})
    assert numbers(coord_map.coord_map(n.up.fn)) == (1, 2, 0.5)
    n.tall = L.Pooling(n.data, kernel_h=3, kernel_w=1, stride_h=1, stride_w=2)
    assert numbers(coord_map.coord_map(n.tall.fn)) == (1, [1, 0.5], [-1, 0])
    n.cut = L.Crop(n.data, n.conv, axis=2, offset=[3, 4])
    assert numbers(coord_map.coord_map(n.cut.fn)) == (1, 1, [-3, -4])
    assert coord_map.coord_map(L.ReLU(n.data).fn) == (None, 1, 0)


def test_a_crop_lays_pixels_over_those_they_come_from():
    """FCN's way: convolutions lose the border, a deconvolution goes back to the first size and more."""
    n = NetSpec()
    n.data = data()
    n.conv = L.Convolution(n.data, num_output=1, kernel_size=3, pad=6)
    n.pool = L.Pooling(L.ReLU(n.conv), kernel_size=2, stride=2)
    n.up = L.Deconvolution(n.pool, num_output=1, kernel_size=4, stride=2)
    n.cut = coord_map.crop(n.up, n.data)
    settings = n.to_proto().layer[-1].crop_param
    x = randn(1, 1, 40, 40).abs() * 0.01
    x[0, 0, 17, 22] = 9
    kernel, spread = x.new_zeros(1, 1, 3, 3), F.pad(x.new_ones(1, 1, 2, 2), (1, 1, 1, 1))
    kernel[0, 0, 1, 1] = 1
    y = F.conv_transpose2d(F.max_pool2d(F.conv2d(x, kernel, padding=6), 2), spread, stride=2)
    (offset,) = settings.offset
    cut = y[0, 0, offset : offset + 40, offset : offset + 40].numpy()
    assert settings.axis == 2
    lit = np.argwhere(cut > 8)
    assert np.abs(lit.mean(0) - (17, 22)).max() <= 0.5  # of a pool's four pixels one was lit


def test_maps_compose_and_turn_around():
    there = (1, np.array([0.5]), np.array([-1.5]))
    assert numbers(coord_map.compose(there, coord_map.inverse(there))) == (1, 1, 0)
    assert coord_map.compose((None, 1, 0), (2, 3, 4)) == (2, 3, 4)
    with pytest.raises(AxisMismatchException, match="one map begins at axis 1, the other at axis 2"):
        coord_map.compose((1, 1, 0), (2, 1, 0))


def test_tops_without_a_way_between_them_are_refused():
    n = NetSpec()
    n.data = data()
    n.ip = L.InnerProduct(n.data, num_output=3)
    with pytest.raises(UndefinedMapException, match="no map through a layer of type InnerProduct"):
        coord_map.coord_map(n.ip.fn)
    with pytest.raises(UnconnectedError, match="the tops have no map between them"):
        coord_map.coord_map_from_to(n.ip, n.data)
    with pytest.raises(RuntimeError):
        coord_map.coord_map_from_to(data(), data())
    # What a Crop takes its size from says nothing of places.
    with pytest.raises(UnconnectedError):
        coord_map.coord_map_from_to(L.Crop(data(), n.data), n.data)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stride": 3}, "one top has 0.666667 times the scale of the other"),
        ({"stride": 2, "pad": 5}, r"begins \d+ inside the other"),
        ({"stride": 2, "kernel_size": 3}, "0.5 apart, which is no whole number"),
    ],
)
def test_what_no_crop_can_mend_is_refused(settings, said):
    n = NetSpec()
    n.data = data()
    n.pool = L.Pooling(n.data, kernel_size=2, stride=2)
    n.up = L.Deconvolution(n.pool, num_output=1, **{"kernel_size": 4, **settings})
    with pytest.raises(CropError, match=said) as refused:
        coord_map.crop(n.up, n.data)
    assert isinstance(refused.value, AssertionError)


def test_a_window_of_no_size_has_no_map():
    with pytest.raises(UndefinedMapException, match="Pooling says no kernel_size"):
        coord_map.coord_map(L.Pooling(data(), global_pooling=True).fn)
