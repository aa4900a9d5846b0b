"""Windows: how often they fit and how far they stick out."""

from __future__ import annotations

import itertools

import pytest
import torch

from nktc.errors import LayerError
from nktc.layers.window import Window, around, cut, spread


def window(kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1) -> Window:
    return Window((kernel,), (stride,), (pad,), (dilation,))


@pytest.mark.parametrize(
    ("size", "shown", "down", "up"),
    [
        (7, window(3), 5, 5),
        (7, window(3, stride=2), 3, 3),
        (8, window(3, stride=2), 3, 4),
        (7, window(2, stride=2, pad=1), 4, 4),
        (7, window(3, dilation=3), 1, 1),
        (4, window(1, stride=2), 2, 3),
        (7, window(2, stride=3, pad=1), 3, 3),
    ],
)
def test_sizes_are_rounded_down_or_up(size: int, shown: Window, down: int, up: int) -> None:
    assert shown.fit((size,)) == (down,)
    assert shown.slide((size,)) == (up,)


def test_padding_on_one_axis_clips_the_last_window_of_every_axis() -> None:
    both = Window((1, 3), (2, 2), (0, 1), (1, 1))
    assert both.slide((4, 6)) == (2, 4)
    assert Window((1, 3), (2, 2), (0, 0), (1, 1)).slide((4, 6)) == (3, 3)


def test_a_window_may_start_behind_the_image_only_without_padding() -> None:
    assert window(1, stride=2).seeing((4,)) == (2,)
    assert window(1, stride=2).beyond((4,), (3,)) == (1,)
    assert window(3, stride=2, pad=1).beyond((6,), (4,)) == (2,)


def test_a_ceil_window_larger_than_its_input_is_cut_off_if_the_stride_reaches() -> None:
    assert window(6, stride=2).slide((5,)) == (1,)
    with pytest.raises(LayerError, match="window 7 is larger than its input 5"):
        window(7, stride=2).slide((5,))


def test_a_refusal_names_the_padded_input() -> None:
    with pytest.raises(LayerError, match="window 9 is larger than its padded input 7"):
        window(5, pad=1, dilation=2).fit((5,))


def test_one_number_serves_all_axes() -> None:
    assert spread((3,), 3, "stride") == (3, 3, 3)
    assert spread((3,), 0, "stride") == ()
    assert spread((), 0, "kernel_size") == ()
    with pytest.raises(LayerError, match="stride has 2 numbers for 3 spatial axes"):
        spread((1, 2), 3, "stride")


def test_windows_laid_at_each_position_cover_what_they_fit_in() -> None:
    for shown, size in itertools.product((window(3), window(2, 3, 1), window(3, 2, 1, 2)), (9, 10, 12)):
        positions = shown.fit((size,))
        (covered,) = shown.cover(positions)
        assert size - shown.stride[0] < covered <= size
    with pytest.raises(LayerError, match="pad 3 on both sides leaves nothing of 5"):
        window(3, pad=3).cover((3,))


def test_a_window_is_cut_out_at_each_position() -> None:
    x = torch.arange(7.0).view(1, 7)
    assert cut(x, window(2, stride=2, dilation=3)).tolist() == [[[0, 3], [2, 5]]]
    assert cut(torch.arange(12.0).view(3, 4), Window((2, 1), (1, 3), (0, 0), (1, 1))).shape == (2, 2, 2, 1)


def test_padding_is_told_from_the_last_axis_on() -> None:
    x = torch.nn.functional.pad(torch.zeros(2, 3, 4), around((1, 0), (2, 5)))
    assert x.shape == (2, 6, 9)


def test_padding_beyond_what_can_be_counted_is_refused() -> None:
    with pytest.raises(LayerError, match="its padded input would be 4000000001, more than 2147483647"):
        window(1, stride=10**9, pad=2 * 10**9).fit((1,))
