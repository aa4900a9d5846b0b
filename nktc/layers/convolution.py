"""Convolution: a learned window slid over the spatial axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import axes, settings
from nktc.layers.window import Window, sliding
from nktc.schema import ConvolutionParameter

ZERO = Filler()
CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True)
class LearnedWindow:
    """What Convolution and Deconvolution share: their settings, and how any input becomes a batch of images.

    `kernel`, `stride`, `pad` and `dilation` have one number for all spatial axes, or one for each.
    """

    outputs: int
    kernel: Shape = ()
    stride: Shape = (1,)
    pad: Shape = (0,)
    dilation: Shape = (1,)
    group: int = 1
    bias: bool = True
    axis: int = 1
    weight_filler: Filler = ZERO
    bias_filler: Filler = ZERO

    @classmethod
    def read(cls, p: ConvolutionParameter, phase: Phase) -> Self:
        outputs = settings.outputs(p.num_output)
        if p.group < 1 or outputs % p.group:
            raise LayerError(f"group {p.group} does not divide num_output {outputs}", field="group")
        return cls(
            outputs,
            *sliding(p),
            p.group,
            p.bias_term,
            p.axis,
            settings.filler(p.weight_filler, "weight_filler"),
            settings.filler(p.bias_filler, "bias_filler"),
        )

    def window(self, spatial: int) -> Window:
        """The window over that many spatial axes. Raises LayerError where a setting has another number."""
        return Window.over(spatial, self.kernel, self.stride, self.pad, self.dilation)

    def parts(self, x: Shape) -> tuple[Shape, int, Shape]:
        """The batch axes of x, its channels, its spatial axes. Raises LayerError."""
        axis = axes.resolve(self.axis, x)
        channels, size = x[axis], x[axis + 1 :]
        if len(size) > 3:
            raise LayerError(f"has {len(size)} spatial axes, at most 3 can be convolved", field="axis")
        if channels % self.group:
            raise LayerError(f"group {self.group} does not divide its {channels} input channels", field="group")
        return x[:axis], channels, size

    def held(self, weight: Shape) -> dict[str, Weight]:
        """A weight of that shape, and the bias if there is one."""
        weights = {"weight": Weight(weight, self.weight_filler)}
        if self.bias:
            weights["bias"] = Weight((self.outputs,), self.bias_filler)
        return weights

    def apply(self, slide: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`slide`, a function of images, weights and settings, over x with all axes before the channels as batch."""
        spatial = weight.dim() - 2
        if self.axis == 1 and spatial:
            return slide(x, weight, bias, self.stride, self.pad, self.dilation, self.group)
        batch = x.shape[: x.dim() - spatial - 1]
        images = x.reshape(-1, *x.shape[len(batch) :])
        if spatial:
            y = slide(images, weight, bias, self.stride, self.pad, self.dilation, self.group)
            return y.reshape(*batch, *y.shape[1:])
        # Without spatial axes there is one number a channel, as in an image of one pixel.
        y = slide(images[..., None], weight[..., None], bias, 1, 0, 1, self.group)
        return y.reshape(*batch, self.outputs)

    def lower(self, emit: Emitter, op: str, x: Operand, weight: Operand, bias: Operand | None, y: Shape) -> Operand:
        """The same with the ONNX operator `op`; y is the shape of the result."""
        batch, channels, size = self.parts(x.shape)
        window = self.window(len(size)) if size else Window((1,), (1,), (0,), (1,))
        direct = len(batch) == 1 and bool(size)
        images = x if direct else emit("Reshape", x, emit.constant([-1, channels, *(size or (1,))], "int64"))
        pad = window.pad
        if op == "Conv" and max(window.kernel) == 1 and any(pad) and emit.target in ("portable", "opencv"):
            # OpenCV 5.0 reads beyond the picture where a window of 1 has padding.
            images = emit("Pad", images, emit.constant([0, 0, *pad, 0, 0, *pad], "int64"), emit.constant(0.0))
            pad = (0,) * len(pad)
        made = emit(
            op,
            images,
            weight if size else emit("Reshape", weight, emit.constant([*weight.shape, 1], "int64")),
            *([bias] if bias is not None else []),
            kernel_shape=list(window.kernel),
            strides=list(window.stride),
            pads=[*pad, *pad],
            dilations=list(window.dilation),
            group=self.group,
        )
        return made if direct else emit("Reshape", made, emit.constant([-1, *y[1:]], "int64"))


class Convolution(LearnedWindow, Layer, param="convolution_param", each=True, multiplies=True):
    """Slides a learned window over the spatial axes and writes one weighted sum for each output channel.

    `kernel`, `stride`, `pad` and `dilation` have one number for all spatial axes, or one for each.
    """

    def shape(self, x: Shape) -> Shape:
        batch, _, size = self.parts(x)
        return (*batch, self.outputs, *self.window(len(size)).fit(size))

    def weights(self, x: Shape) -> dict[str, Weight]:
        _, channels, size = self.parts(x)
        return self.held((self.outputs, channels // self.group, *self.window(len(size)).kernel))

    def formula(self, x: Shape) -> str:
        _, _, size = self.parts(x)
        window = self.window(len(size))
        return window.formula(size, window.fit(size)) if size else ""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x[n.. i p..] weight[o i/group k..] bias[o] -> y[n.. o q..]"""
        return self.apply(convolve, x, weight, bias)

    def onnx(self, emit: Emitter, x: Operand, weight: Operand, bias: Operand | None = None) -> Operand:
        return self.lower(emit, "Conv", x, weight, bias, self.shape(x.shape))

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * math.prod(y) * math.prod(self.weights(x)["weight"].shape[1:])


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, pad: Any, dilation: Any, group: int
) -> Tensor:
    """x[n i p..] weight[o i/group k..] bias[o] -> y[n o q..]; settings as torch takes them."""
    return CONVOLVE[weight.dim() - 2](x, weight, bias, stride, pad, dilation, group)
