"""The same values in other places: ShuffleChannel, Reorg, Transpose, Reverse, Flip, Padding."""

from __future__ import annotations

from typing import Self

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers import axes
from nktc.schema import (
    FlipParameter,
    PaddingParameter,
    ReorgParameter,
    ReverseParameter,
    ShuffleChannelParameter,
    TransposeParameter,
)

IMAGE = "takes 4 axes (batch, channels, height, width), not {}"


class ShuffleChannel(Layer, param="shuffle_channel_param", saves="nothing"):
    """Deals the channels of each group out over all groups: the first of every group, then the second of every one ...

    Source: Zhang et al. 2017 (ShuffleNet); farmingyard/ShuffleNet.
    """

    group: int = 1

    @classmethod
    def read(cls, p: ShuffleChannelParameter, phase: Phase) -> Self:
        if p.group < 1:
            raise LayerError("group is 0", field="group", help="group starts at 1")
        return cls(p.group)

    def shape(self, x: Shape) -> Shape:
        if len(x) < 2:
            raise LayerError(f"takes 2 axes or more (batch, channels, ...), not {len(x)}", field="bottom")
        if x[1] % self.group:
            raise LayerError(f"group {self.group} does not divide its {x[1]} channels", field="group")
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[n g*c p..] -> y[n c*g p..]"""
        return x.unflatten(1, (self.group, -1)).transpose(1, 2).flatten(1, 2)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        # With all of a channel's pixels on one axis every runtime has axes enough.
        parted = emit.batched((x.shape[0], self.group, x.shape[1] // self.group, int(np.prod(x.shape[2:]))))
        dealt = emit("Transpose", emit("Reshape", x, emit.constant(parted, "int64")), perm=[0, 2, 1, 3])
        return emit("Reshape", dealt, emit.constant(emit.batched(x.shape), "int64"))


class Reorg(Layer, param="reorg_param", saves="nothing"):
    """Lays the pixels of each `stride` x `stride` block out in channels, in Darknet's order.

    In that order, which the trained nets have learned, the input's numbers count as those of a picture `stride` times
    as high and as wide with fewer channels, whose blocks are laid out. With `reverse` channels become blocks of pixels,
    the channels of a block's first pixel before those of its second. Source: MobileNet-YOLO and Intel's Caffe.
    """

    stride: int
    reverse: bool = False

    @classmethod
    def read(cls, p: ReorgParameter, phase: Phase) -> Self:
        if p.stride < 1:
            raise LayerError("has no stride", field="stride", help="add stride: 2")
        return cls(p.stride, p.reverse)

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise LayerError(IMAGE.format(len(x)), field="bottom")
        n, c, h, w = x
        s = self.stride
        if c % s**2:
            raise LayerError(f"the square of stride {s} does not divide its {c} channels", field="stride")
        if self.reverse:
            return (n, c // s**2, h * s, w * s)
        if h % s or w % s:
            raise LayerError(f"stride {s} does not divide its picture of {times((h, w))}", field="stride")
        return (n, c * s**2, h // s, w // s)

    def _parted(self, x: Shape) -> tuple[Shape, list[int]]:
        """The axes behind the batch that x is read with, and the order in which they are written."""
        _, c, h, w = x
        s = self.stride
        if self.reverse:
            return (s, s, c // s**2, h, w), [2, 3, 0, 4, 1]
        return (c // s**2, h, s, w, s), [2, 4, 0, 1, 3]

    def forward(self, x: Tensor) -> Tensor:
        """x[n c h w] -> y[n c*s*s h/s w/s], with reverse x[n c*s*s h w] -> y[n c h*s w*s]"""
        parts, order = self._parted(tuple(x.shape))
        made = self.shape(tuple(x.shape))
        return x.reshape(x.shape[0], *parts).permute(0, *(axis + 1 for axis in order)).reshape(x.shape[0], *made[1:])

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        if self.reverse:
            return emit("DepthToSpace", x, blocksize=self.stride, mode="DCR")
        parts, order = self._parted(x.shape)
        read = emit("Reshape", x, emit.constant(emit.batched((x.shape[0], *parts)), "int64"))
        written = emit("Transpose", read, perm=[0, *(axis + 1 for axis in order)])
        return emit("Reshape", written, emit.constant(emit.batched(self.shape(x.shape)), "int64"))


class Transpose(Layer, param="transpose_param", saves="nothing"):
    """Brings the axes into another order: axis i of the output is axis dim[i] of the input. Source: CTPN."""

    dims: Shape

    @classmethod
    def read(cls, p: TransposeParameter, phase: Phase) -> Self:
        dims = tuple(p.dim)
        if sorted(dims) != list(range(len(dims))):
            said = f"dim {' '.join(map(str, dims)) or 'is empty and'} is no order of axes"
            raise LayerError(said, field="dim", help="give each axis once, such as dim: 3 dim: 2 dim: 0 dim: 1")
        return cls(dims)

    def shape(self, x: Shape) -> Shape:
        if len(x) != len(self.dims):
            said = f"its dim orders {len(self.dims)} axes, its input has {len(x)}"
            raise LayerError(said, field="dim", help="give one dim for each axis")
        return tuple(x[axis] for axis in self.dims)

    def forward(self, x: Tensor) -> Tensor:
        """x[a..] -> y[b..], the same axes in another order"""
        return x.permute(self.dims)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Transpose", x, perm=list(self.dims))


class Reverse(Layer, param="reverse_param", saves="nothing"):
    """Turns an axis round: its last place comes first. Source: CTPN and TextBoxes++."""

    axis: int = 0

    @classmethod
    def read(cls, p: ReverseParameter, phase: Phase) -> Self:
        return cls(p.axis)

    def shape(self, x: Shape) -> Shape:
        axes.resolve(self.axis, x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[.. i ..] -> y[.. i ..]"""
        return x.flip(self.axis)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        axis = self.axis % len(x.shape)
        return _turned(emit, x, axis, x.shape[axis])


class Flip(Layer, param="flip_param", saves="nothing"):
    """Mirrors pictures, left to right and top to bottom as its settings say. Source: caffe-windows."""

    width: bool = True
    height: bool = False

    @classmethod
    def read(cls, p: FlipParameter, phase: Phase) -> Self:
        return cls(p.flip_width, p.flip_height)

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise LayerError(IMAGE.format(len(x)), field="bottom")
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[n c h w] -> y[n c h w]"""
        return x.flip([axis for axis, turns in ((2, self.height), (3, self.width)) if turns])

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        y = _turned(emit, x, 2, x.shape[2]) if self.height else x
        return _turned(emit, y, 3, x.shape[3]) if self.width else y


class Padding(Layer, param="padding_param", saves="nothing"):
    """Puts rows and columns of zeros around a picture, or cuts rows and columns off. Source: DeepLab."""

    before: int = 0  # rows above and columns at the left
    behind: int = 0  # rows below and columns at the right

    @classmethod
    def read(cls, p: PaddingParameter, phase: Phase) -> Self:
        if p.pad_beg * p.pad_end < 0:
            said = f"pad_beg {p.pad_beg} and pad_end {p.pad_end} have different signs"
            raise LayerError(said, field="pad_end", help="both pad, or both cut off")
        return cls(p.pad_beg, p.pad_end)

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise LayerError(IMAGE.format(len(x)), field="bottom")
        size = tuple(n + self.before + self.behind for n in x[2:])
        if min(size) < 1:
            raise LayerError(f"leaves nothing of a picture of {times(x[2:])}", field="pad_beg")
        return (*x[:2], *size)

    def forward(self, x: Tensor) -> Tensor:
        """x[n c h w] -> y[n c i j]"""
        return F.pad(x, [self.before, self.behind] * 2)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return trimmed(emit, x, self.before, self.behind)


def trimmed(emit: Emitter, x: Operand, before: int, behind: int) -> Operand:
    """x with so many rows and columns of zeros on either side, or fewer of its own where the numbers are below 0."""
    if min(before, behind) < 0:
        ends = [x.shape[2] + behind, x.shape[3] + behind]
        return emit("Slice", x, *(emit.constant(n, "int64") for n in ([-before] * 2, ends, [2, 3])))
    pads = emit.constant([0, 0, before, before, 0, 0, behind, behind], "int64")
    return emit("Pad", x, pads, emit.constant(0.0)) if before or behind else x


def _turned(emit: Emitter, x: Operand, axis: int, size: int) -> Operand:
    """x with that axis, of that size, turned round. A Gather, since not every runtime cuts backwards; not on axis 0,
    where any batch turns."""
    if axis == 0:
        return emit("Slice", x, *(emit.constant([n], "int64") for n in (-1, -(1 << 31), 0, -1)))
    return emit("Gather", x, emit.constant(np.arange(size)[::-1].copy(), "int64"), axis=axis)
