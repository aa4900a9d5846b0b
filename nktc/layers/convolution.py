"""Convolution: a learned window slid over the spatial axes."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import axes, settings
from nktc.layers.window import Window, positive, sides, spread
from nktc.schema import ConvolutionParameter

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Convolution(Layer, param="convolution_param", each=True):
    """Slides a learned window over the spatial axes and writes one weighted sum for each output channel.

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
    weight_filler: Filler = Filler()
    bias_filler: Filler = Filler()

    @classmethod
    def read(cls, p: ConvolutionParameter, phase: Phase) -> Self:
        outputs = settings.outputs(p.num_output)
        if p.group < 1 or outputs % p.group:
            raise LayerError(f"group {p.group} does not divide num_output {outputs}", field="group")
        return cls(
            outputs,
            positive(sides(p, p.kernel_size, "kernel_size", "kernel"), "kernel_size"),
            positive(sides(p, p.stride, "stride", "stride"), "stride") or (1,),
            sides(p, p.pad, "pad", "pad") or (0,),
            positive(tuple(p.dilation), "dilation") or (1,),
            p.group,
            p.bias_term,
            p.axis,
            settings.filler(p.weight_filler, "weight_filler"),
            settings.filler(p.bias_filler, "bias_filler"),
        )

    def window(self, spatial: int) -> Window:
        """The window over that many spatial axes. Raises LayerError where a setting has another number."""
        return Window(
            spread(self.kernel, spatial, "kernel_size"),
            spread(self.stride, spatial, "stride"),
            spread(self.pad, spatial, "pad"),
            spread(self.dilation, spatial, "dilation"),
        )

    def shape(self, x: Shape) -> Shape:
        axis = axes.resolve(self.axis, x)
        channels, size = x[axis], x[axis + 1 :]
        if len(size) > 3:
            raise LayerError(f"has {len(size)} spatial axes, at most 3 can be convolved", field="axis")
        if channels % self.group:
            raise LayerError(f"group {self.group} does not divide its {channels} input channels", field="group")
        return (*x[:axis], self.outputs, *self.window(len(size)).fit(size))

    def weights(self, x: Shape) -> dict[str, Weight]:
        axis = axes.resolve(self.axis, x)
        kernel = self.window(len(x) - axis - 1).kernel
        weights = {"weight": Weight((self.outputs, x[axis] // self.group, *kernel), self.weight_filler)}
        if self.bias:
            weights["bias"] = Weight((self.outputs,), self.bias_filler)
        return weights

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x[n.. i p..] weight[o i/group k..] bias[o] -> y[n.. o q..]"""
        spatial = weight.dim() - 2
        if self.axis == 1 and spatial:
            return CONVOLVE[spatial](x, weight, bias, self.stride, self.pad, self.dilation, self.group)
        batch = x.shape[: x.dim() - spatial - 1]
        images = x.reshape(-1, *x.shape[len(batch) :])
        if spatial:
            y = CONVOLVE[spatial](images, weight, bias, self.stride, self.pad, self.dilation, self.group)
            return y.reshape(*batch, *y.shape[1:])
        y = F.conv1d(images[..., None], weight[..., None], bias, groups=self.group)
        return y.reshape(*batch, self.outputs)

    def onnx(self, emit: Emitter, x: Operand, weight: Operand, bias: Operand | None = None) -> Operand:
        axis = axes.resolve(self.axis, x.shape)
        size = x.shape[axis + 1 :]
        if axis == 1 and size:
            return self._conv(emit, x, weight, bias, self.window(len(size)))
        window = self.window(len(size)) if size else Window((1,), (1,), (0,), (1,))
        images = emit("Reshape", x, emit.constant([-1, x.shape[axis], *(size or (1,))], "int64"))
        if not size:
            weight = emit("Reshape", weight, emit.constant([*weight.shape, 1], "int64"))
        y = self._conv(emit, images, weight, bias, window)
        return emit("Reshape", y, emit.constant([-1, *self.shape(x.shape)[1:]], "int64"))

    def flops(self, x: Shape, y: Shape) -> int:
        axis = axes.resolve(self.axis, x)
        taps = math.prod(self.window(len(x) - axis - 1).kernel)
        return 2 * math.prod(y) * (x[axis] // self.group) * taps

    def _conv(self, emit: Emitter, x: Operand, weight: Operand, bias: Operand | None, window: Window) -> Operand:
        return emit(
            "Conv",
            x,
            weight,
            *([bias] if bias is not None else []),
            kernel_shape=list(window.kernel),
            strides=list(window.stride),
            pads=[*window.pad, *window.pad],
            dilations=list(window.dilation),
            group=self.group,
        )
