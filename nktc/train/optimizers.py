"""The update rules, over all weights at once: Caffe's six solvers, and AdamW, LAMB and Muon.

Gradients are spent in place and nothing waits for the device, so an update makes few temporaries and may be captured
in a CUDA graph. torch's fused kernels, one pass over memory, serve where they compute the same.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from nktc.train.settings import Settings

Number = float | Tensor
"""A float, or an f32[] tensor on the device, so that a captured CUDA graph sees it change."""


@dataclass(frozen=True, eq=False)
class Learned:
    """A parameter with its factors on rate and decay."""

    name: str
    tensor: Tensor
    lr_mult: float
    decay_mult: float


@dataclass(frozen=True, eq=False)
class Group:
    """Weights that are updated by the same numbers; `indices` are their places among all that learn."""

    lr_mult: float
    decay: float
    indices: tuple[int, ...]
    weights: list[Tensor]
    histories: tuple[list[Tensor], ...]  # [slot][weight]


class Optimizer(ABC):
    """One update rule over the weights `learned`.

    The order is Caffe's: the sum of the iter_size gradients is clipped by its norm over all weights, those with lr_mult
    0 included where they have a gradient and shared ones once; divided by iter_size; decayed (g + decay w, or
    g + decay sign(w) for L1, sign(0) = 0), weights that the objective does not reach too; made an update u by the rule;
    and w = w - u.

    With larc, each weight has a rate of its own (LARC; You, Gitman and Ginsburg 2017, "Large Batch Training of
    Convolutional Networks"; the names are NVIDIA Caffe's): with trust = larc_eta |w| / (|g| + decay |w|), where g is
    clipped and divided but not decayed, it is min(rate, trust) for larc_policy "clip" and rate * trust for "scale".
    `rate` has lr_mult in it, `decay` decay_mult. Where |w| or |g| is 0 the rate is left alone. NVIDIA Caffe leaves
    decay |w| out of trust, multiplies it by 1 - momentum, and ignores lr_mult but for 0.
    """

    slots: ClassVar[int] = 1
    """Histories of a parameter, as many as in Caffe's .solverstate."""
    decoupled: ClassVar[bool] = False
    """Whether the decay is part of the update, not of the gradient."""

    learned: tuple[Learned, ...]
    histories: tuple[tuple[Tensor, ...], ...]
    """[slot][parameter], in the order of `learned`; in the memory order of the parameters. To restore, copy into
    them."""

    def __init__(self, learned: Sequence[Learned], settings: Settings) -> None:
        s = settings.message
        self.learned = tuple(learned)
        self.l1 = s.regularization_type == "L1"
        self.clip, self.iter_size = s.clip_gradients, s.iter_size
        self.momentum, self.momentum2 = s.momentum, s.momentum2
        self.delta, self.rms_decay = s.delta, s.rms_decay
        self.larc, self.larc_clips, self.larc_eta = s.larc, s.larc_policy == "clip", s.larc_eta
        self.keeps = s.snapshot_diff
        # Fused kernels know neither sign(w) nor a rate for each weight, and leave no update behind.
        self.fusible = not (self.l1 or self.larc or self.keeps)
        self.histories = tuple(tuple(self.history(slot, one.tensor) for one in learned) for slot in range(self.slots))
        alike: dict[tuple[float, float, bool], list[int]] = {}
        for i, one in enumerate(learned):
            alike.setdefault((one.lr_mult, one.decay_mult, self.special(one.tensor)), []).append(i)
        self.groups = [
            Group(
                lr_mult,
                s.weight_decay * decay_mult,
                tuple(indices),
                [learned[i].tensor for i in indices],
                tuple([slot[i] for i in indices] for slot in self.histories),
            )
            for (lr_mult, decay_mult, _), indices in alike.items()
        ]

    def history(self, slot: int, weight: Tensor) -> Tensor:
        """What `weight` starts with in a slot: zeros like it."""
        return torch.zeros_like(weight, requires_grad=False)

    def special(self, weight: Tensor) -> bool:
        """Whether the rule treats `weight` apart from others."""
        return False

    def zero(self) -> None:
        """Forget the gradients."""
        for one in self.learned:
            one.tensor.grad = None

    def gradients(self) -> list[Tensor]:
        """Of all that learn, in order; zeros where the objective does not reach a weight."""
        for one in self.learned:
            if one.tensor.grad is None:
                one.tensor.grad = torch.zeros_like(one.tensor)
        return [one.tensor.grad for one in self.learned if one.tensor.grad is not None]

    def numbers(self, rate: float, iteration: int) -> tuple[float, ...]:
        """What `step` takes for the update after `iteration` others; the rate comes first."""
        return (rate,)

    @torch.no_grad()
    def step(self, *numbers: Number) -> None:
        """One update by `numbers`, all of them floats or all tensors. The gradients are spent; with snapshot_diff they
        hold the update u afterwards, as in Caffe."""
        grads = self.gradients()
        if self.clip >= 0 and grads:
            norm = torch.linalg.vector_norm(_norms(grads))
            torch._foreach_div_(grads, torch.where(norm > self.clip, norm / self.clip, 1.0))
        if self.iter_size > 1 and grads:
            torch._foreach_div_(grads, self.iter_size)
        for group in self.groups:
            mine = [grads[i] for i in group.indices]
            rate = numbers[0] * group.lr_mult
            if self.larc:
                rate = self._bounded(group, mine, rate)
            if self.fusible and self.fused(group, mine, rate, *numbers[1:]):
                continue
            if not self.decoupled:
                self.regularize(group, mine)
            factor = self.update(group, mine, rate, *numbers[1:])
            if isinstance(factor, Tensor) or self.keeps:
                _scale(mine, factor)
                factor = 1.0
            torch._foreach_sub_(group.weights, mine, alpha=factor)

    def regularize(self, group: Group, grads: list[Tensor]) -> None:
        """Add the decay to `grads`."""
        if group.decay:
            pull = torch._foreach_sign(group.weights) if self.l1 else group.weights
            torch._foreach_add_(grads, pull, alpha=group.decay)

    def fused(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> bool:
        """Decay and update `group` in one kernel, if there is one that can: whether it did."""
        return False

    @abstractmethod
    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        """Turn decayed gradients into updates, in place, but for the factor given. `rate` has lr_mult in it; with larc
        it is f32[n], one for each weight, and so may the factor be."""

    def _bounded(self, group: Group, grads: list[Tensor], rate: Number) -> Tensor:
        """LARC's rates, f32[n]."""
        weight, grad = _norms(group.weights), _norms(grads)
        trust = self.larc_eta * weight / (grad + group.decay * weight)
        bounded = trust.clamp(max=rate) if self.larc_clips else trust * rate
        return torch.where((weight > 0) & (grad > 0), bounded, rate)


class SGD(Optimizer):
    """v = momentum v + rate g;  u = v.

    The rate is inside v, unlike torch.optim.SGD's: when the rate drops, steps already under way keep theirs.
    """

    def fused(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> bool:
        if isinstance(rate, Tensor):
            return False
        # What torch calls 1 - dampening is the factor on the gradient.
        self._fused(group, grads, weight_decay=group.decay, dampening=1 - rate)
        return True

    def _fused(self, group: Group, grads: list[Tensor], **more: Any) -> None:
        # Without momentum torch leaves the history alone; Caffe's holds the update.
        momentum = self.momentum or 1e-300
        settings = {"lr": 1.0, "nesterov": False, "maximize": False, "is_first_step": False, "momentum": momentum}
        torch._fused_sgd_(group.weights, grads, group.histories[0], **(settings | more))

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        (history,) = group.histories
        _scale(grads, rate)
        torch._foreach_add_(grads, history, alpha=self.momentum)
        torch._foreach_copy_(history, grads)
        return 1.0


class Nesterov(SGD):
    """v' = momentum v + rate g;  u = (1 + momentum) v' - momentum v."""

    def fused(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> bool:
        if isinstance(rate, Tensor) or rate == 0:
            return False
        # torch adds the bare gradient to momentum v', so the rate is put into it: kernels divide by grad_scale.
        scale = torch.full((), 1 / rate, device=grads[0].device)
        self._fused(group, grads, weight_decay=group.decay * rate, dampening=0.0, grad_scale=scale, nesterov=True)
        return True

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        # u = momentum v' + rate g
        (history,) = group.histories
        _scale(grads, rate)
        torch._foreach_mul_(history, self.momentum)
        torch._foreach_add_(history, grads)
        torch._foreach_add_(grads, history, alpha=self.momentum)
        return 1.0


class AdaGrad(Optimizer):
    """h = h + g^2;  u = rate g / (sqrt(h) + delta)."""

    def fused(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> bool:
        # Not every torch that we take has the kernel on CUDA.
        if isinstance(rate, Tensor) or grads[0].is_cuda:
            return False
        torch._fused_adagrad_(
            group.weights, grads, group.histories[0], [torch.ones(())] * len(grads), lr=rate, lr_decay=0.0,
            weight_decay=group.decay, eps=self.delta, maximize=False,
        )  # fmt: skip
        return True

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        (history,) = group.histories
        torch._foreach_addcmul_(history, grads, grads)
        _divide_by_root(grads, history, self.delta)
        return rate


class RMSProp(Optimizer):
    """h = rms_decay h + (1 - rms_decay) g^2;  u = rate g / (sqrt(h) + delta)."""

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        (history,) = group.histories
        _average_squares(history, grads, self.rms_decay)
        _divide_by_root(grads, history, self.delta)
        return rate


class AdaDelta(Optimizer):
    """h = momentum h + (1 - momentum) g^2;  d = g sqrt((k + delta) / (h + delta));
    k = momentum k + (1 - momentum) d^2;  u = rate d.

    Histories: h, k. Zeiler's rule (2012) has no rate: base_lr is 1 there.
    """

    slots = 2

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        squares, steps = group.histories
        _average_squares(squares, grads, self.momentum)
        ratio = torch._foreach_add(steps, self.delta)
        torch._foreach_div_(ratio, torch._foreach_add(squares, self.delta))
        torch._foreach_sqrt_(ratio)
        torch._foreach_mul_(grads, ratio)
        _average_squares(steps, grads, self.momentum)
        return rate


class Adam(Optimizer):
    """m = momentum m + (1 - momentum) g;  v = momentum2 v + (1 - momentum2) g^2;
    u = rate c m / (sqrt(v) + delta), c = sqrt(1 - momentum2^t) / (1 - momentum^t), t counting from 1.

    Histories: m, v. delta joins the uncorrected root, unlike torch.optim.Adam's eps; the decay is in g (L2).
    """

    slots = 2

    def numbers(self, rate: float, iteration: int) -> tuple[float, ...]:
        """The rate and c."""
        t = iteration + 1
        return rate, math.sqrt(1 - self.momentum2**t) / (1 - self.momentum**t)

    def fused(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> bool:
        # After infinitely many steps torch corrects nothing, so what is left is Caffe's formula.
        self._fused(torch._fused_adam_, group, grads, rate * numbers[0], math.inf)
        return True

    def _fused(
        self, kernel: Callable[..., None], group: Group, grads: list[Tensor], rate: Number, steps: Number
    ) -> None:
        if not isinstance(steps, Tensor):
            steps = torch.full((), steps, device=grads[0].device)
        m, v = group.histories
        kernel(
            group.weights, grads, m, v, [], [steps] * len(grads), lr=rate, beta1=self.momentum, beta2=self.momentum2,
            weight_decay=group.decay, eps=self.delta, amsgrad=False, maximize=False,
        )  # fmt: skip

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        (correction,) = numbers
        self._moments(group, grads, 1.0)
        return rate * correction

    def _moments(self, group: Group, grads: list[Tensor], root: Number) -> None:
        """Take the gradients into m and v, and put m / (sqrt(v) / root + delta) in their place."""
        m, v = group.histories
        torch._foreach_lerp_(m, grads, 1 - self.momentum)
        _average_squares(v, grads, self.momentum2)
        torch._foreach_copy_(grads, v)
        torch._foreach_sqrt_(grads)
        torch._foreach_div_(grads, root)
        torch._foreach_add_(grads, self.delta)
        torch._foreach_reciprocal_(grads)
        torch._foreach_mul_(grads, m)


class AdamW(Adam):
    """m and v as Adam's;  u = rate (M / (sqrt(V) + delta) + decay w),
    M = m / (1 - momentum^t), V = v / (1 - momentum2^t).

    Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization": the decay is outside the moments. delta joins
    the corrected root, as torch.optim.AdamW's eps does.
    """

    decoupled = True

    def numbers(self, rate: float, iteration: int) -> tuple[float, ...]:
        """The rate; t; 1 - momentum^t; sqrt(1 - momentum2^t)."""
        t = iteration + 1
        return rate, float(t), 1 - self.momentum**t, math.sqrt(1 - self.momentum2**t)

    def fused(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> bool:
        self._fused(torch._fused_adamw_, group, grads, rate, numbers[0])
        return True

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        _, share, root = numbers
        self._moments(group, grads, root)
        torch._foreach_div_(grads, share)
        self.regularize(group, grads)
        return rate


class LAMB(AdamW):
    """AdamW whose u at rate 1, r, is scaled for each weight to the weight's norm:  u = rate r |w| / |r|.

    You et al. 2020, "Large Batch Optimization for Deep Learning", with phi the identity; where |w| or |r| is 0 it is
    AdamW. Biases and scales are weights like others; decay_mult: 0 only frees them from the decay.
    """

    def fused(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> bool:
        return False

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        rate = super().update(group, grads, rate, *numbers)
        weight, step = _norms(group.weights), _norms(grads)
        return rate * torch.where((weight > 0) & (step > 0), weight / step, 1.0)


class Muon(AdamW):
    """For weights of 2 axes or more, as matrices [out, rest]:  m = momentum m + (1 - momentum) g;
    u = rate (0.2 sqrt(max(out, rest)) O + decay w), O = orthogonal(momentum m + (1 - momentum) g). All others: AdamW.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". The factor on O is that of Liu et al.
    2025, "Muon is Scalable for LLM Training": u is as large as AdamW's, so that one rate serves both. momentum is that
    of both. Histories: m, v; v is empty for matrices. The first and last layers, which Jordan leaves to AdamW, are no
    exception here.
    """

    def special(self, weight: Tensor) -> bool:
        return weight.ndim >= 2

    def history(self, slot: int, weight: Tensor) -> Tensor:
        return weight.new_empty(0) if slot and self.special(weight) else super().history(slot, weight)

    def fused(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> bool:
        return not self.special(group.weights[0]) and super().fused(group, grads, rate, *numbers)

    def update(self, group: Group, grads: list[Tensor], rate: Number, *numbers: Number) -> Number:
        if not self.special(group.weights[0]):
            return super().update(group, grads, rate, *numbers)
        momentum = group.histories[0]
        torch._foreach_lerp_(momentum, grads, 1 - self.momentum)
        torch._foreach_lerp_(grads, momentum, self.momentum)
        _orthogonalize(grads)
        self.regularize(group, grads)
        return rate


SOLVERS: dict[str, type[Optimizer]] = {
    rule.__name__: rule for rule in (SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam, AdamW, LAMB, Muon)
}
"""The rules by their names in a solver's `type`."""


def make(learned: Sequence[Learned], settings: Settings) -> Optimizer:
    """The rule that the solver names, over `learned`."""
    return SOLVERS[settings.message.type](learned, settings)


def _norms(tensors: list[Tensor]) -> Tensor:
    """The L2 norm of each, f32[n]."""
    return torch.stack(torch._foreach_norm(tensors))


def _scale(tensors: list[Tensor], factor: Number) -> None:
    """Multiply in place by a number, or by f32[n], one for each tensor."""
    if isinstance(factor, Tensor) and factor.ndim:
        torch._foreach_mul_(tensors, factor.unbind())
    else:
        torch._foreach_mul_(tensors, factor)


def _average_squares(averages: list[Tensor], tensors: list[Tensor], decay: float) -> None:
    """h = decay h + (1 - decay) x^2, in place."""
    torch._foreach_mul_(averages, decay)
    torch._foreach_addcmul_(averages, tensors, tensors, 1 - decay)


def _divide_by_root(tensors: list[Tensor], squares: list[Tensor], delta: float) -> None:
    """x / (sqrt(h) + delta), in place."""
    root = torch._foreach_sqrt(squares)
    torch._foreach_add_(root, delta)
    torch._foreach_div_(tensors, root)


def _orthogonalize(grads: list[Tensor]) -> None:
    """Put 0.2 sqrt(max(out, rest)) times the orthogonal factor of each gradient [out, ...] in its place.

    Five quintic Newton-Schulz steps bring all singular values near 1, between about 0.7 and 1.2; 0 stays 0. Matrices
    of one size go together.
    """
    sizes: dict[tuple[int, int], list[tuple[Tensor, bool]]] = {}
    for grad in grads:
        rows, columns = len(grad), math.prod(grad.shape[1:])
        sizes.setdefault((min(rows, columns), max(rows, columns)), []).append((grad, rows > columns))
    for (_, columns), members in sizes.items():
        wide = [grad.flatten(1).T if tall else grad.flatten(1) for grad, tall in members]
        # The steps forgive the rounding of bfloat16, which only GPUs multiply faster.
        x = torch.stack(wide).to(torch.bfloat16 if wide[0].is_cuda else torch.float32)
        x /= torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
        for _ in range(5):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
        x *= 0.2 * math.sqrt(columns)
        for (grad, tall), found in zip(members, x, strict=True):
            grad.copy_((found.T if tall else found).reshape(grad.shape))
