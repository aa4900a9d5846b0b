"""The update rule: Caffe's SGD, over all parameters at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nktc.train.settings import Settings


@dataclass(frozen=True, eq=False)
class Learned:
    """A parameter with its factors on rate and decay, and its history in the update rule."""

    name: str
    tensor: Tensor
    lr_mult: float
    decay_mult: float
    history: Tensor


class SGD:
    """v = momentum v + lr lr_mult (g + decay w);  w = w - v.

    The rate is inside v, unlike torch.optim.SGD's: when the rate drops, steps already under way keep theirs. The
    order, with shared weights counted once, is Caffe's: clip the sum of the iter_size gradients, divide it by
    iter_size, decay, update.
    """

    def __init__(self, learned: Sequence[Learned], settings: Settings) -> None:
        self.learned = tuple(learned)
        self.momentum = settings.momentum
        self.decay = settings.weight_decay
        self.l1 = settings.regularization == "L1"
        self.clip = settings.clip_gradients
        self.iter_size = settings.iter_size
        self._groups: dict[tuple[float, float], list[Learned]] = {}
        for one in self.learned:
            self._groups.setdefault((one.lr_mult, one.decay_mult), []).append(one)

    def zero(self) -> None:
        """Forget the gradients."""
        for one in self.learned:
            one.tensor.grad = None

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        """One update at `rate`; the gradients are spent. A tensor, f32[] on the device, lets a captured CUDA graph see
        the rate change; a number saves the CPU one pass over the gradients."""
        grads = [_gradient(one.tensor) for one in self.learned]
        if self.clip >= 0:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
            torch._foreach_mul_(grads, (self.clip / norm).clamp(max=1))
        if self.iter_size > 1:
            torch._foreach_div_(grads, self.iter_size)
        for (lr_mult, decay_mult), group in self._groups.items():
            self._update(group, rate * lr_mult if lr_mult != 1 else rate, self.decay * decay_mult)

    def _update(self, group: Sequence[Learned], rate: float | Tensor, decay: float) -> None:
        weights = [one.tensor for one in group]
        grads = [_gradient(one.tensor) for one in group]
        history = [one.history for one in group]
        if decay and self.l1:
            torch._foreach_add_(grads, torch._foreach_sign(weights), alpha=decay)
        elif decay:
            torch._foreach_add_(grads, weights, alpha=decay)
        torch._foreach_mul_(history, self.momentum)
        if isinstance(rate, Tensor):
            torch._foreach_mul_(grads, rate)
            rate = 1.0
        torch._foreach_add_(history, grads, alpha=rate)
        torch._foreach_sub_(weights, history)


def _gradient(tensor: Tensor) -> Tensor:
    """The gradient; zeros for what the objective does not reach, which Caffe decays all the same."""
    if tensor.grad is None:
        tensor.grad = torch.zeros_like(tensor)
    return tensor.grad
