"""Deconvolution: a convolution the other way round, which makes images larger."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from nktc.ir import Emitter, Layer, Operand, Shape, Weight, times
from nktc.layers.convolution import LearnedWindow

DECONVOLVE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class Deconvolution(LearnedWindow, Layer, param="convolution_param", each=True, multiplies=True):
    """Writes a learned window for each input value, weighted with it, and adds up where windows overlap.

    What a Convolution of the same settings does to gradients. An axis of n becomes stride * (n - 1) + extent of the
    window - 2 * pad. With `group` as many as channels and the filler "bilinear" it interpolates.
    """

    def shape(self, x: Shape) -> Shape:
        batch, _, size = self.parts(x)
        return (*batch, self.outputs, *self.window(len(size)).cover(size))

    def weights(self, x: Shape) -> dict[str, Weight]:
        _, channels, size = self.parts(x)
        return self.held((channels, self.outputs // self.group, *self.window(len(size)).kernel))

    def formula(self, x: Shape) -> str:
        _, _, size = self.parts(x)
        window = self.window(len(size))
        terms = [
            f"{s}*({n}-1)+{e}{f'-2*{p}' if p else ''}"
            for n, s, e, p in zip(size, window.stride, window.extent(), window.pad, strict=True)
        ]
        return (
            f"{times(window.cover(size))} = {' x '.join(terms if len(set(terms)) > 1 else terms[:1])}" if size else ""
        )

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x[n.. i p..] weight[i o/group k..] bias[o] -> y[n.. o q..]"""
        return self.apply(deconvolve, x, weight, bias)

    def onnx(self, emit: Emitter, x: Operand, weight: Operand, bias: Operand | None = None) -> Operand:
        return self.lower(emit, "ConvTranspose", x, weight, bias, self.shape(x.shape))

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * math.prod(x) * math.prod(self.weights(x)["weight"].shape[1:])


def deconvolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, pad: Any, dilation: Any, group: int
) -> Tensor:
    """x[n i p..] weight[i o/group k..] bias[o] -> y[n o q..]; settings as torch takes them."""
    return DECONVOLVE[weight.dim() - 2](x, weight, bias, stride, pad, 0, group, dilation)
