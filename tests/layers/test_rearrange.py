"""Layers that move values, against loops over their indices."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import Flip, Padding, Reorg, Reverse, ShuffleChannel, Transpose


def numbered(*shape: int) -> np.ndarray:
    return np.arange(float(np.prod(shape))).reshape(shape)


def test_the_channels_of_a_group_are_dealt_out() -> None:
    x = numbered(2, 6, 3, 2)
    y = ShuffleChannel(2).forward(torch.from_numpy(x)).numpy()
    for c in range(6):  # channel j of group i goes to place j of 2, then i
        np.testing.assert_array_equal(y[:, (c % 3) * 2 + c // 3], x[:, c])


def darknet(x: np.ndarray, stride: int, forward: bool) -> np.ndarray:
    """Darknet's reorg on flat memory: which number goes where, as its loop over the input's axes has it."""
    batch, channels, height, width = x.shape
    fewer = channels // stride**2
    y, flat = np.zeros(x.size), x.ravel()
    for b, c, h, w in itertools.product(range(batch), range(channels), range(height), range(width)):
        one = w + width * (h + height * (c + channels * b))
        part = c // fewer
        across, down = w * stride + part % stride, h * stride + part // stride
        other = across + width * stride * (down + height * stride * (c % fewer + fewer * b))
        if forward:
            y[other] = flat[one]
        else:
            y[one] = flat[other]
    return y


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_reorg_has_darknets_order(stride: int) -> None:
    x = numbered(2, 18 if stride == 3 else 8, 6, 12)
    y = Reorg(stride).forward(torch.from_numpy(x))
    assert tuple(y.shape) == Reorg(stride).shape(x.shape)
    np.testing.assert_array_equal(y.numpy().ravel(), darknet(x, stride, False))
    z = Reorg(stride, True).forward(torch.from_numpy(x))
    assert tuple(z.shape) == Reorg(stride, True).shape(x.shape)
    np.testing.assert_array_equal(z.numpy().ravel(), darknet(x, stride, True))


def test_axes_are_ordered_turned_and_mirrored() -> None:
    x = numbered(2, 3, 4, 5)
    t = torch.from_numpy(x)
    np.testing.assert_array_equal(Transpose((3, 1, 0, 2)).forward(t), x.transpose(3, 1, 0, 2))
    assert Transpose((3, 1, 0, 2)).shape(x.shape) == (5, 3, 2, 4)
    np.testing.assert_array_equal(Reverse(2).forward(t), x[:, :, ::-1])
    np.testing.assert_array_equal(Reverse(0).forward(t), x[::-1])
    np.testing.assert_array_equal(Flip().forward(t), x[..., ::-1])
    np.testing.assert_array_equal(Flip(False, True).forward(t), x[:, :, ::-1])
    np.testing.assert_array_equal(Flip(False, False).forward(t), x)


def test_padding_puts_zeros_around_or_cuts_off() -> None:
    x = numbered(1, 2, 4, 5)
    wide = Padding(1, 2).forward(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(wide, np.pad(x, [(0, 0), (0, 0), (1, 2), (1, 2)]))
    np.testing.assert_array_equal(Padding(-2, -1).forward(torch.from_numpy(x)), x[:, :, 2:-1, 2:-1])


@pytest.mark.parametrize(
    ("kind", "settings", "shape", "message", "blamed"),
    [
        (
            "ShuffleChannel",
            "shuffle_channel_param { group: 4 }",
            (1, 6),
            "group 4 does not divide its 6 channels",
            "gr",
        ),
        ("ShuffleChannel", "shuffle_channel_param { group: 0 }", (1, 6), "group is 0", "group: 0"),
        ("Reorg", "", (1, 4, 4, 4), "has no stride", "type"),
        (
            "Reorg",
            "reorg_param { stride: 2 }",
            (1, 3, 4, 4),
            "the square of stride 2 does not divide its 3 channels",
            "stride: 2",
        ),
        (
            "Reorg",
            "reorg_param { stride: 2 }",
            (1, 4, 3, 4),
            "stride 2 does not divide its picture of 3x4",
            "stride: 2",
        ),
        ("Transpose", "transpose_param { dim: 1 dim: 1 }", (2, 3), "dim 1 1 is no order of axes", "dim: 1"),
        (
            "Transpose",
            "transpose_param { dim: 1 dim: 0 }",
            (2, 3, 4),
            "its dim orders 2 axes, its input has 3",
            "dim: 0",
        ),
        ("Reverse", "reverse_param { axis: 2 }", (2, 3), "axis 2 is outside its 2-axis input", "axis: 2"),
        ("Flip", "", (2, 3), "takes 4 axes (batch, channels, height, width), not 2", 'bottom: "x0"'),
        (
            "Padding",
            "padding_param { pad_beg: 1 pad_end: -1 }",
            (1, 1, 3, 3),
            "pad_beg 1 and pad_end -1 have different signs",
            "pad_end: -1",
        ),
        ("Padding", "padding_param { pad_beg: -3 }", (1, 1, 3, 4), "leaves nothing of a picture of 3x4", "pad_beg: -3"),
    ],
)
def test_what_does_not_fit_is_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, settings: str, shape: tuple[int, ...], message: str, blamed: str
) -> None:
    found, at = refusal(kind, settings, shape)
    assert found == message
    assert at.startswith(blamed)
