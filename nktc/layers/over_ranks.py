"""Batch normalisation over the batches of all processes that train together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_alone = False


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Forwards inside are of this process only; no layer waits for other ranks."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def several_ranks() -> bool:
    """Whether this forward is one that all of several ranks do; one without gradients is not."""
    if _alone or not torch.is_grad_enabled():
        return False
    return distributed.is_initialized() and distributed.get_world_size() > 1


def batch_norm_over_ranks(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x[n c p..] -> y[n c p..], mean[c], variance[c]: x normalised by mean and biased variance over the batches of all
    ranks, which are alike in size; the mean and the unbiased variance, without gradients. Every rank must call it."""
    rest = [axis for axis in range(x.dim()) if axis != 1]
    own_variance, own_mean = torch.var_mean(x.float(), rest, correction=0)
    every: Tensor = _Gather.apply(torch.stack([own_mean, own_variance]))  # [rank 2 c]
    means, variances = every.unbind(1)
    mean = means.mean(0)
    variance = variances.mean(0) + (means - mean).square().mean(0)
    # Normalised by what has no gradient, then scaled by 1 and shifted by 0, through which the gradients of mean and
    # variance go: no uncentred sum is taken, and nothing but x is kept for the backward.
    fixed_mean, fixed_variance = mean.detach(), variance.detach()
    share = torch.rsqrt(variance + eps)
    scale = share / share.detach()
    shift = (fixed_mean - mean) * share
    y = F.batch_norm(x, fixed_mean, fixed_variance, scale, shift, eps=eps)
    count = x.numel() // x.shape[1] * len(every)
    return y, fixed_mean, fixed_variance * (count / (count - 1))


class _Gather(Function):
    """x[..] -> y[rank ..]: what every rank gave."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        found = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(found, x.contiguous())
        return torch.stack(found)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]
