"""What the C library does with memory that tensors free."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
SMALLER = "make batch_size smaller; in training iter_size can make up for it"
LARGE = 64 << 20  # bytes
SET_BY_THE_USER = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
)


def keep_freed() -> bool:
    """Have this process keep what its tensors free for the tensors to come, and say whether it does now.

    By itself glibc hands the end of its heap back to the system at every free of a large block, and a step on the CPU
    pays again for each page of it. Blocks above 64 MiB still go back at once: kept, they would leave gaps. To be called
    by a program before it makes its first tensors; nothing is done where the C library has no mallopt(3), or where the
    environment chooses an allocator or its settings.
    """
    mallopt = _function("mallopt")
    if mallopt is None or any(name in os.environ for name in SET_BY_THE_USER):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_MMAP_THRESHOLD, LARGE))


def give_back() -> None:
    """Hand all that is free back to the system once: what comes next wants other sizes than what was before."""
    if trim := _function("malloc_trim"):
        trim(0)


def out_of_memory(error: Exception) -> bool:
    """Whether torch, on a GPU or the CPU, found no memory for a tensor."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _function(name: str) -> Any:
    """One of the C library's, None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
