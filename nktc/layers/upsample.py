"""The way back of a pooling: Upsample, Unpooling, UnPooling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from google.protobuf.message import Message
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers.resize import Resize
from nktc.layers.window import positive, sides, spread
from nktc.schema import UnpoolingParameter, UpsampleParameter

INT64 = 7  # ONNX's number of int64


class Upsample(Layer, param="upsample_param", saves="nothing"):
    """Makes a picture larger: each value goes back to where a mask says that it was, or is repeated without a mask.

    The mask, a second bottom, is the second top of a MAX Pooling; what no value goes to is 0. Then the picture becomes
    `size`, or `scale` times its own size (2 unless given) and a row or a column `less`. Without a mask the last two
    axes grow `scale` times. Source: with a mask SegNet's, without MobileNet-YOLO's.
    """

    size: Shape = ()
    scale: Shape = ()
    less: Shape = (0, 0)

    @classmethod
    def read(cls, p: UpsampleParameter, phase: Phase) -> Self:
        size = _pair(p, (), "upsample_h", "upsample_w")
        if size and min(size) < 2:
            field = "upsample_h" if size[0] < 2 else "upsample_w"
            raise LayerError(f"{field} is {min(size)}", field=field, help=f"{field} starts at 2")
        given = (p.scale, p.scale) if p.HasField("scale") else ()
        scale = positive(_pair(p, given, "scale_h", "scale_w"), "scale")
        less = (int(p.pad_out_h), int(p.pad_out_w))
        for side, name, one in zip("hw", ("pad_out_h", "pad_out_w"), less, strict=True):
            if one and not size and scale and scale["hw".index(side)] != 2:
                said = f"{name} is for a scale of 2, not {scale['hw'.index(side)]}"
                raise LayerError(said, field=name, help="give upsample_h and upsample_w")
        return cls(size, scale, (0, 0) if size else less)

    def shape(self, x: Shape, mask: Shape | None = None) -> Shape:
        if mask is None:
            if self.size or any(self.less):
                said = "takes upsample_h, upsample_w and pad_out_h, pad_out_w with a mask only"
                raise LayerError(said, field="bottom", help="add the second top of the Pooling as a second bottom")
            if len(x) < 3:
                raise LayerError(f"takes 3 axes or more, the last two to grow, not {len(x)}", field="bottom")
            return (*x[:-2], *(n * s for n, s in zip(x[-2:], self.scale or (1, 1), strict=True)))
        masked(x, mask)
        scale = self.scale or (2, 2)
        if not self.size and min(scale) < 2:
            raise LayerError(f"scale {min(scale)} leaves a mask nothing to do", field="scale", help="give 2 or more")
        return (*x[:2], *self._grown(x))

    def _grown(self, x: Shape) -> Shape:
        pairs = zip(x[2:], self.scale or (2, 2), self.less, strict=True)
        return self.size or tuple(n * s - less for n, s, less in pairs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x[n c p q] mask[n c p q] -> y[n c h w]; without a mask x[.. p q] -> y[.. p*r q*s]"""
        if mask is not None:
            return scatter(x, mask, self._grown(tuple(x.shape)))
        down, right = self.scale or (1, 1)
        return x.repeat_interleave(down, -2).repeat_interleave(right, -1)

    def onnx(self, emit: Emitter, x: Operand, mask: Operand | None = None) -> Operand:
        if mask is not None:
            return emit_scatter(emit, x, mask, self._grown(x.shape))
        scale = self.scale or (1, 1)
        if len(x.shape) == 4:
            return Resize((), tuple(map(float, scale)), "NEAREST").onnx(emit, x)
        y = x
        for axis, s in enumerate(scale, len(x.shape) - 2):
            y = emit("Gather", y, emit.constant(np.arange(x.shape[axis]).repeat(s), "int64"), axis=axis)
        return y


@dataclass(frozen=True)
class Spread:
    """What Unpooling and UnPooling do without a mask: each value goes to its window, on rows and columns alike."""

    method: str
    kernel: Shape = ()
    stride: Shape = (1,)
    pad: Shape = (0,)
    size: Shape = ()

    def needed(self, field: str) -> None:
        """Refuse to go without windows."""
        if not self.kernel:
            raise LayerError(f"has no {field}", field=field, help=f"add {field}: 2")

    def matrices(self, x: Shape, y: Shape) -> list[Tensor]:
        """What goes from each place of x to each of y, for rows and for columns, f32[m n]."""
        found = []
        windows = (spread(given, 2, "kernel_size") for given in (self.kernel, self.stride, self.pad))
        for n, m, k, s, p in zip(x[2:], y[2:], *windows, strict=True):
            first, place = torch.arange(n) * s - p, torch.arange(m)[:, None]
            if self.method in ("MAX", "FIXED"):
                middle = torch.div(2 * first + k - 1, 2, rounding_mode="trunc") if self.method == "FIXED" else first
                taken = middle.clamp(0, m - 1)
                # A later value takes the place of an earlier one.
                last = F.pad(taken[1:] != taken[:-1], (0, 1), value=True)
                found.append(((place == taken) & last).float())
                continue
            matrix = ((place >= first) & (place < first + k)).float()
            if self.method == "AVE":
                matrix = matrix / ((first + k).clamp(max=m + p) - first).clamp(min=1)
            elif self.method != "TILE":
                matrix = matrix / matrix.sum(1, keepdim=True).clamp(min=1) / (k if self.method == "DIV" else 1)
            found.append(matrix)
        return found

    def spread(self, x: Tensor, y: Shape) -> Tensor:
        """x[n c p q] -> y[n c h w]"""
        rows, columns = (matrix.to(x) for matrix in self.matrices(tuple(x.shape), y))
        return rows @ x @ columns.T

    def emit_spread(self, emit: Emitter, x: Operand, y: Shape) -> Operand:
        rows, columns = (matrix.numpy() for matrix in self.matrices(x.shape, y))
        return emit("MatMul", emit("MatMul", emit.constant(rows), x), emit.constant(columns.T))


class Unpooling(Spread, Layer, param="unpooling_param", saves="nothing"):
    """Puts each value back where a mask says that it was, or spreads it over its window.

    The mask, a second bottom of MAX, is the second top of a MAX Pooling; without one MAX takes the first place of the
    window. AVE gives each place of the window an equal part, TILE the value itself; where windows overlap, they add up.
    The output is `unpool_size` pixels high and wide. Source: DeconvNet (HyeonwooNoh/caffe).
    """

    @classmethod
    def read(cls, p: UnpoolingParameter, phase: Phase) -> Self:
        method = UnpoolingParameter.UnpoolMethod.Name(p.unpool)
        if method not in ("MAX", "AVE", "TILE"):
            raise LayerError(f"unpool {method} is UnPooling's", field="unpool", help="use MAX, AVE or TILE")
        given = (p.unpool_size, p.unpool_size) if p.HasField("unpool_size") else ()
        size = positive(_pair(p, given, "unpool_h", "unpool_w", "unpool_size"), "unpool_size")
        if not size:
            raise LayerError(
                "has no unpool_size",
                field="unpool_size",
                help="give the size in pixels: without one, forks make pictures of different sizes",
            )
        return cls(method, *_window(p, ""), size)

    def shape(self, x: Shape, mask: Shape | None = None) -> Shape:
        if mask is None:
            _image(x)
            self.needed("kernel_size")
        else:
            if self.method != "MAX":
                raise LayerError(f"{self.method} takes no mask", field="bottom[1]", help="MAX takes one")
            masked(x, mask)
        return (*x[:2], *self.size)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x[n c p q] mask[n c p q] -> y[n c h w]"""
        if mask is not None:
            return scatter(x, mask, self.size)
        return self.spread(x, (*x.shape[:2], *self.size))

    def onnx(self, emit: Emitter, x: Operand, mask: Operand | None = None) -> Operand:
        if mask is not None:
            return emit_scatter(emit, x, mask, self.size)
        return self.emit_spread(emit, x, (*x.shape[:2], *self.size))


class UnPooling(Spread, Layer, param="unpooling_param", saves="nothing"):
    """Spreads each value over its window of a larger picture, or puts it into the middle of it.

    FIXED takes the middle, REP all of the window, DIV all of it in equal parts; where windows overlap, their mean
    counts. A second bottom has the size of the output, and the windows that cover it are found from the two sizes.
    Source: the unpooling of Dosovitskiy et al. 2015 in Caffe.
    """

    @classmethod
    def read(cls, p: UnpoolingParameter, phase: Phase) -> Self:
        method = UnpoolingParameter.UnpoolMethod.Name(p.unpool) if p.HasField("unpool") else "FIXED"
        if method not in ("FIXED", "DIV", "REP"):
            raise LayerError(f"unpool {method} is Unpooling's", field="unpool", help="use FIXED, DIV or REP")
        return cls(method, *_window(p, "out_"))

    def found(self, x: Shape, like: Shape | None) -> Self:
        """This layer with the windows that it has over x, found from the second bottom where there is one."""
        if like is None:
            return self
        kernel = tuple(-(-m // n) for n, m in zip(x[2:], like[2:], strict=True))
        stride = tuple(1 if k == m else k for k, m in zip(kernel, like[2:], strict=True))
        pairs = zip(x[2:], like[2:], kernel, stride, strict=True)
        return replace(
            self, kernel=kernel, stride=stride, pad=tuple(((n - 1) * s + k - m) // 2 for n, m, k, s in pairs)
        )

    def shape(self, x: Shape, like: Shape | None = None) -> Shape:
        for one in (x, like or x):
            _image(one)
        it = self.found(x, like)
        it.needed("out_kernel_size")
        windows = (spread(given, 2, "kernel_size") for given in (it.kernel, it.stride, it.pad))
        size = []
        for n, k, s, p in zip(x[2:], *windows, strict=True):
            if p and p >= k:
                raise LayerError(f"out_pad {p} is not smaller than its window {k}", field="out_pad")
            size.append((n - 1) * s + k - 2 * p)
        if min(size) < 1:
            raise LayerError(f"leaves nothing of a picture of {times(x[2:])}", field="out_pad", help="lower out_pad")
        return (*x[:2], *size)

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        """x[n c p q] like[n d h w] -> y[n c h w]"""
        other = None if like is None else tuple(like.shape)
        return self.found(tuple(x.shape), other).spread(x, self.shape(tuple(x.shape), other))

    def onnx(self, emit: Emitter, x: Operand, like: Operand | None = None) -> Operand:
        other = None if like is None else like.shape
        return self.found(x.shape, other).emit_spread(emit, x, self.shape(x.shape, other))


def masked(x: Shape, mask: Shape) -> None:
    """Refuse a mask that does not say of each value of a picture where it goes."""
    _image(x)
    if mask != x:
        help = "the mask is the second top of a MAX Pooling"
        raise LayerError(
            f"its mask {times(mask)} is not one place for each of {times(x)}", field="bottom[1]", help=help
        )


def scatter(x: Tensor, mask: Tensor, size: Shape) -> Tensor:
    """x[n c p q] mask[n c p q] -> y[n c h w]: each value at its place, counted row by row, 0 elsewhere; -1 is no place.
    Raises RuntimeError where a place is outside of the picture."""
    places = mask.detach().long().flatten(2)
    # One place more, before all, takes the values of no place.
    flat = x.new_zeros(*x.shape[:2], math.prod(size) + 1)
    return flat.scatter(2, places + 1, x.flatten(2))[..., 1:].unflatten(2, size)


def emit_scatter(emit: Emitter, x: Operand, mask: Operand, size: Shape) -> Operand:
    """The same."""
    n, c, p, q = x.shape
    flat = emit.constant(emit.batched((n, c, p * q)), "int64")
    behind = emit("Add", emit("Reshape", mask, flat), emit.constant(1.0))
    whole, few = math.prod(size) + 1, p * q
    zeros = emit("Mul", behind, emit.constant(0.0))
    ground = _cut(emit, zeros, 0, whole) if few > whole else zeros
    if few < whole:
        ground = emit("Pad", zeros, emit.constant([0, 0, 0, 0, 0, whole - few], "int64"), emit.constant(0.0))
    filled = emit("ScatterElements", ground, emit("Cast", behind, to=INT64), emit("Reshape", x, flat), axis=2)
    placed = _cut(emit, filled, 1, whole)
    return emit("Reshape", placed, emit.constant(emit.batched((n, c, *size)), "int64"))


def _cut(emit: Emitter, x: Operand, first: int, behind: int) -> Operand:
    return emit("Slice", x, *(emit.constant([n], "int64") for n in (first, behind, 2)))


def _image(x: Shape) -> None:
    if len(x) != 4:
        raise LayerError(f"takes 4 axes (batch, channels, height, width), not {len(x)}", field="bottom")


def _pair(p: Message, given: Shape, height: str, width: str, whole: str = "scale") -> Shape:
    """Height and width of one setting, () where it is not given. Raises LayerError."""
    if not p.HasField(height) and not p.HasField(width):
        return given
    if given:
        raise LayerError(f"{whole} and {height}, {width} are both given", field=whole, help="keep one of them")
    for one, other in ((height, width), (width, height)):
        if not p.HasField(other):
            raise LayerError(f"{one} is given without {other}", field=one, help=f"add {other}")
    return (getattr(p, height), getattr(p, width))


def _window(p: UnpoolingParameter, before: str) -> tuple[Shape, Shape, Shape]:
    """Kernel, stride and pad, whose fields begin with `before`. Raises LayerError."""
    found = []
    for whole, part in (("kernel_size", "kernel"), ("stride", "stride"), ("pad", "pad")):
        name = f"{before}{whole}"
        given = (getattr(p, name),) if p.HasField(name) else ()  # type: ignore[arg-type]
        found.append(sides(p, given, name, f"{before}{part}"))
    kernel, stride, pad = found
    return (positive(kernel, f"{before}kernel_size"), positive(stride, f"{before}stride") or (1,), pad or (0,))
