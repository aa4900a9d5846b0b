"""Records that stay in the memory of a device once they have been read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nktc.ir import Shape, size

SHARE = 4  # records are kept where they take less than the free memory divided by this


class Kept:
    """Records on a device, pixels u8[n c h w] and labels f32[n], as far as they have been put there.

    Records are named by their places, an array or a slice. Several threads may put and take.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, there: bool = False) -> None:
        """`there` tells that all of them are."""
        self._pixels, self._labels = pixels, labels
        self._there = np.full(len(labels), there)

    @property
    def whole(self) -> bool:
        return bool(self._there.all())

    def has(self, places: np.ndarray | slice) -> bool:
        return bool(self._there[places].all())

    def put(self, places: np.ndarray | slice, pixels: Tensor, labels: Tensor) -> None:
        """Keep records; returns when the device has them, whatever stream they are taken in."""
        to = places if isinstance(places, slice) else send(torch.from_numpy(places), self._pixels.device)
        self._pixels[to], self._labels[to] = pixels, labels
        if self._pixels.is_cuda:
            torch.cuda.current_stream(self._pixels.device).synchronize()
        self._there[places] = True

    def take(self, places: np.ndarray | slice) -> tuple[Tensor, Tensor]:
        """Pixels, which may be a view, and labels, which are new."""
        if isinstance(places, slice):
            return self._pixels[places], self._labels[places].clone()
        chosen = send(torch.from_numpy(places), self._pixels.device)
        return self._pixels.index_select(0, chosen), self._labels.index_select(0, chosen)


def room(records: int, shape: Shape, device: torch.device, cache: int | None = None, sharers: int = 1) -> Kept | None:
    """A place for records of a shape, [c h w]; None where they take more than `cache` bytes, or, where that is
    None, a quarter of the device's free memory, divided by `sharers`."""
    needed = records * size(shape)
    if needed * SHARE * sharers >= free_memory(device) if cache is None else needed > cache:
        return None
    if device.type == "cuda":
        pixels = torch.empty((records, *shape), dtype=torch.uint8, device=device)
    else:  # NumPy's memory is the system's when it is written to: a short run has only what it reads
        pixels = torch.from_numpy(np.empty((records, *shape), np.uint8)).to(device)
    return Kept(pixels, torch.zeros(records, device=device))


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device; 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free: list[int] = []
    with suppress(OSError, ValueError, KeyError):  # Linux alone has it
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(int(told["MemAvailable"].split()[0]) << 10)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # a container may have less than its machine; "max" is no limit
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    with suppress(OSError, ValueError, AttributeError):  # other systems
        free = free or [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return max(0, min(free, default=0))


def send(x: Tensor, device: torch.device) -> Tensor:
    """`x` on a device. To a GPU it travels while the host goes on; torch keeps pinned memory until its copy is done."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
