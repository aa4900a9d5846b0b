"""Im2col: the windows of a picture, written out."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers import axes
from nktc.layers.window import Window, around, cut, sliding
from nktc.schema import ConvolutionParameter


class Im2col(Layer, param="convolution_param", saves="nothing"):
    """Writes out what a window sees at each position: every place in the window becomes a channel.

    Channel by channel, and within one in the order of the window. `kernel`, `stride`, `pad` and `dilation` are as
    Convolution has them; its other settings do nothing here.
    """

    kernel: Shape = ()
    stride: Shape = (1,)
    pad: Shape = (0,)
    dilation: Shape = (1,)
    axis: int = 1

    @classmethod
    def read(cls, p: ConvolutionParameter, phase: Phase) -> Self:
        return cls(*sliding(p), p.axis)

    def parts(self, x: Shape) -> tuple[int, Shape, Window]:
        """The place of the channels among the axes of x, its spatial axes, the window over them. Raises LayerError."""
        axis = axes.resolve(self.axis, x)
        size = x[axis + 1 :]
        if not 1 <= len(size) <= 3:
            raise LayerError(f"has {len(size)} spatial axes behind axis {axis}, it takes 1 to 3", field="axis")
        return axis, size, Window.over(len(size), self.kernel, self.stride, self.pad, self.dilation)

    def shape(self, x: Shape) -> Shape:
        axis, size, window = self.parts(x)
        return (*x[:axis], x[axis] * math.prod(window.kernel), *window.fit(size))

    def forward(self, x: Tensor) -> Tensor:
        """x[n.. c p..] -> y[n.. c*k q..]"""
        axis, size, window = self.parts(tuple(x.shape))
        cells = cut(F.pad(x, around(window.pad, window.pad)), window)
        behind = axis + 1 + len(size)
        y = cells.permute(*range(axis + 1), *range(behind, cells.dim()), *range(axis + 1, behind))
        return y.flatten(axis, axis + len(size))

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        axis, size, window = self.parts(x.shape)
        channels, places = x.shape[axis], math.prod(window.kernel)
        # A Conv whose every output channel copies one place of the window.
        copies = np.tile(np.eye(places).reshape(places, 1, *window.kernel), (channels, *[1] * (1 + len(size))))
        images = x if axis == 1 else emit("Reshape", x, emit.constant([-1, channels, *size], "int64"))
        y = emit(
            "Conv",
            images,
            emit.constant(copies),
            kernel_shape=list(window.kernel),
            strides=list(window.stride),
            pads=[*window.pad, *window.pad],
            dilations=list(window.dilation),
            group=channels,
        )
        return y if axis == 1 else emit("Reshape", y, emit.constant([-1, *self.shape(x.shape)[1:]], "int64"))
