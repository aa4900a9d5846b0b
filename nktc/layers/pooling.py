"""Pooling: the largest or the mean value of a window."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers.window import Window, positive, sides
from nktc.schema import PoolingParameter

LOWEST = torch.finfo(torch.float32).min


class Pooling(Layer, param="pooling_param"):
    """Replaces each window of a picture by its largest value (MAX) or its mean (AVE).

    `kernel`, `stride` and `pad` are height and width; no `kernel` is the whole picture. Unless `floor`, sizes
    are rounded up: a last window that sticks out counts, cut off at the edge. A mean counts padding as 0, but
    not what lies beyond it.
    """

    method: str
    kernel: Shape = ()
    stride: Shape = (1, 1)
    pad: Shape = (0, 0)
    floor: bool = False

    @classmethod
    def read(cls, p: PoolingParameter, phase: Phase) -> Self:
        if p.pool == PoolingParameter.STOCHASTIC:
            raise LayerError(
                "STOCHASTIC is not possible: Caffe has no definition of it on the CPU to agree with",
                field="pool",
                help="use MAX or AVE, with a Dropout where noise is wanted",
            )
        kernel = _pair(p, "kernel_size", "kernel")
        stride = _pair(p, "stride", "stride") or (1, 1)
        pad = _pair(p, "pad", "pad") or (0, 0)
        if p.global_pooling:
            if kernel:
                raise LayerError("global_pooling and a kernel are both given", field="global_pooling")
            if stride != (1, 1) or any(pad):
                raise LayerError("global_pooling takes neither pad nor stride", field="global_pooling")
        elif not kernel:
            raise LayerError(
                "has no kernel_size", field="kernel_size", help="add kernel_size: 2, or global_pooling: true"
            )
        for side, around in zip(kernel, pad, strict=False):
            if around >= side:
                raise LayerError(f"pad {around} is not smaller than its window {side}", field="pad")
        floor = p.round_mode == PoolingParameter.FLOOR
        return cls(PoolingParameter.PoolMethod.Name(p.pool), kernel, stride, pad, floor)

    def window(self, size: Shape) -> Window:
        """The window over a picture of that size."""
        return Window(self.kernel or size, self.stride, self.pad, (1, 1))

    def positions(self, size: Shape) -> Shape:
        """Rows and columns of the result of a picture of that size. Raises LayerError."""
        window = self.window(size)
        return window.fit(size) if self.floor else window.slide(size)

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise LayerError(f"takes 4 axes (batch, channels, height, width), not {len(x)}", field="bottom")
        return (*x[:2], *self.positions(x[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """x[n c h w] -> y[n c i j]; among equal largest values the gradient goes to the first, row by row. A
        window wholly behind the picture gives, as in Caffe, the lowest f32 (MAX) or 0/0 (AVE)."""
        if self.method == "AVE" and not self.kernel:
            return x.mean((2, 3), keepdim=True)
        size = (x.shape[2], x.shape[3])
        kernel = self.kernel or size
        # torch takes a pad of at most half a window, and never lets a window start behind the picture.
        narrow = 2 * self.pad[0] <= kernel[0] and 2 * self.pad[1] <= kernel[1]
        if narrow and (any(self.pad) or self.floor or (self.stride[0] <= kernel[0] and self.stride[1] <= kernel[1])):
            pool = F.max_pool2d if self.method == "MAX" else F.avg_pool2d
            return pool(x, kernel, self.stride, self.pad, ceil_mode=not self.floor)
        window, positions = self.window(size), self.positions(size)
        if self.method == "MAX":
            lowest = max(LOWEST, torch.finfo(x.dtype).min)
            padded = F.pad(x, _around(self.pad, window.beyond(size, positions)), value=lowest)
            return F.max_pool2d(padded, kernel, self.stride)
        seeing = tuple(map(min, positions, window.seeing(size)))
        padded = x if narrow else F.pad(x, _around(self.pad, self.pad))
        y = F.avg_pool2d(padded, kernel, self.stride, self.pad if narrow else 0, ceil_mode=not self.floor)
        y = y[:, :, : seeing[0], : seeing[1]]
        for axis, value in self._unseeing(size, positions, seeing):
            y = F.pad(y, (0, 0, 0, 1) if axis == 0 else (0, 1), value=value)
        return y

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        size = x.shape[2:]
        if not self.kernel:
            return emit("GlobalMaxPool" if self.method == "MAX" else "GlobalAveragePool", x)
        # Never ceil_mode: runtimes differ in it. The size is known, so the overhang is padding with a number.
        window, positions = self.window(size), self.positions(size)
        seeing = tuple(map(min, positions, window.seeing(size)))
        common: dict[str, Any] = {"kernel_shape": list(window.kernel), "strides": list(window.stride)}
        if self.method == "MAX":
            behind = window.beyond(size, positions)
            if seeing == positions:
                return emit("MaxPool", x, pads=[*window.pad, *behind], **common)
            return emit("MaxPool", _pad(emit, x, (0, 0), behind, LOWEST), **common)
        behind = tuple(max(0, b - p) for b, p in zip(window.beyond(size, seeing), window.pad, strict=True))
        if not any(behind):
            y = emit("AveragePool", x, pads=[*window.pad] * 2, count_include_pad=1, **common)
        else:
            padded = _pad(emit, x, window.pad, window.pad, 0.0) if any(window.pad) else x
            y = emit("AveragePool", padded, pads=[0, 0, *behind], count_include_pad=0, **common)
        for axis, value in self._unseeing(size, positions, seeing):
            y = _pad(emit, y, (0, 0), (1, 0) if axis == 0 else (0, 1), value)
        return y

    def flops(self, x: Shape, y: Shape) -> int:
        return math.prod(y) * math.prod(self.kernel or x[2:])

    def _unseeing(self, size: Shape, positions: Shape, seeing: Shape) -> list[tuple[int, float]]:
        """Spatial axes whose last window starts behind the picture (only the last can), and the mean that
        Caffe gives it: a sum of 0 over an area that is 0 just behind the edge and negative further on."""
        found = []
        for axis in (0, 1):
            if seeing[axis] < positions[axis]:
                start = (positions[axis] - 1) * self.stride[axis]
                found.append((axis, math.nan if start == size[axis] else 0.0))
        # 0/0 in the corner where the two meet.
        return sorted(found, key=lambda pair: math.isnan(pair[1]))


def _pair(p: PoolingParameter, whole: str, part: str) -> Shape:
    """Height and width of one setting, () where it is not given. Raises LayerError."""
    sizes = sides(p, (getattr(p, whole),) * 2 if p.HasField(whole) else (), whole, part)  # type: ignore[arg-type]
    return sizes if part == "pad" else positive(sizes, whole)


def _around(before: Shape, behind: Shape) -> list[int]:
    """Padding as F.pad wants it: the last axis first."""
    return [before[1], behind[1], before[0], behind[0]]


def _pad(emit: Emitter, x: Operand, before: Shape, behind: Shape, value: float) -> Operand:
    pads = emit.constant([0, 0, *before, 0, 0, *behind], "int64")
    return emit("Pad", x, pads, emit.constant(value))
