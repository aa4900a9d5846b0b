"""DepthwiseConvolution and ConvolutionDepthwise against a Convolution in groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.ir import Layer
from nktc.layers import Convolution, ConvolutionDepthwise

X = (2, 4, 6, 5)


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_it_is_a_convolution_with_a_group_a_channel(layer: Callable[..., Layer], kind: str) -> None:
    it = layer(kind, "convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 group: 4 }", X)
    weights = {name: torch.randn(weight.shape) for name, weight in it.weights(X).items()}
    assert {name: tuple(one.shape) for name, one in weights.items()} == {"weight": (4, 1, 3, 3), "bias": (4,)}
    x = torch.randn(X)
    expected = Convolution(4, (3,), (2,), (1,), group=4).forward(x, **weights)
    torch.testing.assert_close(it.forward(x, **weights), expected)
    assert isinstance(it, Convolution)


def test_without_group_one_is_a_convolution_and_the_other_goes_by_its_outputs(layer: Callable[..., Layer]) -> None:
    plain = layer("DepthwiseConvolution", "convolution_param { num_output: 4 kernel_size: 3 }", X)
    assert plain.weights(X)["weight"].shape == (4, 4, 3, 3)
    apart = layer("ConvolutionDepthwise", "convolution_param { num_output: 4 kernel_size: 3 }", X)
    assert isinstance(apart, ConvolutionDepthwise)
    assert apart.group == 4


@pytest.mark.parametrize(
    ("settings", "message", "blamed"),
    [
        ("num_output: 8 kernel_size: 3", "makes one output channel of each input channel, not 8 of 4", "num_output"),
        ("num_output: 4 kernel_size: 3 group: 2", "group 2 is not its num_output 4", "group: 2"),
    ],
)
def test_another_number_of_channels_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str, blamed: str
) -> None:
    found, at = refusal("ConvolutionDepthwise", f"convolution_param {{ {settings} }}", X)
    assert found == message
    assert at.startswith(blamed)
