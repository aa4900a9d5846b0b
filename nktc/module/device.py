"""Which device a module runs on."""

from __future__ import annotations

import torch

from nktc.errors import NktcError


def choose(asked: str, gpu_wanted: bool, device_id: int = 0) -> tuple[torch.device, str]:
    """The device, and why it is not the GPU that was wanted ("" when nothing is to be explained).

    `asked` is auto, cpu, cuda or cuda:N. With auto the GPU is taken where `gpu_wanted` and usable. Raises NktcError
    when a GPU asked for by name cannot be had.
    """
    kind, _, number = asked.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise NktcError(f'unknown device "{asked}"', help="the devices are auto, cpu, cuda and cuda:N")
    if kind == "cpu" or (kind == "auto" and not gpu_wanted):
        return torch.device("cpu"), ""
    index = int(number) if number else device_id
    problem = why_no_gpu(index)
    if not problem:
        return torch.device("cuda", index), ""
    if kind == "cuda":
        raise NktcError(f"--device {asked} cannot be had: {problem}", help="--device cpu runs without a GPU")
    return torch.device("cpu"), problem


def why_no_gpu(index: int) -> str:
    """Why GPU `index` cannot be used; empty when it can."""
    if torch.version.cuda is None:
        return "the installed PyTorch is a build without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no usable NVIDIA GPU or driver"
    if index >= torch.cuda.device_count():
        return f"there is no GPU {index}, only {torch.cuda.device_count()}"
    try:
        torch.ones(1, device=f"cuda:{index}").add_(1).item()
    except RuntimeError as error:
        return f"GPU {index} refuses a first computation: {str(error).splitlines()[0]}"
    return ""
