"""BatchNorm: channels brought to mean 0 and variance 1."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, Weight
from nktc.schema import BatchNormParameter


class BatchNorm(Layer, param="batch_norm_param", in_place=True):
    """Brings every channel to mean 0 and variance 1; a Scale after it learns what they become.

    Its weights are state: running sums of the mean, of the variance, and of the share each batch has
    in them. With `stored` it normalises by them, else by the batch, which then enters the sums.
    """

    stored: bool = True
    keep: float = 0.999  # share of the sums kept at each step
    eps: float = 1e-5

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

    def forward(self, x: Tensor, mean: Tensor, variance: Tensor, count: Tensor) -> Tensor:
        """x[n c p..] mean[c] variance[c] count[1] -> y[n c p..]; stored is mean / count, 0 for count 0"""
        if self.stored:
            share = torch.where(count == 0, 0.0, 1 / count)
            return F.batch_norm(x, mean * share, variance * share, eps=self.eps)
        # With a momentum of 1 torch leaves the batch's own mean and unbiased variance in these.
        batch_mean, batch_variance = torch.zeros_like(mean), torch.zeros_like(variance)
        if x.numel() == x.shape[1]:
            # One value a channel is its own mean; torch would refuse.
            batch_mean.copy_(x.detach().reshape(batch_mean.shape))
            y = x - x
        else:
            y = F.batch_norm(x, batch_mean, batch_variance, training=True, momentum=1.0, eps=self.eps)
        with torch.no_grad():
            mean.mul_(self.keep).add_(batch_mean)
            variance.mul_(self.keep).add_(batch_variance)
            count.mul_(self.keep).add_(1)
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
