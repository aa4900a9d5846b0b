"""The training step as a value: what one iteration does, chosen before the loop starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from nktc.module import Net
from nktc.train.optimizers import SGD

Batches = Iterator[tuple[Tensor, ...]]
Step = Callable[[Batches, float], tuple[Tensor, Mapping[str, Tensor]]]
"""Takes as many batches as an iteration needs and the rate; gives the loss, f32[], and the outputs of the last
forward, detached and on the device."""


def plain_step(net: Net, optimizer: SGD, iter_size: int, device: torch.device) -> Step:
    """Forward and backward over iter_size batches, then one update; the loss is their mean, as Caffe reports it."""
    on_device = torch.zeros((), device=device) if device.type == "cuda" else None

    def step(batches: Batches, rate: float) -> tuple[Tensor, Mapping[str, Tensor]]:
        optimizer.zero()
        losses = []
        for _ in range(iter_size):
            values = net(*next(batches))
            loss = net.loss(values)
            if loss.requires_grad:
                torch.autograd.backward(loss)
            losses.append(loss.detach())
        optimizer.step(rate if on_device is None else on_device.fill_(rate))
        mean = losses[0] if iter_size == 1 else torch.stack(losses).mean()
        return mean, {name: value.detach() for name, value in values.items()}

    return step
