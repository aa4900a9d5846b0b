"""The moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from nktc.module import Net


class Average:
    """An exponential moving average of the weights that learn, f32 like them: average = d average + (1 - d) weight
    with d = min(decay, (1 + t) / (10 + t)), t counting the updates from 0, so that the first weights are soon
    forgotten. Frozen weights and BatchNorm's sums, which are averages already, stay as they are."""

    def __init__(self, net: Net, decay: float) -> None:
        self.decay = decay
        self._names = [p.name for p in net.graph.parameters.values() if p.learns]
        self._weights = [net.tensor(name) for name in self._names]
        self._means = [weight.detach().clone() for weight in self._weights]

    def kept(self, iteration: int) -> float:
        """The share of the average that the update of an iteration keeps."""
        return min(self.decay, (1 + iteration) / (10 + iteration))

    @torch.no_grad()
    def update(self, change: float | Tensor) -> None:
        """Move the average by `change`, 1 - d, of the way to the weights; f32[] on the device in a captured step."""
        difference = list(torch._foreach_sub(self._weights, self._means))
        torch._foreach_mul_(difference, change)
        torch._foreach_add_(self._means, difference)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The net has the average for weights, its own back at the end."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, mean in zip(self._weights, self._means, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)

    @property
    def means(self) -> dict[str, Tensor]:
        """The average by the name of its weight."""
        return dict(zip(self._names, self._means, strict=True))

    @torch.no_grad()
    def load(self, means: Mapping[str, Tensor]) -> None:
        """Take up an average; the weights themselves where there is none."""
        for name, mean, weight in zip(self._names, self._means, self._weights, strict=True):
            mean.copy_(means.get(name, weight))
