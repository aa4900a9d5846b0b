"""The memory and the stream that TensorRT is given: torch's own."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

from nktc.engines import tensorrt_gpu
from nktc.engines.tensorrt_gpu import Gpu
from nktc.module import why_no_gpu


@pytest.fixture
def host() -> Gpu:
    """A Gpu whose device is the host."""
    made = Gpu.__new__(Gpu)
    made.device = torch.device("cpu")
    return made


@pytest.fixture
def gpu() -> Gpu:
    if problem := why_no_gpu(0):
        pytest.skip(f"needs an NVIDIA GPU: {problem}")
    return Gpu(torch.device("cuda", 0))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.float32([[1, -2], [3, 4]]), torch.float32),
        (np.float16([0.5, -1]), torch.float16),
        (np.array([1, -2.5, 3e30], ml_dtypes.bfloat16), torch.bfloat16),
        (np.uint8([0, 255]), torch.uint8),
        (np.float32([[1, 2, 3], [4, 5, 6]]).T, torch.float32),
        (np.zeros((0, 3), np.float32), torch.float32),
    ],
)
def test_arrays_go_there_and_back(array, dtype, host):
    array.flags.writeable = False
    there = host.upload(array, dtype)
    assert there.dtype is dtype
    back = host.download(there)
    assert back.dtype == (np.float32 if dtype in (torch.float16, torch.bfloat16) else array.dtype)
    np.testing.assert_array_equal(back, array.astype(back.dtype))


def test_what_comes_back_is_the_callers(host):
    tensor = torch.zeros(3)
    host.download(tensor)[:] = 1
    assert not tensor.any()


def test_the_drivers_version_is_read_where_the_system_tells_it(monkeypatch, tmp_path):
    told = tmp_path / "version"
    monkeypatch.setattr(tensorrt_gpu, "Path", lambda name: told)
    assert tensorrt_gpu._driver() == ""
    told.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 13\n"
    )
    assert tensorrt_gpu._driver() == "580.95.05"


def test_on_a_gpu_work_happens_on_a_stream_of_its_own(gpu):
    assert gpu.handle != torch.cuda.default_stream().cuda_stream
    x = torch.randn(1000, device="cuda")
    with gpu.working():
        assert torch.cuda.current_stream() == gpu.stream
        y = gpu.empty((1000,), torch.float32).copy_(x).mul_(2)
    gpu.lend(y)
    assert torch.equal(y + 0, 2 * x)


def test_on_a_gpu_a_graph_replays_into_the_same_memory(gpu):
    with gpu.working():
        x, y = gpu.empty((8,), torch.float32).fill_(1), gpu.empty((8,), torch.float32)
        torch.mul(x, 3, out=y)
        gpu.wait()
        again = gpu.captured(lambda: torch.mul(x, 3, out=y))
        x.fill_(5)
        again()
        assert gpu.download(y).tolist() == [15.0] * 8
