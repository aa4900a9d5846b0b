"""TensorBoard: scalars, the filters of the first layer, histograms on request."""

from __future__ import annotations

import atexit
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from torch.utils.tensorboard import SummaryWriter

from nktc.errors import NktcError, near
from nktc.ir import Graph
from nktc.train.events import Ended, Event, Started, Stepped, Tested
from nktc.train.loggers.logger import About
from nktc.train.loggers.scalars import scalars

OPTIONS = ("histograms",)


class TensorBoard:
    """Writes to the folder tensorboard of the run.

    At each test, and at the end, come the filters of a first Convolution that sees 1 or 3 channels, BGR shown as RGB.
    With the option histograms come the weights too, and the gradients of the iteration after the test: as backward
    leaves them, before clipping, decay and the means over iter_size and ranks. A captured CUDA graph shows none.
    """

    writer: SummaryWriter

    def __init__(self, options: Sequence[str], about: About) -> None:
        for option in options:
            if option not in OPTIONS:
                help = near(option, OPTIONS) or f"it knows {', '.join(OPTIONS)}"
                raise NktcError(f'tensorboard has no option "{option}"', help=help)
        self.about, self.net = about, about.net
        self.scalars = scalars(about, self._write)
        self.filters = first_filters(self.net.graph)
        self.shown = -1  # the iteration whose weights were shown last
        self.weights: list[str] = []  # whose histograms are wanted
        if "histograms" in options:
            self.weights = [name for name in self.net.graph.parameters if self.net.tensor(name).requires_grad]
        self.gradients: dict[str, Tensor] | None = None  # by weight; None while they are not wanted
        self.watches = [self._watch(name) for name in self.weights]

    def __call__(self, event: Event) -> None:
        match event:
            case Started(iteration):
                # TensorBoard leaves out what a resumed run does again.
                folder = self.about.run.folder / "tensorboard"
                self.writer = SummaryWriter(folder, purge_step=iteration or None)
                # A training that dies, of NaN say, does not say that it ended, and its last losses matter most.
                atexit.register(self.writer.close)
            case Tested(iteration, 0):
                self._show(iteration)
                self.gradients = {}
            case Stepped(iteration) if self.gradients:
                for name, gradient in self.gradients.items():
                    self._histogram(f"gradients/{name}", gradient, iteration)
                self.gradients = None
            case Ended(iteration):
                self._show(iteration)
                for watch in self.watches:
                    watch.remove()
                self.writer.close()
                atexit.unregister(self.writer.close)
        self.scalars(event)
        if isinstance(event, Tested):
            self.writer.flush()

    def _write(self, values: Mapping[str, float], iteration: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, iteration)

    def _show(self, iteration: int) -> None:
        if iteration == self.shown:
            return
        self.shown = iteration
        if self.filters:
            self.writer.add_image(f"filters/{self.filters}", tiled(self.net.tensor(self.filters)), iteration)
        for name in self.weights:
            self._histogram(f"weights/{name}", self.net.tensor(name), iteration)

    def _histogram(self, name: str, values: Tensor, iteration: int) -> None:
        finite = values.detach().float().reshape(-1)
        finite = finite[finite.isfinite()].cpu()
        if len(finite):
            self.writer.add_histogram(name, finite, iteration)

    def _watch(self, name: str) -> RemovableHandle:
        """Keep a weight's gradient when it is wanted: the update spends it in place."""

        def keep(weight: Tensor) -> None:
            if self.gradients is not None and weight.grad is not None:
                self.gradients[name] = weight.grad.detach().clone()

        return self.net.tensor(name).register_post_accumulate_grad_hook(keep)


def first_filters(graph: Graph) -> str | None:
    """The weight of the first Convolution, where it slides over images of 1 or 3 channels."""
    node = next((node for node in graph if node.type == "Convolution"), None)
    if node is None:
        return None
    name, seen = node.weights["weight"], node.inputs[0].shape
    return name if len(seen) == 4 and seen[1] in (1, 3) and graph.parameters[name].weight.shape[1] == seen[1] else None


def tiled(filters: Tensor) -> Tensor:
    """filters[o c h w], c 1 or 3 as BGR -> f32[c H W] from 0 to 1: side by side in rows as long as they are many, with
    a white line between. All have one scale, so that a weak filter looks weak."""
    values = filters.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0)
    values = values.flip(1) if values.shape[1] == 3 else values
    low, high = values.amin(), values.amax()
    values = (values - low) / (high - low).clamp(min=1e-12)
    count, channels, height, width = values.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    picture = torch.ones(channels, rows * (height + 1) - 1, columns * (width + 1) - 1)
    for k, one in enumerate(values):
        y, x = k // columns * (height + 1), k % columns * (width + 1)
        picture[:, y : y + height, x : x + width] = one
    return picture
