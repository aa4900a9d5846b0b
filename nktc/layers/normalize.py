"""Values brought to a common strength: LRN by their neighbours; GroupNorm, LayerNorm and MVN by mean and variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import DType, Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import axes
from nktc.layers.window import positive
from nktc.schema import GroupNormParameter, LayerNormParameter, LRNParameter, MVNParameter


class GroupNorm(Layer, param="group_norm_param", in_place=True):
    """Brings every group of channels of each item to mean 0 and variance 1.

    A factor and a bias for each channel learn what they become. Source: Wu and He 2018.
    """

    group: int = 32
    eps: float = 1e-5
    scale: bool = True
    bias: bool = True

    @classmethod
    def read(cls, p: GroupNormParameter, phase: Phase) -> Self:
        if p.group == 0:
            raise LayerError("group is 0", field="group", help="group: 1 normalises all channels together")
        return cls(p.group, _eps(p), p.scale_term, p.bias_term)

    def shape(self, x: Shape) -> Shape:
        if len(x) < 2:
            raise LayerError(f"takes 2 axes or more (batch, channels, ...), not {len(x)}", field="bottom")
        if x[1] % self.group:
            help = f"group: {math.gcd(x[1], self.group)} divides them"
            raise LayerError(f"group {self.group} does not divide its {x[1]} channels", field="group", help=help)
        return x

    def weights(self, x: Shape) -> dict[str, Weight]:
        return _affine(x[1:2], self.scale, self.bias)

    def forward(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """x[n c p..] weight[c] bias[c] -> y[n c p..]"""
        # torch has no gradient for a bias without a weight.
        factor = torch.ones_like(bias) if weight is None and bias is not None else weight
        # F.group_norm refuses a single value a group, which is its own mean.
        return torch.group_norm(x, self.group, factor, bias, self.eps)

    def onnx(self, emit: Emitter, x: Operand, weight: Operand | None = None, bias: Operand | None = None) -> Operand:
        # GroupNormalization exists from opset 18 only. Each group is a channel of InstanceNormalization.
        groups = emit("Reshape", x, emit.constant(emit.batched((x.shape[0], self.group, -1)), "int64"))
        one, zero = emit.constant([1.0] * self.group), emit.constant([0.0] * self.group)
        y = emit("InstanceNormalization", groups, one, zero, epsilon=self.eps)
        y = emit("Reshape", y, emit.constant(emit.batched(x.shape), "int64"))
        aligned = emit.constant((x.shape[1], *(1,) * (len(x.shape) - 2)), "int64")
        if weight is not None:
            y = emit("Mul", y, emit("Reshape", weight, aligned))
        return y if bias is None else emit("Add", y, emit("Reshape", bias, aligned))

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y) * (5 + self.scale + self.bias)


class LayerNorm(Layer, param="layer_norm_param", in_place=True):
    """Brings the values along all axes from `axis` on to mean 0 and variance 1.

    A factor and a bias for each place learn what they become. Source: Ba, Kiros and Hinton 2016.
    """

    axis: int = -1
    eps: float = 1e-5
    scale: bool = True
    bias: bool = True

    @classmethod
    def read(cls, p: LayerNormParameter, phase: Phase) -> Self:
        return cls(p.axis, _eps(p), p.scale_term, p.bias_term)

    def shape(self, x: Shape) -> Shape:
        axes.resolve(self.axis, x)
        return x

    def weights(self, x: Shape) -> dict[str, Weight]:
        return _affine(x[self.axis :], self.scale, self.bias)

    def forward(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """x[n.. d..] weight[d..] bias[d..] -> y[n.. d..]"""
        # For halves torch has no gradient for a bias without a weight.
        factor = torch.ones_like(bias) if weight is None and bias is not None else weight
        return F.layer_norm(x, x.shape[self.axis :], factor, bias, self.eps)

    def onnx(self, emit: Emitter, x: Operand, weight: Operand | None = None, bias: Operand | None = None) -> Operand:
        if weight is not None:
            return emit("LayerNormalization", x, weight, bias, axis=self.axis, epsilon=self.eps)
        # LayerNormalization cannot do without a weight.
        centred, variance = _moments(emit, x, range(axes.resolve(self.axis, x.shape), len(x.shape)))
        y = emit("Div", centred, emit("Sqrt", emit("Add", variance, emit.constant(self.eps))))
        return y if bias is None else emit("Add", y, bias)

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y) * (5 + self.scale + self.bias)


class LRN(Layer, param="lrn_param"):
    """Divides each value by a power of the mean square of its neighbours, across channels or within one.

    y = x / (k + alpha * mean square) ** beta, the mean over `size` channels or, with `within`, over `size` by
    `size` pixels of the same channel, where k is always 1. Outside the picture there are zeros.
    """

    size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    within: bool = False

    @classmethod
    def read(cls, p: LRNParameter, phase: Phase) -> Self:
        positive((p.local_size,), "local_size")
        if p.local_size % 2 == 0:
            help = f"local_size: {p.local_size + 1} has a middle"
            raise LayerError(f"local_size {p.local_size} is even", field="local_size", help=help)
        within = p.norm_region == LRNParameter.WITHIN_CHANNEL
        return cls(p.local_size, p.alpha, p.beta, 1.0 if within else p.k, within)

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise LayerError(f"takes 4 axes (batch, channels, height, width), not {len(x)}", field="bottom")
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[n c h w] -> y[n c h w]"""
        if not self.within:
            return AcrossChannels.apply(x, self.size, self.alpha, self.beta, self.k)
        # Squares of half floats overflow from 256 on.
        squares = x.to(torch.promote_types(x.dtype, torch.float32)).square()
        mean = F.avg_pool2d(squares, self.size, 1, self.size // 2)
        return x * (mean * self.alpha + self.k).pow(-self.beta).to(x.dtype)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        if not self.within:
            if self._spelt_out(emit, x.shape[1]):
                return self._emit_across(emit, x)
            return emit("LRN", x, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)
        mean = emit(
            "AveragePool",
            emit("Mul", x, x),
            kernel_shape=[self.size] * 2,
            strides=[1, 1],
            pads=[self.size // 2] * 4,
            count_include_pad=1,
        )
        divisor = emit("Add", emit("Mul", mean, emit.constant(self.alpha)), emit.constant(self.k))
        return emit("Div", x, emit("Pow", divisor, emit.constant(self.beta)))

    def _spelt_out(self, emit: Emitter, channels: int) -> bool:
        """Whether the operator LRN is slow (GoogLeNet takes 1.4 times as long with it in ONNX Runtime on a CPU), or
        beyond what TensorRT takes."""
        if emit.target == "tensorrt":
            return self.size > 15 or not 0.01 <= self.beta <= 1e5 or not 1e-5 <= self.k <= 1e10
        return emit.target == "onnxruntime" and emit.dtype is DType.F32 and channels <= 512

    def _emit_across(self, emit: Emitter, x: Operand) -> Operand:
        """The sums over neighbours as a convolution with a matrix that is alpha / size about the diagonal."""
        channel = np.arange(x.shape[1])
        near = np.abs(channel[:, None] - channel) <= self.size // 2
        divisor = emit(
            "Conv",
            emit("Mul", x, x),
            emit.constant(np.where(near, self.alpha / self.size, 0.0)[:, :, None, None]),
            emit.constant([self.k] * x.shape[1]),
            kernel_shape=[1, 1],
        )
        if self.beta != 0.75:
            return emit("Div", x, emit("Pow", divisor, emit.constant(self.beta)))
        # Two roots cost a part of a power.
        root = emit("Sqrt", divisor)
        return emit("Div", x, emit("Mul", root, emit("Sqrt", root)))

    def flops(self, x: Shape, y: Shape) -> int:
        neighbours = self.size**2 if self.within else self.size
        return math.prod(y) * (neighbours + 5)

    def aside(self, x: Shape, y: Shape) -> int:
        """The squares, the base and the power; across channels they are worked out again."""
        return 3 * math.prod(y) if self.within else 0


class AcrossChannels(torch.autograd.Function):
    """LRN across channels: y = x b^-beta with b = k + alpha / size * (sum of x^2 over the window).

    dx = b^-beta dy - 2 alpha beta / size * x * (sum of dy y / b over the window). Only x is kept for it: to work b out
    again is quick, and any more tensors kept would be as large as x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.settings = size, alpha, beta, k
        wide = _wide(x)
        return _power(_base(wide, size, alpha, k), beta).mul_(wide).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (x,) = ctx.saved_tensors
        size, alpha, beta, k = ctx.settings
        wide = _wide(x)
        base = _base(wide, size, alpha, k)
        shared = wide / base
        scaled = _power(base, beta).mul_(gradient)
        shared = _neighbours(shared.mul_(scaled), size).mul_(wide)
        return scaled.add_(shared, alpha=-2 * alpha * beta / size).to(x.dtype), None, None, None, None


def _wide(x: Tensor) -> Tensor:
    """Squares of half floats overflow from 256 on."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _base(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    return _neighbours(x.square().mul_(alpha / size), size, k)


def _power(base: Tensor, beta: float) -> Tensor:
    """base ** -beta, of which nothing is left; roots take a fraction of the time of a power."""
    if beta == 0.75:
        root = base.rsqrt_()
        return root.sqrt().mul_(root)
    return base.pow_(-beta)


def _neighbours(x: Tensor, size: int, start: float = 0.0) -> Tensor:
    """x[n c h w] -> y[n c h w]: `start` and the sum over `size` channels around each."""
    y = x + start
    for shift in range(1, min(size // 2 + 1, x.shape[1])):
        y[:, shift:] += x[:, :-shift]
        y[:, :-shift] += x[:, shift:]
    return y


class MVN(Layer, param="mvn_param"):
    """Takes off the mean of every channel of each item, and divides by its deviation.

    With `across` channels they have one mean and deviation together. `eps` is added to the deviation, not under its
    root. The output always has 4 axes, of size 1 where the input has none.
    """

    variance: bool = True
    across: bool = False
    eps: float = 1e-9

    @classmethod
    def read(cls, p: MVNParameter, phase: Phase) -> Self:
        return cls(p.normalize_variance, p.across_channels, p.eps)

    def shape(self, x: Shape) -> Shape:
        if len(x) > 4:
            raise LayerError(f"takes up to 4 axes (batch, channels, height, width), not {len(x)}", field="bottom")
        return (*x, *(1,) * (4 - len(x)))

    def forward(self, x: Tensor) -> Tensor:
        """x[n c h w] -> y[n c h w]; x may lack the last axes"""
        # Squares of half floats overflow from 256 on, and eps vanishes in them.
        image = x.reshape(self.shape(tuple(x.shape))).to(torch.promote_types(x.dtype, torch.float32))
        together = (1, 2, 3) if self.across else (2, 3)
        centred = image - image.mean(together, keepdim=True)
        if not self.variance:
            return centred.to(x.dtype)
        variance = centred.square().mean(together, keepdim=True)
        deviation = variance.detach().sqrt() + self.eps
        # Caffe's gradient takes the root of the variance for eps larger than it is, so that it is finite at 0.
        slope = (variance - variance.detach()) / (2 * deviation)
        return (centred / (deviation + slope)).to(x.dtype)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        shape = self.shape(x.shape)
        image = x if x.shape == shape else emit("Reshape", x, emit.constant(emit.batched(shape), "int64"))
        centred, variance = _moments(emit, image, [1, 2, 3] if self.across else [2, 3])
        if not self.variance:
            return centred
        return emit("Div", centred, emit("Add", emit("Sqrt", variance), emit.constant(self.eps)))

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y) * (5 if self.variance else 2)


def _eps(p: GroupNormParameter | LayerNormParameter) -> float:
    """What is added to the variance, from 0 on. Raises LayerError."""
    if not 0 <= p.eps < math.inf:
        raise LayerError(f"eps is {p.eps:g}", field="eps", help="give a small number from 0 on, such as 1e-5")
    return p.eps


def _affine(along: Shape, scale: bool, bias: bool) -> dict[str, Weight]:
    """The factor and the bias of a norm, where it has them."""
    weights = {"weight": Weight(along, Filler(value=1.0))} if scale else {}
    return weights | ({"bias": Weight(along)} if bias else {})


def _moments(emit: Emitter, x: Operand, together: Sequence[int]) -> tuple[Operand, Operand]:
    """`x` less its mean over the axes `together`, and its variance over them, which keep size 1."""
    centred = emit("Sub", x, emit("ReduceMean", x, axes=list(together), keepdims=1))
    return centred, emit("ReduceMean", emit("Mul", centred, centred), axes=list(together), keepdims=1)
