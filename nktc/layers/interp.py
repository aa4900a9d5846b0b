"""Interp: DeepLab's resize, which leaves the pixels of the corners where they are."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers.rearrange import trimmed
from nktc.layers.resize import Resize, stretch
from nktc.schema import InterpParameter


class Interp(Layer, param="interp_param", saves="nothing"):
    """Brings a picture to another size; the pixels of its corners stay where they are.

    The size is height and width, or that of a second bottom, or comes from the number of steps between pixels: every
    `shrink` of them become one, then each becomes `zoom`. `before` and `behind` cut rows and columns off first. LINEAR
    mixes 2 pixels along an axis, NEAREST takes the nearest, of two the later one. Source: DeepLab and PSPNet; the
    second bottom is soeaver's, NEAREST is DeepDetect's.
    """

    size: Shape = ()
    zoom: int = 1
    shrink: int = 1
    before: int = 0  # rows and columns cut off above and at the left
    behind: int = 0  # rows and columns cut off below and at the right
    mode: str = "LINEAR"
    like: bool = False  # the second bottom gives the size

    @classmethod
    def read(cls, p: InterpParameter, phase: Phase) -> Self:
        for name in ("zoom_factor", "shrink_factor"):
            if getattr(p, name) < 1:
                raise LayerError(f"{name} is {getattr(p, name)}", field=name, help=f"{name} starts at 1")
        for name in ("pad_beg", "pad_end"):
            if getattr(p, name) > 0:
                said = f"{name} is {getattr(p, name)}"
                raise LayerError(said, field=name, help="it cuts off, as a number below 0; Padding puts zeros around")
        by_steps = p.HasField("zoom_factor") or p.HasField("shrink_factor")
        sized = p.HasField("height") and p.HasField("width")
        given = {field.name for field, _ in p.ListFields()}
        for name, other in (("height", "width"), ("width", "height")):
            if name in given and other not in given and not by_steps and not p.use_blob_size:
                raise LayerError(f"{name} is given without {other}", field=name, help=f"add {other}")
            if sized and getattr(p, name) < 1:
                raise LayerError(f"{name} is {getattr(p, name)}", field=name, help="give it in pixels, from 1 on")
        # As in PSPNet: one factor alone goes before a size, a size before both factors.
        both = p.HasField("zoom_factor") and p.HasField("shrink_factor")
        if sized and (both or not by_steps):
            return cls((p.height, p.width), 1, 1, -p.pad_beg, -p.pad_end, cls._mode(p), p.use_blob_size)
        like = p.use_blob_size or not by_steps
        return cls((), p.zoom_factor, p.shrink_factor, -p.pad_beg, -p.pad_end, cls._mode(p), like)

    @staticmethod
    def _mode(p: InterpParameter) -> str:
        return InterpParameter.Mode.Name(p.mode)

    def shape(self, x: Shape, like: Shape | None = None) -> Shape:
        for name, one in (("", x), ("second bottom ", like)):
            if one is not None and len(one) != 4:
                said = f"{name}takes 4 axes (batch, channels, height, width), not {len(one)}"
                raise LayerError(said, field="bottom[1]" if name else "bottom[0]")
        if like is None and self.like:
            if self.size or self.zoom * self.shrink > 1:
                raise LayerError("use_blob_size has no second bottom to take the size of", field="use_blob_size")
            raise LayerError("has no size", help="add height and width, zoom_factor, shrink_factor or a second bottom")
        if like is not None and not self.like:
            said = "a size and a second bottom are both given"
            raise LayerError(said, field="bottom[1]", help="keep one of them, or say use_blob_size: true")
        cut = self.before + self.behind
        if min(x[2:]) <= cut:
            raise LayerError(f"leaves nothing of a picture of {times(x[2:])}", field="pad_beg")
        return (*x[:2], *self._target(x, like))

    def _target(self, x: Shape, like: Shape | None) -> Shape:
        if like is not None:
            return like[2:]
        left = [n - self.before - self.behind for n in x[2:]]
        return self.size or tuple((n - 1) // self.shrink * self.zoom + 1 for n in left)

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        """x[n c p q] like[n d h w] -> y[n c h w]"""
        target = self._target(tuple(x.shape), None if like is None else tuple(like.shape))
        left = x[:, :, self.before : x.shape[2] - self.behind, self.before : x.shape[3] - self.behind]
        if self.mode == "LINEAR":
            return Resize(target, (), "LINEAR", True).forward(left)
        y = left
        for axis, m in enumerate(target, 2):
            y = y.index_select(axis, _nearest(left.shape[axis], m).to(x.device))
        return y

    def onnx(self, emit: Emitter, x: Operand, like: Operand | None = None) -> Operand:
        target = self._target(x.shape, None if like is None else like.shape)
        y = trimmed(emit, x, -self.before, -self.behind)
        left = [n - self.before - self.behind for n in x.shape[2:]]
        if self.mode == "LINEAR":
            scales = emit.constant([1.0, 1.0, *map(stretch, left, target)])
            return emit("Resize", y, None, scales, mode="linear", coordinate_transformation_mode="align_corners")
        for axis, (n, m) in enumerate(zip(left, target, strict=True), 2):
            y = emit("Gather", y, emit.constant(_nearest(n, m).numpy(), "int64"), axis=axis)
        return y

    def flops(self, *shapes: Shape) -> int:
        return 8 * math.prod(shapes[-1]) if self.mode == "LINEAR" else 0


def _nearest(n: int, m: int) -> Tensor:
    """Which of n pixels each of m has, the first and the last staying where they are, int64[m]."""
    # In f32 as the fork has it, where a place between two pixels may come out before the middle.
    step = np.float32(n - 1) / np.float32(max(1, m - 1))
    place = torch.arange(m, dtype=torch.float32) * float(step)
    before = place.floor()
    return (before + (place - before >= 0.5)).long().clamp(max=n - 1)
