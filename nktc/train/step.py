"""The training step as a value: what one iteration does, put together before the loop starts.

The order of the wrappings: forward and loss under autocast, over the ranks, compiled, backward, update, captured. What
is compiled holds the exchange between ranks, so that it can overlap with the backward; what is captured holds it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nktc.module import Net
from nktc.train import precision
from nktc.train.average import Average
from nktc.train.guard import EVERY, Guard
from nktc.train.optimizers import Optimizer
from nktc.train.precision import LossScale
from nktc.train.ranks import Ranks
from nktc.train.settings import Settings
from nktc.train.speed import Speed

Batch = tuple[Tensor, ...]
Batches = Iterator[Batch]
Outputs = Mapping[str, Tensor]
Rate = float | Callable[[Tensor], float]
"""The rate of an iteration, or what tells it once the loss, f32[], is known."""
Step = Callable[[Batches, Rate, int], tuple[Tensor, Outputs]]
"""Takes as many batches as an iteration needs, the rate and the iteration; gives the loss, f32[], and the outputs of
the last forward, detached and on the device. Raises Diverged before the update that a bad loss would make."""

WARM = 3  # iterations before a capture


class Objective(nn.Module):
    """Inputs to the objective, f32[], and the net's outputs: the net, under autocast, and its loss."""

    def __init__(self, net: Net, settings: Settings, speed: Speed, device: torch.device) -> None:
        super().__init__()
        self.net = net
        self._precision, self._device = settings.message.precision, device
        self._channels_last = speed.channels_last

    def forward(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with precision.autocast(self._precision, self._device):
            values = self.net(*(laid_out(inputs) if self._channels_last else inputs))
            return self.net.loss(values), values


def laid_out(inputs: Sequence[Tensor]) -> Batch:
    """Pictures with their channels last in memory."""
    return tuple(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs)


@dataclass
class Parts:
    """What a step is made of."""

    settings: Settings
    net: Net
    optimizer: Optimizer
    device: torch.device
    ranks: Ranks
    guard: Guard
    average: Average | None = None
    scale: LossScale | None = None


def make_step(parts: Parts, speed: Speed) -> Step:
    """The step that `speed` asks for; the net's weights are laid out accordingly already."""
    objective: nn.Module = Objective(parts.net, parts.settings, speed, parts.device)
    objective = parts.ranks.wrap(objective)
    if speed.compile:
        objective = torch.compile(objective, dynamic=False)  # type: ignore[assignment]
    # A captured iteration has no place for a rate that its own loss tells.
    if speed.cuda_graph and not parts.settings.message.plateau_winsize:
        return _captured(parts, objective)
    return _plain(parts, objective)


def _plain(parts: Parts, objective: nn.Module) -> Step:
    """Forward and backward over iter_size batches, then one update; the loss is their mean, as Caffe reports it."""

    def step(batches: Batches, rate: Rate, iteration: int) -> tuple[Tensor, Outputs]:
        taken = [next(batches) for _ in range(iter_size)]
        parts.guard.begin()
        loss, outputs = gradients(parts, objective, taken, parts.guard.record)
        parts.guard.check(taken)
        rate = rate_of(rate, loss)
        if parts.scale is None or parts.scale.unscale(parts.optimizer.gradients()):
            update(parts, numbers_of(parts, rate, iteration))
        return loss, outputs

    iter_size = parts.settings.message.iter_size
    return step


def gradients(
    parts: Parts, objective: nn.Module, batches: Sequence[Batch], look: Callable[[Tensor], None]
) -> tuple[Tensor, Outputs]:
    """The gradients of the sum over batches. `look` is called with their mean loss as soon as it is known; that and
    the last outputs are given."""
    parts.optimizer.zero()
    losses: list[Tensor] = []
    for i, inputs in enumerate(batches, 1):
        last = i == len(batches)
        with parts.ranks.gradients_stay(objective, not last):
            loss, outputs = objective(*inputs)
            losses.append(loss.detach())
            if last:
                mean, outputs = parts.ranks.mean(losses[0] if i == 1 else torch.stack(losses).mean(), outputs)
                look(mean)
            if loss.requires_grad:
                torch.autograd.backward(loss if parts.scale is None else loss * parts.scale.scale)
    return mean, {name: value.detach() for name, value in outputs.items()}


def rate_of(rate: Rate, loss: Tensor) -> float:
    """The rate, now that the loss is known."""
    return rate(loss) if callable(rate) else rate


def numbers_of(parts: Parts, rate: float, iteration: int) -> list[float]:
    """What of the update changes from iteration to iteration."""
    average = [1 - parts.average.kept(iteration)] if parts.average else []
    return [*parts.optimizer.numbers(rate, iteration), *average]


def update(parts: Parts, numbers: Sequence[float | Tensor]) -> None:
    """One update of the weights, and of their average, by what `numbers_of` gave."""
    if parts.average:
        *numbers, change = numbers
    parts.optimizer.step(*numbers)
    if parts.average:
        parts.average.update(change)


def _captured(parts: Parts, objective: nn.Module) -> Step:
    """The whole iteration as one CUDA graph: the host copies the batches and a few numbers in, and launches once.

    The first iterations run as they are, on the stream that the capture uses, as PyTorch's notes on CUDA graphs ask
    for; capturing itself runs nothing, so that no iteration is done twice. What the graph gives lies in its own memory,
    which the next iteration overwrites, so it is copied.
    """
    plain = _plain(parts, objective)
    iter_size = parts.settings.message.iter_size
    stream = torch.cuda.Stream(parts.device)
    graph = torch.cuda.CUDAGraph()
    done = 0
    static: list[Batch] = []
    numbers = loss = torch.empty(0)
    outputs: Outputs = {}

    def capture(batches: Sequence[Batch], given: Sequence[float]) -> None:
        nonlocal numbers, loss, outputs
        static.extend(tuple(tensor.clone() for tensor in batch) for batch in batches)
        numbers = torch.tensor(given, device=parts.device)
        torch.cuda.synchronize(parts.device)
        # Threads that read ahead may ask for memory meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            loss, outputs = gradients(parts, objective, static, lambda _: None)
            update(parts, numbers.unbind())

    def step(batches: Batches, rate: Rate, iteration: int) -> tuple[Tensor, Outputs]:
        nonlocal done
        done += 1
        if done <= WARM:
            stream.wait_stream(torch.cuda.current_stream(parts.device))
            with torch.cuda.stream(stream):
                found = plain(batches, rate, iteration)
            torch.cuda.current_stream(parts.device).wait_stream(stream)
            return found
        taken = [next(batches) for _ in range(iter_size)]
        assert not callable(rate), "make_step captures none whose loss tells the rate"
        given = numbers_of(parts, rate, iteration)
        if not static:
            capture(taken, given)
        for into, batch in zip(static, taken, strict=True):
            for kept, tensor in zip(into, batch, strict=True):
                kept.copy_(tensor, non_blocking=True)
        # New pinned memory each time: the copy of the last may still be under way.
        numbers.copy_(torch.tensor(given).pin_memory(), non_blocking=True)
        graph.replay()
        mean = loss.clone()
        if iteration % EVERY == 0:
            parts.guard.record(mean)
            parts.guard.check(taken, spent=True)
        return mean, {name: value.clone() for name, value in outputs.items()}

    return step
