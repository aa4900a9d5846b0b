"""BatchNorm: channels brought to mean 0 and variance 1."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import settings
from nktc.layers.over_ranks import batch_norm_over_ranks, several_ranks
from nktc.layers.scale import Scale
from nktc.schema import BatchNormParameter

PART = 1 << 20  # how many numbers are squared at a time; for fewer the calls take longer than they save
LEAST = 5e-324  # no number at all beside a variance


class BatchNorm(Layer, param="batch_norm_param", in_place=True):
    """Brings every channel to mean 0 and variance 1; a Scale after it learns what they become.

    Its weights are state: running sums of the mean, of the variance, and of the share each batch has
    in them. With `stored` it normalises by them, else by the batch, which then enters the sums.

    With Intel's stats_batch_size a batch is normalised in parts of so many items, each of which enters the sums.
    NVIDIA's scale_bias and Intel's use_weight_bias add what a Scale after it would learn, as two more weights. With
    NVIDIA's it is always the stored ones in TEST, and these are a mean of the batches in which the last has the share
    1 - `keep`, not sums.
    """

    stored: bool = True
    keep: float = 0.999  # share of the sums kept at each step
    eps: float = 1e-5
    over_ranks: bool = False  # the batch is that of all processes that train together
    scales: tuple[Filler, ...] = ()  # how the factor and the bias start, of those that it learns
    averages: bool = False  # its state is a mean, not sums
    bends: bool = False  # a ReLU is part of it
    part: int = 0  # items that are normalised together, one part of the batch after the other; 0 for all

    @classmethod
    def read(cls, p: BatchNormParameter, phase: Phase) -> Self:
        for name in ("disable_mean", "disable_variance", "update_global_stats"):
            if getattr(p, name):
                raise LayerError(f"takes no {name}", field=name, help="only its own fork has it; leave it out")
        stored = p.use_global_stats if p.HasField("use_global_stats") else phase is Phase.TEST
        intel = p.HasField("use_weight_bias") or p.HasField("bias_term") or p.HasField("filler")
        # A filler speaks for itself, as in NVIDIA's; a bias_filler is Intel's beside another field of Intel's.
        averages = p.scale_bias or p.HasField("scale_filler") or (p.HasField("bias_filler") and not intel)
        weighs = p.use_weight_bias if p.HasField("use_weight_bias") else p.HasField("filler")
        eps = p.eps
        if eps < 0:
            raise LayerError(f"eps is {eps:g}", field="eps", help="give a number from 0 on")
        if averages:
            # cuDNN's least, which NVIDIA's Caffe keeps to; it knows the phase and nothing else.
            stored, eps = phase is Phase.TEST, max(p.eps, 1e-5)
        scales: list[Filler] = []
        if averages or weighs:
            field = "scale_filler" if averages else "filler"
            given = p.HasField(field)  # type: ignore[arg-type]
            scales.append(settings.filler(getattr(p, field), field) if given else Filler(value=1.0))
            if p.bias_term:
                scales.append(settings.filler(p.bias_filler, "bias_filler"))
        part = 0 if stored else p.stats_batch_size
        return cls(stored, p.moving_average_fraction, eps, False, tuple(scales), averages, p.relu, part)

    def shape(self, x: Shape) -> Shape:
        if len(x) < 2:
            raise LayerError(f"takes 2 axes or more (batch, channels, ...), not {len(x)}", field="bottom")
        if self.part and x[0] % self.part:
            said = f"its batch {x[0]} does not divide by its stats_batch_size {self.part}"
            raise LayerError(said, field="stats_batch_size", help="give a number that the batch divides by")
        return x

    def weights(self, x: Shape) -> dict[str, Weight]:
        channels = Weight((x[1],), learns=False)
        learned = zip(("weight", "bias"), self.scales, strict=False)
        return {"mean": channels, "variance": channels, "count": Weight((1,), learns=False)} | {
            name: Weight((x[1],), filler) for name, filler in learned
        }

    def joins(self, behind: Layer, y: Shape) -> bool:
        if not isinstance(behind, Scale) or self.over_ranks or self.scales or self.bends:
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
        bias[c] are its own, or those of a Scale that runs with it."""
        if self.stored:
            share = torch.where(count == 0, 0.0, 1 / count)
            y = F.batch_norm(x, mean * share, variance * share, weight, bias, eps=self.eps)
            return y.relu() if self.bends else y
        if self.part and self.part < x.shape[0]:
            each = replace(self, part=0)
            return torch.cat([each.forward(one, mean, variance, count, weight, bias) for one in x.split(self.part)])
        if self.over_ranks and several_ranks():
            y, batch_mean, batch_variance = batch_norm_over_ranks(x, self.eps)
            y = _scaled(y, weight, bias)
        else:
            y, batch_mean, batch_variance = by_batch(x, weight, bias, self.eps, mean)
        with torch.no_grad():
            if self.averages:
                # The first batch is the mean; a count other than 1 is that of sums, from another fork's file.
                share = torch.full_like(count, 1 - self.keep).masked_fill_(count == 0, 1)
                whole = count.masked_fill(count == 0, 1)
                for held, found in ((mean, batch_mean), (variance, batch_variance)):
                    held.div_(whole).lerp_(found, share)
                count.fill_(1)
            else:
                torch._foreach_mul_([mean, variance, count], self.keep)
                torch._foreach_add_([mean, variance], [batch_mean, batch_variance])
                count.add_(1)
        return y.relu() if self.bends else y

    def onnx(
        self,
        emit: Emitter,
        x: Operand,
        mean: Operand,
        variance: Operand,
        count: Operand,
        weight: Operand | None = None,
        bias: Operand | None = None,
    ) -> Operand:
        y = self._emit_normalised(emit, x, mean, variance, count, weight, bias)
        return emit("Relu", y) if self.bends else y

    def _emit_normalised(
        self,
        emit: Emitter,
        x: Operand,
        mean: Operand,
        variance: Operand,
        count: Operand,
        weight: Operand | None,
        bias: Operand | None,
    ) -> Operand:
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
                emit.constant([1.0] * channels) if weight is None else weight,
                emit.constant([0.0] * channels) if bias is None else bias,
                emit("Mul", mean, share),
                emit("Mul", variance, share),
                epsilon=self.eps,
            )
        if self.part and self.part < x.shape[0]:
            help = "export the TEST phase, which normalises by what is stored"
            raise LayerError("parts of a batch are not normalised in ONNX", field="stats_batch_size", help=help)
        y, _, _ = emit_normalised(emit, x, self.eps)
        aligned = emit.constant([-1, *(1,) * (len(x.shape) - 2)], "int64")
        for op, along in (("Mul", weight), ("Add", bias)):
            y = y if along is None else emit(op, y, emit("Reshape", along, aligned))
        return y

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y) * ((2 if self.stored else 7) + len(self.scales) + self.bends)


def by_batch(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """x[n c p..] by the mean and the variance of the batch, then by weight[c] and bias[c]; and these two, the variance
    unbiased, [c] as `like` is."""
    if x.numel() == x.shape[1]:
        # One value a channel is its own mean; torch would refuse.
        return _scaled(x - x, weight, bias), x.detach().reshape(like.shape), torch.zeros_like(like)
    if ChannelsOutermost.pays(x):
        y, mean, variance = ChannelsOutermost.apply(x, weight, bias, eps)
        return y, mean, variance
    # With a momentum of 1 torch leaves the batch's own mean and unbiased variance in these. It takes no eps of 0.
    mean, variance = torch.zeros_like(like), torch.zeros_like(like)
    y = F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=1.0, eps=max(eps, LEAST))
    return y, mean, variance


def emit_normalised(emit: Emitter, x: Operand, eps: float) -> tuple[Operand, Operand, Operand]:
    """x[n c p..] by the mean and the variance of the batch, and these two, [1 c 1] or [1 c]."""
    # OpenCV 5.0 has another mean of pictures over an open batch; with their pixels in a row it has the right one.
    many = len(x.shape) > 3
    row = emit.constant(emit.batched((*x.shape[:2], math.prod(x.shape[2:]))), "int64")
    flat = emit("Reshape", x, row) if many else x
    rest = [axis for axis in range(min(3, len(x.shape))) if axis != 1]
    mean = emit("ReduceMean", flat, axes=rest, keepdims=1)
    centred = emit("Sub", flat, mean)
    variance = emit("ReduceMean", emit("Mul", centred, centred), axes=rest, keepdims=1)
    y = emit("Div", centred, emit("Sqrt", emit("Add", variance, emit.constant(eps))))
    whole = emit.constant(emit.batched(x.shape), "int64")
    return emit("Reshape", y, whole) if many else y, mean, variance


def _scaled(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """y[n c p..] weight[c] bias[c] -> z[n c p..]"""
    aligned = (-1, *(1,) * (y.dim() - 2))
    scaled = y if weight is None else y * weight.view(aligned)
    return scaled if bias is None else scaled + bias.view(aligned)


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
