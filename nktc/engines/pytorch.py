"""The engine that runs a graph as the PyTorch module it was trained as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nktc import export, module
from nktc.engines.engine import Facts, Options
from nktc.errors import NktcError
from nktc.ir import DType, Graph, Value, rewrite


class PyTorch:
    """torch, on the CPU or a GPU."""

    reads: tuple[str, ...] = ()
    target = ""

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return str(torch.__version__)

    def build(self, graph: Graph, options: Options) -> TorchSession:
        device, _ = module.choose(options.device, gpu_wanted=torch.cuda.is_available())
        if options.threads:
            torch.set_num_threads(options.threads)
        return TorchSession(rewrite.with_batch(graph, options.batch) if options.batch else graph, device, options)

    def open(self, path: Path, options: Options, blobs: Sequence[str] = ()) -> TorchSession:
        raise NktcError(f"torch has no engine files, and does not read {path}", help="give the net and its weights")


class TorchSession:
    """A compiled module on its device."""

    def __init__(self, graph: Graph, device: torch.device, options: Options) -> None:
        self.net = module.compile(graph).to(device).eval()
        self.device = str(device)
        self.facts = Facts(graph.preprocessing, graph.labels)
        open_batch = not options.batch and export.follows_batch(graph)
        self.inputs, outputs = (
            tuple(value.opened() if open_batch else value for value in values)
            for values in (graph.inputs, graph.outputs)
        )
        axes = {value.name: node.layer.open_axis for node in graph for value in node.outputs}
        self.outputs = tuple(_any_size(value, axes.get(value.name)) for value in outputs)

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        inputs = [torch.from_numpy(feeds[v.name]).to(self.device) for v in self.net.graph.inputs]
        found = self.net(*inputs)
        return {
            value.name: (found[value.name] if value.dtype is DType.F32 else found[value.name].float()).cpu().numpy()
            for value in self.net.graph.outputs
        }


def _any_size(value: Value, axis: int | None) -> Value:
    """The same with 0 in an axis of which only a forward tells the size."""
    if axis is None:
        return value
    return replace(value, shape=(*value.shape[:axis], 0, *value.shape[axis + 1 :]))
