"""A net that runs layer by layer over blobs that can be looked at and written to in between."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nktc import data, layers, module, reader, weights
from nktc.ir import Graph, Phase
from nktc.pycaffe import imports
from nktc.pycaffe.blob import Blob, BlobVec, Memory
from nktc.pycaffe.failure import CaffeError, told
from nktc.pycaffe.feed import FeedStep
from nktc.pycaffe.glog import warn
from nktc.pycaffe.mode import STATE, draw_seed
from nktc.pycaffe.wiring import wire
from nktc.reader import NetFile

Arrays = dict[str, np.ndarray]
Run = Callable[[int], object]
"""What is called with the number of a layer."""


class Net:
    """`Net(FILE, PHASE, level, stages, weights=FILE)`, or as in old scripts `Net(FILE, WEIGHTS, PHASE)`.

    Layers run one by one in their order, on the numbers that lie in the blobs at that moment. Gradients of weights add
    up until clear_param_diffs(). Raises CaffeError.
    """

    layers: list[Any]
    """Every layer, those that split a blob for several others too; what a script's own class made is that object."""

    def __init__(
        self,
        network_file: str | Path,
        phase: int | str | Path,
        level: int = 0,
        stages: Sequence[str] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        if isinstance(phase, str | Path):
            weights, phase, level = phase, level, 0
            warn(f"Net(file, weights, phase) is the old form: write Net({str(network_file)!r}, {phase}, weights=...)")
        with told():
            net = reader.read_net(network_file)
            self._set_up(net, Phase(phase), level, stages or (), weights)

    @classmethod
    def of(
        cls,
        net: NetFile,
        phase: Phase,
        level: int | None,
        stages: Sequence[str],
        change: Callable[[Graph], Graph] = lambda graph: graph,
    ) -> Net:
        """A net that was read already, its graph passed through `change`. Raises NktcError."""
        made = cls.__new__(cls)
        made._set_up(net, phase, level, stages, None, change)
        return made

    def _set_up(
        self,
        net: NetFile,
        phase: Phase,
        level: int | None,
        stages: Sequence[str],
        path: str | Path | None,
        change: Callable[[Graph], Graph] = lambda graph: graph,
    ) -> None:
        with imports.answered(), layers.in_process():
            feeds = partial(data.describe, folder=net.folder)
            graph = change(reader.build(net, phase, level=level, stages=stages, feeds=feeds))
        if path:
            graph, _ = weights.attach(graph, path)
        self._holder = module.compile(graph, draw_seed())
        self._graph = self._holder.graph = dataclasses.replace(graph, arrays={})
        self._device = torch.device("cpu")
        kept = (name for name, parameter in graph.parameters.items() if parameter.weight.kept)
        self._memories = {name: self._memory(name) for name in kept}
        wiring = wire(self._graph, self._holder, self._memories, net.folder)
        self._steps, self._blobs, self._blob_names = wiring.steps, wiring.blobs, wiring.names
        self._inputs, self._outputs = wiring.inputs, wiring.outputs
        self._tops, self._bottoms = wiring.top_ids, wiring.bottom_ids
        self._calls: dict[str, list[Run]] = {"before_forward": [], "after_forward": []}
        self._calls |= {"before_backward": [], "after_backward": []}
        for step in self._steps:
            step.weigh_losses(self._device)
        self.layers = [step.shown for step in self._steps]
        self._layer_names = [step.name for step in self._steps]
        self.blobs: OrderedDict[str, Blob] = OrderedDict(zip(self._blob_names, self._blobs, strict=True))
        self.layer_dict: OrderedDict[str, Any] = OrderedDict(zip(self._layer_names, self.layers, strict=True))
        self.params: OrderedDict[str, BlobVec] = OrderedDict(
            (step.name, step.blobs) for step in self._steps if step.blobs
        )
        self.inputs = [self._blob_names[i] for i in self._inputs]
        self.outputs = [self._blob_names[i] for i in self._outputs]
        self.top_names = self._named(self._tops)
        self.bottom_names = self._named(self._bottoms)

    def _memory(self, name: str) -> tuple[Memory, Memory]:
        tensor = self._holder.tensor(name)
        return Memory(tensor=tensor.data), Memory(tensor.numel())

    def _named(self, ids: Sequence[Sequence[int]]) -> OrderedDict[str, list[str]]:
        return OrderedDict(
            (name, [self._blob_names[i] for i in held]) for name, held in zip(self._layer_names, ids, strict=True)
        )

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """The factor of each blob in the objective, 0 for most."""
        found = dict.fromkeys(self._blob_names, 0.0)
        for step, tops in zip(self._steps, self._tops, strict=True):
            found |= {self._blob_names[i]: w for i, w in zip(tops, step.loss_weights, strict=True) if w}
        return OrderedDict(found)

    @property
    def _blob_loss_weights(self) -> list[float]:
        return [*self.blob_loss_weights.values()]

    def _top_ids(self, layer: int) -> list[int]:
        return self._tops[layer]

    def _bottom_ids(self, layer: int) -> list[int]:
        return self._bottoms[layer]

    def forward(
        self, blobs: Sequence[str] | None = None, start: str | None = None, end: str | None = None, **kwargs: Any
    ) -> Arrays:
        """Run the layers from `start` to `end`, both in it, on what is given by the names of input blobs or lies in
        them. The outputs, or with `end` the tops of that layer, and `blobs`, by name: views that the next forward
        writes to."""
        first, last = self._index(start, 0), self._index(end, len(self._steps) - 1)
        names = self.top_names[end] if end is not None else self.outputs
        self._give(kwargs, self.inputs, "data", "input")
        self._forward(first, last)
        return {name: self._blob(name).data for name in dict.fromkeys([*names, *(blobs or ())])}

    def backward(
        self, diffs: Sequence[str] | None = None, start: str | None = None, end: str | None = None, **kwargs: Any
    ) -> Arrays:
        """Run backward from layer `start` to `end`, both in it, from the gradients given by the names of all outputs,
        or from those that lie there, of losses their weights. The gradients of the inputs, or with `end` of the bottoms
        of that layer, and `diffs`, by name."""
        first, last = self._index(start, len(self._steps) - 1), self._index(end, 0)
        names = self.bottom_names[end] if end is not None else self.inputs
        self._give(kwargs, self.outputs, "diff", "output")
        self._backward(first, last)
        return {name: self._blob(name).diff for name in dict.fromkeys([*names, *(diffs or ())])}

    def forward_all(self, blobs: Sequence[str] | None = None, **kwargs: Any) -> Arrays:
        """Forward any number of records, batch by batch; the last one is filled up with zeros."""
        outputs: dict[str, list[np.ndarray]] = {}
        for batch in self._batch(kwargs):
            for name, array in self.forward(blobs, None, None, **batch).items():
                outputs.setdefault(name, []).append(array.copy())
        count = len(next(iter(kwargs.values())))
        return {name: np.concatenate(arrays)[:count] for name, arrays in outputs.items()}

    def forward_backward_all(
        self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None, **kwargs: Any
    ) -> tuple[Arrays, Arrays]:
        """Forward and backward over any number of records, batch by batch: `kwargs` has inputs, and gradients of
        outputs."""
        found: tuple[dict[str, list[np.ndarray]], ...] = ({}, {})
        fed = self._batch({name: kwargs[name] for name in self.inputs if name in kwargs})
        seeded = self._batch({name: kwargs[name] for name in self.outputs if name in kwargs})
        none: Arrays = {}
        for inputs, gradients in zip_longest(fed, seeded, fillvalue=none):
            values = self.forward(blobs, None, None, **inputs)
            slopes = self.backward(diffs, None, None, **gradients)
            for made, kept in zip((values, slopes), found, strict=True):
                for name, array in made.items():
                    kept.setdefault(name, []).append(array.copy())
        count = len(next(iter(kwargs.values())))
        first, second = (
            {
                name: np.concatenate(arrays)[:count] if arrays[0].ndim else np.array(arrays)
                for name, arrays in kept.items()
            }
            for kept in found
        )
        return first, second

    def _batch(self, blobs: Mapping[str, Any]) -> Iterator[Arrays]:
        """Arrays by name in batches as long as the first blob, the last filled up with zeros."""
        if not blobs:
            return
        size, count = self._blobs[0].shape[0], len(next(iter(blobs.values())))
        for start in range(0, count, size):
            batch = {name: np.asarray(array[start : start + size]) for name, array in blobs.items()}
            rest = size - min(size, count - start)
            yield {
                name: np.concatenate([array, np.zeros((rest, *array.shape[1:]), array.dtype)]) if rest else array
                for name, array in batch.items()
            }

    def _give(self, given: Mapping[str, Any], names: Sequence[str], what: str, kind: str) -> None:
        """Write arrays to blobs, which have to be all of `names`."""
        if not given:
            return
        if set(given) != set(names):
            said = f"{', '.join(sorted(given))} {'are' if len(given) > 1 else 'is'} given"
            raise CaffeError(f"{said}, and the {kind} blobs are {', '.join(names) or 'none'}")
        for name, array in given.items():
            values, blob = np.asarray(array), self._blob(name)
            if values.shape[:1] != blob.shape[:1]:
                said = f"{name} is given {values.shape[0] if values.ndim else 0} records, and takes {blob.shape[0]}"
                raise CaffeError(said, help=f"reshape it first: net.blobs[{name!r}].reshape(...)")
            try:
                getattr(blob, what)[...] = values
            except ValueError:
                raise CaffeError(f"{name} is given an array of {values.shape}, and takes {blob.shape}") from None

    def _index(self, layer: str | None, otherwise: int) -> int:
        if layer is None:
            return otherwise
        if layer not in self._layer_names:
            raise CaffeError(f'the net has no layer "{layer}"')
        return self._layer_names.index(layer)

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            raise CaffeError(f'the net has no blob "{name}"')
        return self.blobs[name]

    def _forward(self, first: int, last: int) -> float:
        """Forward from layer to layer by number; what these layers add to the objective."""
        terms: list[Tensor] = []
        before, after = self._calls["before_forward"], self._calls["after_forward"]
        with told(), torch.no_grad():
            device = self._settle()
            for number in range(first, last + 1):
                for run in before:
                    run(number)
                step = self._steps[number]
                step.forward(device)
                term = step.loss(device)
                if term is not None:
                    terms.append(term)
                for run in after:
                    run(number)
            return sum(term.item() for term in terms)

    def _backward(self, first: int, last: int) -> None:
        """Backward from layer to layer by number, `first` being the higher one."""
        before, after = self._calls["before_backward"], self._calls["after_backward"]
        with told(), torch.no_grad():
            device = self._settle()
            for number in range(first, last - 1, -1):
                for run in before:
                    run(number)
                step = self._steps[number]
                if step.goes_back:
                    step.backward(device)
                    step.records = True  # who went back once does so again
                for run in after:
                    run(number)

    def _settle(self) -> torch.device:
        """The device to compute on, with the weights there as they are now."""
        device = STATE.device
        if device != self._device or device.type != "cpu":
            for name, (memory, _) in self._memories.items():
                tensor = self._holder.tensor(name)
                # The forward itself writes to what is state.
                state = not self._graph.parameters[name].weight.learns
                tensor.data = memory.tensor(device, write=state).view(tensor.shape)
            if device != self._device:
                for step in self._steps:
                    step.unbind()
            self._device = device
        return device

    def before_forward(self, run: Run) -> None:
        """Call `run` with each layer's number before its forward."""
        self._calls["before_forward"].append(run)

    def after_forward(self, run: Run) -> None:
        """Call `run` with each layer's number after its forward."""
        self._calls["after_forward"].append(run)

    def before_backward(self, run: Run) -> None:
        """Call `run` with each layer's number before its backward."""
        self._calls["before_backward"].append(run)

    def after_backward(self, run: Run | Any) -> None:
        """Call `run`, or the NCCL given, with each layer's number after its backward."""
        self._calls["after_backward"].append(getattr(run, "run", run))

    def reshape(self) -> None:
        """Give every blob the shape that follows from those of the inputs; forward does so too."""
        with told():
            for step in self._steps:
                step.reshape()
                step.weigh_losses(self._device)

    def clear_param_diffs(self) -> None:
        """Set the gradients of all weights to 0."""
        for _, slope in self._memories.values():
            slope.tensor(STATE.device, write=True).zero_()

    def copy_from(self, path: str | Path) -> None:
        """Take weights from a file, matched by the names of layers."""
        with told(), torch.no_grad():
            graph, _ = weights.attach(self._graph, path)
            for name, array in graph.arrays.items():
                if name in self._memories:
                    self._memories[name][0].array()[...] = np.asarray(array).reshape(-1)

    def load_hdf5(self, path: str | Path) -> None:
        """Take weights from an HDF5 file."""
        self.copy_from(path)

    def save(self, path: str | Path) -> None:
        """Write the net with its weights: a .caffemodel."""
        with told():
            weights.save(path, self._graph, self._weights(), hdf5=False)

    def save_hdf5(self, path: str | Path, write_diff: bool = False) -> None:
        """Write the weights as HDF5, with `write_diff` their gradients too."""
        slopes = {name: self._shaped(name, slope) for name, (_, slope) in self._memories.items()}
        with told():
            weights.save(path, self._graph, self._weights(), slopes if write_diff else None, hdf5=True)

    def share_with(self, other: Net) -> None:
        """Have the very weights of another net's layers of the same names; gradients stay its own."""
        for step in self._steps:
            theirs = other.params.get(step.name)
            if not step.blobs or theirs is None:
                continue
            if [blob.shape for blob in theirs] != [blob.shape for blob in step.blobs]:
                shapes = " and ".join(str([blob.shape for blob in held]) for held in (step.blobs, theirs))
                raise CaffeError(f'the weights of layer "{step.name}" differ in their shapes: {shapes}')
        for name in (name for name in self._memories if name in other._memories):
            memory = other._memories[name][0]
            self._memories[name] = (memory, self._memories[name][1])
            tensor = self._holder.tensor(name)
            tensor.data = memory.tensor(self._device).view(tensor.shape)
        for step in self._steps:
            theirs = other.params.get(step.name)
            for mine, blob in zip(step.blobs, theirs or (), strict=False):
                mine.share(blob)
            step.unbind()

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Let the MemoryData layer that comes first give batches of these arrays, f32[n c h w] and one label a
        record."""
        first = self._steps[0]
        if not isinstance(first, FeedStep):
            raise CaffeError("set_input_arrays is for a net whose first layer is MemoryData")
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        first.take(data, labels)

    def _weights(self) -> Arrays:
        """Every weight by its name in the graph, its very memory on the host."""
        return {name: self._shaped(name, memory) for name, (memory, _) in self._memories.items()}

    def _shaped(self, name: str, memory: Memory) -> np.ndarray:
        return memory.array().reshape(self._graph.parameters[name].weight.shape)
