"""`nktc time`: what each layer of a net takes, forward and backward, and what the whole takes.

The net is timed twice on the same batches. Once as it really runs, which is what Caffe's lines and the images/s are of;
and layer by layer, each cut off from its neighbours, so that nothing but its own work is between two looks at the
clock. The layers' sum differs from the whole: it lacks what is done between layers (the loop itself, the sums of
gradients where several layers take one value), it has a call of autograd for each layer instead of one, and layers that
the net runs as one are apart in it. On a GPU moments are events in its stream and nothing waits between layers; a layer
whose work is shorter than its launch shows the launch.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor

from nktc import data, module, weights
from nktc.errors import NktcError
from nktc.ir import Feed, Graph, Phase, Shape
from nktc.module import Net
from nktc.schema import SolverParameter
from nktc.train import freezing, precision, speed, step
from nktc.train.bench import WHOLE, Bench, Clock, Spans
from nktc.train.feeding import Feeding
from nktc.train.settings import Settings
from nktc.train.solver import Solver

WARM = 2  # iterations before those that count: memory is taken and kernels are chosen in them


@dataclass(frozen=True)
class LayerTime:
    """Means over the iterations, in ms. `backward` is 0 where no gradient comes to the layer, `forward` of what feeds
    the net is the reading of a batch, 0 where none is read; `fed` tells that layer from the others."""

    name: str
    type: str
    outputs: tuple[Shape, ...]
    fed: bool
    forward: float
    backward: float


@dataclass(frozen=True)
class Timing:
    """A net's times, means over the iterations, in ms. `forward` and `backward` are those of the net as it runs, the
    batch there already; `step` is a whole training step, of `step_batch` items: data, forward, backward, update; None
    where there is no solver. `notes` tell what is fed in place of data."""

    name: str
    phase: Phase
    device: str
    batch: int
    iterations: int
    layers: tuple[LayerTime, ...]
    forward: float
    backward: float
    step: float | None = None
    step_batch: int = 0
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[LayerTime, ...]:
        """The layers that compute: all but those that feed the net."""
        return tuple(layer for layer in self.layers if not layer.fed)

    @property
    def layers_forward(self) -> float:
        return sum(layer.forward for layer in self.own)

    @property
    def layers_backward(self) -> float:
        return sum(layer.backward for layer in self.own)

    def share(self, layer: LayerTime) -> float:
        """The layer's part of what all layers take, 0 to 1; 0 for what feeds the net, which is read while it works."""
        whole = self.layers_forward + self.layers_backward
        return 0.0 if layer.fed or not whole else (layer.forward + layer.backward) / whole


def time_net(
    graph: Graph,
    folder: Path,
    *,
    settings: Settings | None = None,
    files: Sequence[str] = (),
    iterations: int = 50,
    device: str = "auto",
    places: data.Places,
    write: Callable[[str], None],
) -> Timing:
    """Time a graph with the weights of `files`, its data looked for in `folder` too; with the solver's settings whose
    training net it is the training step also. A net without a loss gets a gradient of ones at its outputs, a TEST net
    has no backward. `write` gets the lines of `caffe time`, in which forward and backward are those of the net as it
    runs. Raises NktcErrors."""
    for file in files:
        graph, _ = weights.attach(graph, file)
    if settings:
        graph = freezing.freeze(settings, graph)
    mode = settings.message.solver_mode == SolverParameter.GPU if settings else torch.cuda.is_available()
    chosen, _ = module.choose(device, mode, settings.message.device_id if settings else 0)
    if chosen.type == "cpu":
        module.keep_freed()
    feeding, notes = _feeding(graph, places, folder, chosen)
    net = module.compile(graph, seed=0).to(chosen)
    with torch.inference_mode(graph.phase is Phase.TEST):
        layers, forward, backward = _measure(net, feeding, chosen, iterations, write)
    batch = next((value.shape[0] for value in graph.values.values() if value.shape), 1)
    timing = Timing(
        graph.name, graph.phase, _named(chosen), batch, iterations, layers, forward, backward, notes=tuple(notes)
    )
    for line in _report(timing):
        write(line)
    if not settings:
        return timing
    took = _step(settings, net, feeding, chosen, iterations)
    return replace(timing, step=took, step_batch=batch * settings.message.iter_size)


def _measure(
    net: Net, feeding: Feeding, device: torch.device, iterations: int, write: Callable[[str], None]
) -> tuple[tuple[LayerTime, ...], float, float]:
    """Each layer's times, then forward and backward of the whole net."""
    clock = Clock(device)
    bench = Bench(net, device, clock)

    def once(k: int) -> tuple[dict[str, float], dict[str, float], Tensor]:
        inputs, read = _batch(net.graph, feeding, k, clock)
        *both, loss = bench.run(inputs)
        clock.wait()
        ahead, back = ({name: clock.between(*span) for name, span in spans.items()} for spans in both)
        return ahead | {name: clock.between(*span) for name, span in read.items()}, back, loss

    forward: dict[str, float] = defaultdict(float)
    backward: dict[str, float] = defaultdict(float)
    write(_logged(351, "Performing Forward"))
    for k in range(WARM):
        *_, loss = once(k)
    write(_logged(356, f"Initial loss: {loss.item():g}"))
    write(_logged(365, "*** Benchmark begins ***"))
    write(_logged(366, f"Testing for {iterations} iterations."))
    for k in range(iterations):
        ahead, back, _ = once(WARM + k)
        for times, means in ((ahead, forward), (back, backward)):
            for name, ms in times.items():
                means[name] += ms / iterations
        whole = ahead[WHOLE] + back.get(WHOLE, 0.0)
        write(_logged(394, f"Iteration: {k + 1} forward-backward time: {whole:g} ms."))
    layers = []
    for node in net.graph:
        shapes = tuple(value.shape for value in node.outputs)
        took = forward[node.name], backward[node.name]
        layers.append(LayerTime(node.name, node.type, shapes, node.layer.source, *took))
    return tuple(layers), forward[WHOLE], backward[WHOLE]


def _report(timing: Timing) -> Iterator[str]:
    """What `caffe time` says at the end."""
    yield _logged(397, "Average time per layer: ")
    for layer in timing.layers:
        yield _logged(400, f"{layer.name:>10}\tforward: {layer.forward:g} ms.")
        yield _logged(403, f"{layer.name:>10}\tbackward: {layer.backward:g} ms.")
    whole = timing.forward + timing.backward
    yield _logged(408, f"Average Forward pass: {timing.forward:g} ms.")
    yield _logged(410, f"Average Backward pass: {timing.backward:g} ms.")
    yield _logged(412, f"Average Forward-Backward: {whole:g} ms.")
    yield _logged(414, f"Total Time: {whole * timing.iterations:g} ms.")
    yield _logged(415, "*** Benchmark ends ***")


def _logged(line: int, message: str) -> str:
    """A line of Caffe's log, from that line of its program."""
    return f"I{datetime.now():%m%d %H:%M:%S.%f} {os.getpid():5} caffe.cpp:{line}] {message}"


def _batch(graph: Graph, feeding: Feeding, k: int, clock: Clock) -> tuple[data.Batch, Spans]:
    """The k-th batch, and when each data layer was read."""
    inputs: data.Batch = ()
    spans = {}
    for node, stream in zip(graph.sources, feeding.streams, strict=True):
        start = clock.now()
        inputs += stream.batch(k)
        if not isinstance(stream, _Random):
            spans[node.name] = (start, clock.now())
    return inputs, spans


def _step(settings: Settings, net: Net, feeding: Feeding, device: torch.device, iterations: int) -> float:
    """ms of a whole training step, as the solver lists its `speed`, else exact. Its rate is 0, which costs the same and
    keeps made-up data from diverging."""
    precision.set_tf32(settings.message.precision)
    listed = settings.message.speed
    solver = Solver(settings, net, feeding, device=device, speed=speed.parse("exact" if listed == "auto" else listed))
    batches = feeding.ahead(0)
    clock = Clock(device)
    for iteration in range(-step.WARM - 1, 0):
        solver.step(batches, 0.0, max(0, iteration))
    clock.wait()
    start = time.perf_counter()
    for iteration in range(iterations):
        solver.step(batches, 0.0, iteration)
    clock.wait()
    return 1000 * (time.perf_counter() - start) / iterations


class _Random(data.Stream):
    """One batch of numbers from 0 to below 1: as labels and indices they are all 0, which is always a legal one."""

    resident = True

    def __init__(self, shapes: Sequence[Shape], device: torch.device) -> None:
        self.feed = Feed(tuple(shapes))
        generator = torch.Generator().manual_seed(0)
        self._batch = tuple(torch.rand(shape, generator=generator).to(device) for shape in shapes)

    def batch(self, k: int) -> data.Batch:
        return self._batch


def _feeding(graph: Graph, places: data.Places, folder: Path, device: torch.device) -> tuple[Feeding, list[str]]:
    """What feeds the graph: its data where that can be read in the shapes that the graph has, else random numbers; and
    what there is to say of that."""
    streams: list[data.Stream] = []
    notes = []
    for node in graph.sources:
        shapes = tuple(value.shape for value in node.outputs)
        try:
            tops = len(shapes)
            stream = data.open_stream(node.layer, data.Opening(places, folder, device=device, tops=tops))
            why = "" if stream.feed.shapes == shapes else "its data is of another shape"
        except NktcError as error:
            why = error.message
        if why:
            notes.append(f"{node.name} is fed random numbers: {why}")
            streams.append(_Random(shapes, device))
            continue
        if stream.stand_in:
            notes.append(
                f"{node.name} is fed from its stand-in {stream.stand_in}, its own data is missing: {stream.missing}"
            )
        streams.append(stream)
    return Feeding(streams), notes


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device}, {threads} {'thread' if threads == 1 else 'threads'}"
