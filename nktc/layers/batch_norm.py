"""BatchNorm: channels brought to mean 0 and variance 1."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, Weight
from nktc.layers.over_ranks import batch_norm_over_ranks, several_ranks
from nktc.layers.scale import Scale
from nktc.schema import BatchNormParameter

PART = 1 << 20  # how many numbers are squared at a time; for fewer the calls take longer than they save


class BatchNorm(Layer, param="batch_norm_param", in_place=True):
    """Brings every channel to mean 0 and variance 1; a Scale after it learns what they become.

    Its weights are state: running sums of the mean, of the variance, and of the share each batch has
    in them. With `stored` it normalises by them, else by the batch, which then enters the sums.
    """

    stored: bool = True
    keep: float = 0.999  # share of the sums kept at each step
    eps: float = 1e-5
    over_ranks: bool = False  # the batch is that of all processes that train together

    @classmethod
    def read(cls, p: BatchNormParameter, phase: Phase) -> Self:
        stored = p.use_global_stats if p.HasField("use_global_stats") else phase is Phase.TEST
        return cls(stored, p.moving_average_fraction, p.eps)

    def shape(self, x: Shape) -> Shape:
        if len(x) < 2:
            raise LayerError(f"takes 2 axes or more (batch, channels, ...), not {len(x)}", field="bottom")
        return x

    def weights(self, x: Shape) -> dict[str, Weight]:
        channels = Weight((x[1],), learns=False)
        return {"mean": channels, "variance": channels, "count": Weight((1,), learns=False)}

    def joins(self, behind: Layer, y: Shape) -> bool:
        if not isinstance(behind, Scale) or self.over_ranks:
            return False
        return behind.bias and behind.num_axes == 1 and behind.axis % len(y) == 1

    def forward(
        self,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """x[n c p..] mean[c] variance[c] count[1] -> y[n c p..]; stored is mean / count, 0 for count 0. weight[c] and
        bias[c] are those of a Scale that runs with it."""
        if self.stored:
            share = torch.where(count == 0, 0.0, 1 / count)
            return F.batch_norm(x, mean * share, variance * share, weight, bias, eps=self.eps)
        if self.over_ranks and several_ranks():
            y, batch_mean, batch_variance = batch_norm_over_ranks(x, self.eps)
        elif x.numel() == x.shape[1]:
            # One value a channel is its own mean; torch would refuse.
            y, batch_mean, batch_variance = x - x, x.detach().reshape(mean.shape), torch.zeros_like(variance)
            if weight is not None and bias is not None:
                y = torch.addcmul(bias.view_as(x), y, weight.view_as(x))
        elif ChannelsOutermost.pays(x):
            y, batch_mean, batch_variance = ChannelsOutermost.apply(x, weight, bias, self.eps)
        else:
            # With a momentum of 1 torch leaves the batch's own mean and unbiased variance in these.
            batch_mean, batch_variance = torch.zeros_like(mean), torch.zeros_like(variance)
            y = F.batch_norm(x, batch_mean, batch_variance, weight, bias, training=True, momentum=1.0, eps=self.eps)
        with torch.no_grad():
            torch._foreach_mul_([mean, variance, count], self.keep)
            torch._foreach_add_([mean, variance], [batch_mean, batch_variance])
            count.add_(1)
        return y

    def onnx(self, emit: Emitter, x: Operand, mean: Operand, variance: Operand, count: Operand) -> Operand:
        if self.stored:
            share = emit(
                "Where",
                emit("Equal", count, emit.constant([0.0])),
                emit.constant([0.0]),
                emit("Div", emit.constant([1.0]), count),
            )
            channels = x.shape[1]
            return emit(
                "BatchNormalization",
                x,
                emit.constant([1.0] * channels),
                emit.constant([0.0] * channels),
                emit("Mul", mean, share),
                emit("Mul", variance, share),
                epsilon=self.eps,
            )
        rest = [axis for axis in range(len(x.shape)) if axis != 1]
        centred = emit("Sub", x, emit("ReduceMean", x, axes=rest, keepdims=1))
        spread = emit("ReduceMean", emit("Mul", centred, centred), axes=rest, keepdims=1)
        return emit("Div", centred, emit("Sqrt", emit("Add", spread, emit.constant(self.eps))))

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y) * (2 if self.stored else 7)


class ChannelsOutermost(torch.autograd.Function):
    """Normalisation by the batch on a CPU of pictures whose channels are outermost, where torch's own adds up value by
    value: x[n c p..] weight[c] bias[c] -> y[n c p..], mean[c], unbiased variance[c]."""

    @staticmethod
    def pays(x: Tensor) -> bool:
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or torch.compiler.is_compiling():
            return False
        return x.dim() > 2 and x.is_contiguous() and x.numel() >= PART

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        along = [axis for axis in range(x.dim()) if axis != 1]
        aligned = (-1, *(1,) * (x.dim() - 2))
        count = x.numel() // x.shape[1]
        mean = x.mean(along)
        y = x - mean.view(aligned)
        # A few items at a time, so that the squares take little memory.
        parts = y.split(max(1, PART // y[0].numel()))
        squares = torch.stack([part.square().sum(along) for part in parts]).sum(0)
        share = (squares / count + eps).rsqrt()
        y.mul_((share if weight is None else share * weight).view(aligned))
        if bias is not None:
            y.add_(bias.view(aligned))
        ctx.save_for_backward(x, weight, mean, share)
        ctx.eps = eps
        variance = squares / (count - 1)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, share = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        found = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, share, True, ctx.eps, wanted
        )
        return *found, None
