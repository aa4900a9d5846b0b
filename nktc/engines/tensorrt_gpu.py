"""torch's memory and stream on one GPU, for a runtime that brings neither."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nktc.ir import Shape


class Gpu:
    """A GPU with a stream of its own. What is written here happens inside `working`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.name = torch.cuda.get_device_name(device)
        self.capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        self.driver = _driver()
        # Not the default stream: TensorRT would wait for the whole GPU at each run.
        self.stream = torch.cuda.Stream(device)

    @property
    def handle(self) -> int:
        """The stream as CUDA knows it."""
        return int(self.stream.cuda_stream)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Inside, torch works on this stream, after what the caller's stream holds already; what the caller's stream
        gets afterwards runs after the work."""
        callers = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(callers)
        try:
            with torch.cuda.device(self.device), torch.cuda.stream(self.stream), torch.no_grad():
                yield
        finally:
            callers.wait_stream(self.stream)

    def empty(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Memory without values."""
        return torch.empty(shape, dtype=dtype, device=self.device)

    def upload(self, array: np.ndarray, dtype: torch.dtype) -> Tensor:
        """An array on the device; bfloat16, which torch does not know in numpy, by its bits."""
        plain = np.require(array, requirements=["C", "W"])
        tensor = torch.from_numpy(plain.view(np.int16) if dtype is torch.bfloat16 else plain)
        return tensor.view(dtype).to(self.device)

    def download(self, tensor: Tensor) -> np.ndarray:
        """A tensor as an array, halves as f32; waits for it."""
        wide = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        return wide.to("cpu", copy=True).numpy()

    def lend(self, tensor: Tensor) -> None:
        """Keep a tensor's memory from others until the work that is under way, here and on the current stream, is
        over, even where it is dropped sooner. Outside `working`."""
        tensor.record_stream(self.stream)
        tensor.record_stream(torch.cuda.current_stream(self.device))

    def wait(self) -> None:
        self.stream.synchronize()

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """What does `work` again as one CUDA graph, into the same memory. Raises RuntimeError where it cannot be
        captured."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


def _driver() -> str:
    """The version of the NVIDIA driver, "" where the system does not tell."""
    try:
        said = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    match = re.search(r"\s(\d+\.\d+(\.\d+)?)\s", said)
    return match[1] if match else ""
