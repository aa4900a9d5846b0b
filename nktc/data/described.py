"""Data layers whose shapes are told and whose batches are not read: MemoryData, WindowData."""

from __future__ import annotations

from pathlib import Path

import torch

from nktc.data.places import Places
from nktc.data.stream import Stream
from nktc.errors import LayerError
from nktc.ir import Feed
from nktc.layers import MemoryData, WindowData

Described = MemoryData | WindowData


def describe(layer: Described, folder: Path) -> Feed:
    """From the settings. Raises LayerError."""
    return Feed(tuple(layer.shape()))


def open_stream(
    layer: Described,
    *,
    places: Places,
    folder: Path,
    seed: int,
    device: torch.device,
    tops: int,
    resident: bool = False,
) -> Stream:
    """Raises LayerError: nothing reads these yet."""
    if isinstance(layer, MemoryData):
        raise LayerError("its data comes from whoever runs the net, not from a source")
    help = "an ImageData layer reads image files, a Data layer an LMDB, which nktc data convert makes of them"
    raise LayerError("its batches are not read by this version of nktc", help=help)
