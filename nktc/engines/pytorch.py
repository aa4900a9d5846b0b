"""The engine that runs a graph as the PyTorch module it was trained as."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from nktc import module
from nktc.engines.engine import Options
from nktc.ir import Graph


class PyTorch:
    """torch, on the CPU or a GPU."""

    def missing(self) -> str:
        return ""

    def build(self, graph: Graph, options: Options) -> TorchSession:
        device, _ = module.choose(options.device, gpu_wanted=torch.cuda.is_available())
        if options.threads:
            torch.set_num_threads(options.threads)
        return TorchSession(graph, device)


class TorchSession:
    """A compiled module on its device."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.net = module.compile(graph).to(device).eval()
        self.device = str(device)

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        inputs = [torch.from_numpy(feeds[v.name]).to(self.device) for v in self.net.graph.inputs]
        found = self.net(*inputs)
        return {value.name: found[value.name].cpu().numpy() for value in self.net.graph.outputs}
