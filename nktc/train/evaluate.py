"""Evaluation of a test net: its outputs averaged over batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nktc.module import Net


@torch.inference_mode()
def evaluate(
    net: Net, batches: Iterator[tuple[Tensor, ...]], iterations: int, stop: Callable[[], bool] = lambda: False
) -> tuple[dict[str, Tensor], Tensor] | None:
    """The mean of every output over `iterations` batches, and of the objective; None when `stop` said so."""
    totals: dict[str, Tensor] = {}
    objective = torch.zeros(())
    for _ in range(iterations):
        if stop():
            return None
        values = net(*next(batches))
        objective = objective + net.loss(values).cpu()
        for value in net.graph.outputs:
            found = values[value.name].float()
            totals[value.name] = totals[value.name] + found if value.name in totals else found
    return {name: total / iterations for name, total in totals.items()}, objective / iterations
