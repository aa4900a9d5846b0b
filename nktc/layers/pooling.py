"""Pooling and PoolingND: one value for each window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers.window import Window, around, cut, positive, sides
from nktc.schema import PoolingNDParameter, PoolingParameter

FLOAT = 1  # ONNX's number of f32
PART = 1 << 20  # how many numbers are laid out anew at a time, so that little memory is needed
LOWEST = torch.finfo(torch.float32).min
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True)
class Pool:
    """What Pooling, PoolingND and each level of SPP do over the axes behind the channels. `draws` is STOCHASTIC in
    TRAIN; the other settings are as Pooling explains them."""

    method: str
    kernel: Shape = ()
    stride: Shape = (1,)
    pad: Shape = (0,)
    floor: bool = False
    draws: bool = False

    def window(self, size: Shape) -> Window:
        """The window over a picture of that size. Raises LayerError where a setting has another number of axes."""
        return Window.over(len(size), self.kernel or size, self.stride, self.pad)

    def positions(self, size: Shape) -> Shape:
        """The size of the result of a picture of that size. Raises LayerError."""
        window = self.window(size)
        for side, pad in zip(window.kernel, window.pad, strict=True):
            if pad >= side:
                raise LayerError(f"pad {pad} is not smaller than its window {side}", field="pad")
        return window.fit(size) if self.floor else window.slide(size)

    def aside(self, x: Shape, *y: Shape) -> int:
        """Of each largest value its place, 8 bytes."""
        return 2 * math.prod(y[0]) if self.method == "MAX" else 0

    def formula(self, x: Shape) -> str:
        return self.window(x[2:]).formula(x[2:], self.positions(x[2:]))

    def seeing(self, size: Shape) -> Shape:
        """How many of its positions see the picture. On an axis without padding the last may start behind it."""
        return tuple(map(min, self.positions(size), self.window(size).seeing(size)))

    def forward(self, x: Tensor) -> Any:
        """x[n c p..] -> y[n c q..]; among equal largest values the gradient goes to the first, row by row. A window
        wholly behind the picture gives, as in Caffe, the lowest f32 (MAX) or 0/0 (AVE), and 0 (STOCHASTIC)."""
        if self.method == "MAX":
            y = self._slide(MAX_POOL, x)
        elif self.method == "AVE":
            y = self._slide(AVE_POOL, x)
        elif self.draws:
            y = self._draw(x)
        else:
            mean = self._slide(AVE_POOL, x)
            some = mean > 0
            y = torch.where(some, self._slide(AVE_POOL, x * x) / torch.where(some, mean, 1), 0)
        # No size leaves such a pooling a window that sees nothing.
        if not self.kernel or self.floor or any(self.pad) or max(self.stride) <= min(self.kernel):
            return y
        return self._finish(x, y)

    def onnx(self, emit: Emitter, x: Operand) -> Any:
        if self.method == "MAX":
            y = self._emit_max(emit, x)
        elif self.method == "AVE":
            y = self._emit_mean(emit, x, x.shape[2:])
        elif self.draws:
            raise LayerError("its TRAIN form is random and has no ONNX form", help="export the TEST net")
        else:
            zero = emit.constant(0.0)
            mean = self._emit_mean(emit, x, x.shape[2:])
            some = emit("Greater", mean, zero)
            squares = self._emit_mean(emit, emit("Mul", x, x), x.shape[2:])
            y = emit("Where", some, emit("Div", squares, emit("Where", some, mean, emit.constant(1.0))), zero)
        return self._emit_finish(emit, x, y)

    def flops(self, x: Shape, *y: Shape) -> int:
        return math.prod(y[0]) * math.prod(self.window(x[2:]).kernel)

    def cells(self, x: Tensor, fill: float) -> Tensor:
        """x[n c p..] -> y[n c q.. k]: what each window that sees the picture sees, `fill` outside of it."""
        size = x.shape[2:]
        window = self.window(size)
        behind = window.beyond(size, self.seeing(size))
        return cut(F.pad(x, around(window.pad, behind), value=fill), window).flatten(x.dim())

    def _slide(self, pools: dict[int, Any], x: Tensor) -> Tensor:
        """torch's pooling, by number of axes, over the windows that see the picture."""
        if pools is AVE_POOL and not self.kernel:
            return x.mean(tuple(range(2, x.dim())), keepdim=True)
        size = x.shape[2:]
        pool, ceil = pools[len(size)], not self.floor
        # torch takes a pad of at most half a window. Its ceil_mode drops a window that starts behind the picture.
        kernel = self.kernel or size
        if 2 * max(self.pad) <= min(kernel):
            if ChannelsInnermost.pays(x):
                return ChannelsInnermost.apply(x, pools is MAX_POOL, kernel, self.stride, self.pad, ceil)
            if torch.compiler.is_compiling() and pools is AVE_POOL and ceil:
                return self._mean_compiled(pool, x)
            # torch takes one number for all axes, its compiler does not.
            stride, pad = (s * len(size) if len(s) == 1 else s for s in (self.stride, self.pad))
            return pool(x, kernel, stride, pad, ceil_mode=ceil)
        window = self.window(size)
        padded = F.pad(x, around(window.pad, window.pad), value=lowest(x) if pools is MAX_POOL else 0.0)
        y = pool(padded, window.kernel, window.stride, ceil_mode=ceil)
        return y[(..., *map(slice, self.seeing(size)))]

    def _mean_compiled(self, pool: Any, x: Tensor) -> Tensor:
        """The mean without ceil_mode, for which PyTorch's compiler makes wrong gradients of windows that stick out: the
        overhang becomes padding, and the mean is brought to the cells that count."""
        size = x.shape[2:]
        window, seeing = self.window(size), self.seeing(size)
        beyond = window.beyond(size, seeing)
        y = pool(F.pad(x, around(window.pad, beyond)), window.kernel, window.stride)
        for axis, (n, k, s, p) in enumerate(zip(size, window.kernel, window.stride, window.pad, strict=True)):
            count = (n + 2 * p - s * torch.arange(seeing[axis], device=x.device)).clamp(max=k)
            y = y * (k / count).reshape(-1, *[1] * (len(size) - 1 - axis))
        return y

    def _draw(self, x: Tensor) -> Tensor:
        """One value of each window, the chance of each its share of their sum; the first where all are 0."""
        cells = self.cells(x, 0.0)
        sums = cells.detach().cumsum(-1)
        reached = sums >= (1 - torch.rand_like(sums[..., -1:])) * sums[..., -1:]
        return cells.gather(-1, reached.byte().argmax(-1, keepdim=True)).squeeze(-1)

    def _blanks(self, size: Shape) -> list[tuple[int, float]]:
        """Axes whose last window sees nothing, and what it gives. Caffe's mean is a sum of 0 over an area that is 0
        just behind the edge and negative further on."""
        window, positions, seeing = self.window(size), self.positions(size), self.seeing(size)
        found = []
        for axis in range(len(size)):
            if seeing[axis] < positions[axis]:
                edge = seeing[axis] * window.stride[axis] == size[axis]
                value = {"MAX": LOWEST, "AVE": math.nan if edge else 0.0, "STOCHASTIC": 0.0}[self.method]
                found.append((axis, value))
        # 0/0 in the corner where the two meet.
        return sorted(found, key=lambda pair: math.isnan(pair[1]))

    def _finish(self, x: Tensor, y: Tensor, blank: float | None = None) -> Tensor:
        """y, pooled from x, with what windows that see nothing give, or `blank` for them."""
        for axis, value in self._blanks(x.shape[2:]):
            given = value if blank is None else blank
            y = F.pad(y, [0, 0] * (x.dim() - 3 - axis) + [0, 1], value=lowest(x) if given == LOWEST else given)
        return y

    def _emit_max(self, emit: Emitter, x: Operand, outputs: int = 1) -> Any:
        """The largest values and, as the second of two outputs, where each is in x as a flat array."""
        size = x.shape[2:]
        if not self.kernel and outputs == 1:
            return emit("GlobalMaxPool", x)
        # Never ceil_mode: runtimes differ in it. The size is known, so the overhang is padding with a number.
        window = self.window(size)
        return _pool(emit, "MaxPool", x, window, window.pad, window.beyond(size, self.seeing(size)), outputs=outputs)

    def _emit_mean(self, emit: Emitter, x: Operand, size: Shape) -> Operand:
        if not self.kernel:
            return emit("GlobalAveragePool", x)
        window = self.window(size)
        beyond = window.beyond(size, self.seeing(size))
        behind = tuple(max(0, b - p) for b, p in zip(beyond, window.pad, strict=True))
        if not any(behind) and any(window.pad) and emit.target == "openvino":
            # OpenVINO takes the padding of numbers in 8 bits for steps of 0, not for zeros.
            y = _pool(emit, "AveragePool", x, window, window.pad, window.pad, count_include_pad=0)
            return emit("Mul", y, emit.constant(_shares(window, size, self.seeing(size))))
        if not any(behind):
            return _pool(emit, "AveragePool", x, window, window.pad, window.pad, count_include_pad=1)
        padded = _pad(emit, x, window.pad, window.pad, 0.0) if any(window.pad) else x
        return _pool(emit, "AveragePool", padded, window, (0,) * len(size), behind, count_include_pad=0)

    def _emit_finish(self, emit: Emitter, x: Operand, y: Operand, blank: float | None = None) -> Operand:
        none = [0] * len(x.shape[2:])
        for axis, value in self._blanks(x.shape[2:]):
            behind = [*none[:axis], 1, *none[axis + 1 :]]
            y = _pad(emit, y, none, behind, value if blank is None else blank)
        return y


class ChannelsInnermost(torch.autograd.Function):
    """torch's pooling on a CPU of pictures whose channels are outermost.

    torch's own way goes value by value there. To bring the channels innermost, where it takes several at once, and the
    result back is 2 to 4 times as fast. Nothing is kept for the backward but the places of largest values, where torch
    would keep the pictures too.
    """

    @staticmethod
    def pays(x: Tensor) -> bool:
        if x.device.type != "cpu" or x.dim() != 4 or x.shape[1] < 8 or torch.compiler.is_compiling():
            return False
        return x.is_contiguous()

    @staticmethod
    def forward(ctx: Any, x: Tensor, largest: bool, kernel: Shape, stride: Shape, pad: Shape, ceil: bool) -> Tensor:
        def pool(part: Tensor) -> Sequence[Tensor]:
            innermost = part.contiguous(memory_format=torch.channels_last)
            if largest:
                return F.max_pool2d(innermost, kernel, stride, pad, ceil_mode=ceil, return_indices=True)
            return (F.avg_pool2d(innermost, kernel, stride, pad, ceil),)

        made: list[Tensor] = []
        size = max(1, PART // max(1, x[:1].numel()))
        for start in range(0, max(1, len(x)), size):
            found = pool(x[start : start + size])
            made = made or [part.new_empty(len(x), *part.shape[1:]) for part in found]
            for whole, part in zip(made, found, strict=True):
                whole[start : start + size] = part
        y, *places = made
        ctx.save_for_backward(*places)
        ctx.shape, ctx.settings = x.shape, (largest, kernel, stride, pad, ceil)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        largest, kernel, stride, pad, ceil = ctx.settings
        aten = torch.ops.aten
        # The pictures are asked for their shape and layout only.
        if largest:
            x = gradient.new_empty(ctx.shape)
            found = aten.max_pool2d_with_indices_backward(
                gradient, x, kernel, stride, pad, (1,), ceil, *ctx.saved_tensors
            )
        else:
            x = torch.empty_like(gradient.new_empty(ctx.shape), memory_format=torch.channels_last)
            gradient = gradient.contiguous(memory_format=torch.channels_last)
            found = aten.avg_pool2d_backward(gradient, x, kernel, stride, pad, ceil, True, None).contiguous()
        return found, None, None, None, None, None


class Pooling(Pool, Layer, param="pooling_param", tops=(1, 2)):
    """Replaces each window of a picture by its largest value (MAX), its mean (AVE) or one of its values (STOCHASTIC).

    `kernel`, `stride` and `pad` are height and width; no `kernel` is the whole picture. Unless `floor`, sizes
    are rounded up: a last window that sticks out counts, cut off at the edge. A mean counts padding as 0, but
    not what lies beyond it. A second top of MAX tells where in the picture each value was, counted row by row.

    STOCHASTIC takes no padding and values from 0 on: in TRAIN it draws each value with a chance of its share of
    the window's sum, in TEST it gives the mean of such draws. Caffe has it on the GPU only. Source: Zeiler and
    Fergus 2013.
    """

    where: bool = False

    @classmethod
    def read(cls, p: PoolingParameter, phase: Phase) -> Self:
        kernel = _pair(p, "kernel_size", "kernel")
        stride = _pair(p, "stride", "stride") or (1,)
        pad = _pair(p, "pad", "pad") or (0,)
        method = PoolingParameter.PoolMethod.Name(p.pool)
        if p.global_pooling:
            if kernel:
                raise LayerError("global_pooling and a kernel are both given", field="global_pooling")
            if any(step != 1 for step in stride) or any(pad):
                raise LayerError("global_pooling takes neither pad nor stride", field="global_pooling")
        elif not kernel:
            raise LayerError(
                "has no kernel_size", field="kernel_size", help="add kernel_size: 2, or global_pooling: true"
            )
        if method == "STOCHASTIC" and any(pad):
            raise LayerError("STOCHASTIC takes no pad", field="pad", help="drop pad, or use MAX or AVE")
        return cls(method, kernel, stride, pad, _floor(p), draws(method, phase))

    def with_tops(self, tops: int) -> Self:
        if tops == 2 and self.method != "MAX":
            raise LayerError(f"{self.method} makes 1 top, not 2", field="top", help="MAX alone tells where")
        return replace(self, where=tops == 2)

    def shape(self, x: Shape) -> Shape | list[Shape]:
        if len(x) != 4:
            raise LayerError(
                f"takes 4 axes (batch, channels, height, width), not {len(x)}",
                field="bottom",
                help="PoolingND pools 1 to 3 axes behind the channels",
            )
        y = (*x[:2], *self.positions(x[2:]))
        return [y, y] if self.where else y

    def forward(self, x: Tensor) -> Any:
        """x[n c h w] -> y[n c i j], and with a second top place[n c i j], as Pool's; -1 is the place of nothing."""
        if not self.where:
            return super().forward(x)
        rows, columns = x.shape[2:]
        numbers = torch.arange(rows * columns, dtype=x.dtype, device=x.device).view(1, 1, rows, columns)
        y, best = self.cells(x, lowest(x)).max(-1, keepdim=True)
        place = self.cells(numbers, -1.0).expand(*x.shape[:2], -1, -1, -1).gather(-1, best)
        return self._finish(x, y.squeeze(-1)), self._finish(x, place.squeeze(-1), -1.0)

    def onnx(self, emit: Emitter, x: Operand) -> Any:
        if not self.where:
            return super().onnx(emit, x)
        y, place = self._emit_max(emit, x, outputs=2)
        inside = emit("Mod", place, emit.constant(math.prod(x.shape[2:]), "int64"))
        return self._emit_finish(emit, x, y), self._emit_finish(emit, x, emit("Cast", inside, to=FLOAT), -1.0)


class PoolingND(Pool, Layer, param="pooling_nd_param"):
    """Replaces each window over 1 to 3 axes behind the channels by its largest value (MAX) or its mean (AVE).

    `kernel`, `stride` and `pad` have one number for all these axes, or one for each. Sizes are rounded, windows cut
    off and padding counted as by Pooling.
    """

    @classmethod
    def read(cls, p: PoolingNDParameter, phase: Phase) -> Self:
        kernel = positive(tuple(p.kernel_size), "kernel_size")
        if not kernel:
            raise LayerError("has no kernel_size", field="kernel_size", help="add kernel_size: 2")
        stride = positive(tuple(p.stride), "stride") or (1,)
        floor = p.round_mode == PoolingNDParameter.FLOOR
        return cls(PoolingNDParameter.PoolMethod.Name(p.pool), kernel, stride, tuple(p.pad) or (0,), floor)

    def shape(self, x: Shape) -> Shape:
        if not 3 <= len(x) <= 5:
            raise LayerError(f"takes 3 to 5 axes (batch, channels and 1 to 3 to pool), not {len(x)}", field="bottom")
        return (*x[:2], *self.positions(x[2:]))


def lowest(x: Tensor) -> float:
    """What a largest value starts from: the lowest f32, or what x can hold."""
    return max(LOWEST, torch.finfo(x.dtype).min)


def draws(method: str, phase: Phase) -> bool:
    """Whether a pooling method is random in a phase."""
    return method == "STOCHASTIC" and phase is Phase.TRAIN


def _floor(p: PoolingParameter) -> bool:
    """Whether sizes are rounded down, as round_mode says, or the forks' words for it. Raises LayerError."""
    said = {name for name in ("round_mode", "ceil_mode", "torch_pooling") if p.HasField(name)}
    down = {"round_mode": p.round_mode == PoolingParameter.FLOOR, "ceil_mode": not p.ceil_mode}
    down["torch_pooling"] = p.torch_pooling
    if len({down[name] for name in said}) > 1:
        one, other = sorted(said)[:2]
        raise LayerError(f"{one} and {other} disagree", field=one, help="keep round_mode")
    return any(down[name] for name in said)


def _shares(window: Window, size: Shape, positions: Shape) -> np.ndarray:
    """How much of each window lies in the picture, f64[q..]."""
    shares = np.ones(())
    for n, k, s, p, count in zip(size, window.kernel, window.stride, window.pad, positions, strict=True):
        first = s * np.arange(count) - p
        shares = np.multiply.outer(shares, (np.minimum(first + k, n) - np.maximum(first, 0)) / k)
    return shares


def _pair(p: PoolingParameter, whole: str, part: str) -> Shape:
    """Height and width of one setting, () where it is not given. Raises LayerError."""
    sizes = sides(p, (getattr(p, whole),) * 2 if p.HasField(whole) else (), whole, part)  # type: ignore[arg-type]
    return sizes if part == "pad" else positive(sizes, whole)


def _pool(
    emit: Emitter, op: str, x: Operand, window: Window, before: Shape, behind: Shape, outputs: int = 1, **more: int
) -> Any:
    """An operator that pools, with that padding. TensorRT pools 2 and 3 axes."""
    kernel, stride = window.kernel, window.stride
    lone = emit.target == "tensorrt" and len(kernel) == 1
    if lone:
        x = emit("Unsqueeze", x, emit.constant([2], "int64"))
        kernel, stride, before, behind = (1, *kernel), (1, *stride), (0, *before), (0, *behind)
    pads = [*before, *behind]
    y = emit(op, x, outputs=outputs, kernel_shape=list(kernel), strides=list(stride), pads=pads, **more)
    return emit("Squeeze", y, emit.constant([2], "int64")) if lone else y


def _pad(emit: Emitter, x: Operand, before: Sequence[int], behind: Sequence[int], value: float) -> Operand:
    pads = emit.constant([0, 0, *before, 0, 0, *behind], "int64")
    return emit("Pad", x, pads, emit.constant(value))
