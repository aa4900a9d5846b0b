"""The watch over the loss: training stops before the update that NaN or an exploding loss would spoil."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nktc.errors import NktcError, Span
from nktc.ir import Node
from nktc.layers import SoftmaxWithLoss
from nktc.module import Net

RELATIVE = 1e6  # how many times the first loss, or 1, is an explosion
WORST = 126 * math.log(2)  # SoftmaxWithLoss where no label has any probability: Caffe's 87.3365
LOST = 100  # losses in a row between a quarter of that and all of it, after which a net has fallen apart
EVERY = 20  # a captured step's losses are looked at this often, so that the device never waits for the host
SLOWER = "lower base_lr, warm up with warmup_iter, or set clip_gradients"

Batch = tuple[Tensor, ...]


class Diverged(Exception):
    """The loss is NaN, infinite or above its bound; `batches` are those of the iteration."""

    def __init__(self, loss: float, batches: Sequence[Batch]) -> None:
        super().__init__(f"the loss is {loss:g}")
        self.loss, self.batches = loss, batches


class Guard:
    """Looks at each loss of `net`. `most` is the largest it may be; 0 takes a million times the first, at least a
    million. As a net of SoftmaxWithLoss can lose no more than 87.3365, 100 losses in a row that are above a quarter of
    that, and twice the first, are as bad then."""

    def __init__(self, net: Net, most: float) -> None:
        self.net, self.most = net, most
        self.passed = 0  # losses that were good
        self.lost = 0  # losses in a row that are near what a softmax can lose
        self._high = math.inf if most else _highest(net) / 4
        self._state = [net.tensor(p.name) for p in net.graph.parameters.values() if not p.weight.learns]
        self._before = [tensor.clone() for tensor in self._state]
        self._waiting: Tensor | None = None
        self._event: torch.cuda.Event | None = None

    @torch.no_grad()
    def begin(self) -> None:
        """An iteration begins: keep what its forwards change, such as BatchNorm's sums."""
        if self._state:
            torch._foreach_copy_(self._before, self._state)

    @torch.no_grad()
    def undo(self) -> None:
        """Put back what the forwards since `begin` changed."""
        if self._state:
            torch._foreach_copy_(self._state, self._before)

    def record(self, loss: Tensor) -> None:
        """Start bringing a loss, f32[], to the host; on a GPU behind the work that is queued."""
        if loss.device.type == "cuda":
            self._waiting = torch.empty((), pin_memory=True).copy_(loss, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._waiting = loss

    def check(self, batches: Sequence[Batch], spent: bool = False) -> None:
        """Raise Diverged if the recorded loss, the mean over `batches`, is bad; waits for it, and for nothing that was
        queued later. What the forwards changed is put back, unless the update is `spent` already."""
        assert self._waiting is not None
        if self._event:
            self._event.synchronize()
        loss = self._waiting.item()
        if not self.most and math.isfinite(loss):
            self.most = RELATIVE * max(1.0, abs(loss))
        self.lost = self.lost + 1 if loss > max(self._high, 2 * self.most / RELATIVE) else 0
        if not abs(loss) <= (self.most or math.inf) or math.isinf(loss) or self.lost >= LOST:
            if not spent:
                self.undo()
            raise Diverged(loss, batches)
        self.passed += 1

    def blame(self, bad: Diverged, iteration: int) -> NktcError:
        """What is said of a bad loss: the layer whose output is the first to go bad in forwards over its batches, its
        place and what to do. To be called in the precision that the loss was computed in; changes BatchNorm's sums."""
        said = f"the loss is {bad.loss:g} at iteration {iteration}"
        bound = math.inf
        if self.lost >= LOST:
            said, bound = f"{said}, after {LOST - 1} that were above {self._high:g}", 1e4
        elif math.isfinite(bad.loss):
            said, bound = f"{said}, above {self.most:g}", max(self.most, RELATIVE)
        for number, inputs in enumerate(bad.batches, 1):
            if fault := first_fault(self.net, inputs, bound, fresh=not self.passed):
                part = f", in batch {number} of {len(bad.batches)}" if len(bad.batches) > 1 else ""
                return NktcError(f"{said}{part}: {fault.said}", at=fault.at, help=fault.help, code="diverged")
        return NktcError(said, help=SLOWER, code="diverged")


@dataclass(frozen=True)
class Fault:
    """Where numbers go bad: the fact, its place, what to do."""

    said: str
    at: Span | None
    help: str


@torch.no_grad()
def first_fault(net: Net, inputs: Batch, bound: float = math.inf, fresh: bool = False) -> Fault | None:
    """The first layer, in a forward over `inputs`, that has bad weights or makes what is not finite or larger than
    `bound`; None where there is none. `fresh`: no update has touched the weights yet."""
    values = net.values(*inputs)
    for node in net.graph:
        if fault := bad_weight(net, node, fresh):
            return fault
        for value in node.outputs:
            largest = _largest([values[value.name]])
            if not math.isfinite(largest) or (largest > bound and not node.layer.source):
                return _bad_output(net, node, value.name, values)
    return None


def bad_weight(net: Net, node: Node, fresh: bool = False) -> Fault | None:
    """What is said of the first weight of a layer that is not finite; None where all are."""
    for name in node.weights.values():
        if not math.isfinite(_largest([net.tensor(name)])):
            said = f"{_kind(net.tensor(name))} is in the weights of {_called(node)}, {name.rpartition('.')[2]}"
            return Fault(said, node.at, "start from other weights" if fresh else SLOWER)
    return None


def bad_weights(net: Net) -> Fault | None:
    """As `bad_weight`, of all layers."""
    return next(filter(None, (bad_weight(net, node) for node in net.graph)), None)


def _highest(net: Net) -> float:
    """The largest that the objective can be where all of it is SoftmaxWithLoss, a mean over items; else infinite."""
    layers = [(net.graph.producers[name].layer, weight) for name, weight in net.graph.losses]
    means = [isinstance(layer, SoftmaxWithLoss) and layer.normalization in ("FULL", "VALID") for layer, _ in layers]
    return WORST * sum(weight for _, weight in layers) if layers and all(means) else math.inf


def _bad_output(net: Net, node: Node, name: str, values: dict[str, Tensor]) -> Fault:
    found, blob = values[name], name.partition("@")[0]
    if node.layer.source:
        rows = (~torch.isfinite(found)).flatten(1).any(1) if found.dim() > 1 else ~torch.isfinite(found)
        row = int(rows.nonzero()[0])
        said = f'{_kind(found)} is in the data, in row {row} of the batch "{blob}", counted from 0'
        return Fault(said, node.at, "mend the data, or leave that record out")
    given = [values[value.name] for value in node.inputs]
    said = f'the first layer to go bad is {_called(node)}: "{blob}" has {_kind(found)}'
    if given:
        least, most = min(x.min().item() for x in given), max(x.max().item() for x in given)
        said += f", made from {least:.4g} to {most:.4g}"
    weights = [net.tensor(weight) for weight in node.weights.values()]
    if weights:
        said += f" with weights up to {_largest(weights):.4g}"
    tame = not math.isfinite(_largest([found])) and max(_largest(given), _largest(weights)) <= RELATIVE
    return Fault(said, node.at, f"clip or shift what {node.type} takes, or {SLOWER}" if tame else SLOWER)


def _largest(tensors: Sequence[Tensor]) -> float:
    """The largest magnitude; NaN where there is one."""
    ends = [abs(end.item()) for tensor in tensors if tensor.numel() for end in torch.aminmax(tensor)]
    return math.nan if any(map(math.isnan, ends)) else max(ends, default=0.0)


def _kind(tensor: Tensor) -> str:
    """What is bad about it."""
    largest = _largest([tensor])
    return "NaN" if math.isnan(largest) else f"{largest:.4g}"


def _called(node: Node) -> str:
    return f'{node.type} "{node.name}"'
