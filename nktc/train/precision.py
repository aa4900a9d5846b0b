"""What the layers compute in: autocast, TF32, and the scale that keeps FP16's gradients in range."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from nktc.schema import SolverParameter

HALVES: dict[int, torch.dtype] = {SolverParameter.BF16: torch.bfloat16, SolverParameter.FP16: torch.float16}
START = 2.0**16  # the scale that adapting begins with
GROWTH = 2000  # updates without an overflow after which the scale doubles


def autocast(precision: int, device: torch.device) -> AbstractContextManager[object]:
    """The context that a forward runs in."""
    half = HALVES.get(precision)
    return torch.autocast(device.type, dtype=half) if half else contextlib.nullcontext()


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products and convolutions in BF16; other CPUs go value by value. True
    where oneDNN, which knows, is not there."""
    known = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return not known or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def set_tf32(precision: int) -> None:
    """Let products and convolutions on a GPU use TF32 or not; PyTorch lets convolutions by itself. On a CPU both are
    plain FP32."""
    # torch.set_float32_matmul_precision would let some CPUs use TF32 too.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == SolverParameter.TF32


class LossScale:
    """The factor on the loss in FP16 (Micikevicius et al. 2018): 0 adapts, halving it when a gradient overflows and
    doubling it after 2000 updates without; anything else stays. An update whose gradients overflow is left out."""

    def __init__(self, fixed: float, device: torch.device) -> None:
        self.adapts = fixed == 0
        self.scale = torch.full((), fixed or START, device=device)
        self.steady = torch.zeros((), dtype=torch.int32, device=device)
        self._overflow = torch.zeros((), device=device)

    def unscale(self, gradients: list[Tensor]) -> bool:
        """Bring the gradients back in place; whether all of them are finite. Waits for the device."""
        self._overflow.zero_()
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, self._overflow, self.scale.reciprocal())
        if self.adapts:
            torch._amp_update_scale_(self.scale, self.steady, self._overflow, 2.0, 0.5, GROWTH)
        return self._overflow.item() == 0
