"""A window that slides over the spatial axes: how often it fits, how far it sticks out, what it sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from google.protobuf.message import Message
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Shape, infer, times
from nktc.schema import ConvolutionParameter

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Window:
    """Each field has one number a spatial axis. `dilation` is the distance of neighbours in the window."""

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape

    @classmethod
    def over(cls, axes: int, kernel: Shape, stride: Shape, pad: Shape, dilation: Shape = (1,)) -> Self:
        """The window over that many spatial axes, of settings with one number for each axis or one for all. Raises
        LayerError where a setting has another number."""
        return cls(
            spread(kernel, axes, "kernel_size"),
            spread(stride, axes, "stride"),
            spread(pad, axes, "pad"),
            spread(dilation, axes, "dilation"),
        )

    def extent(self) -> Shape:
        """What the window covers, gaps included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def fit(self, size: Shape) -> Shape:
        """Positions of the window inside the padded input, per axis. Raises LayerError when there is none."""
        found = tuple(
            (n + 2 * p - e) // s + 1 for n, p, e, s in zip(size, self.pad, self.extent(), self.stride, strict=True)
        )
        return self._some(found, size)

    def slide(self, size: Shape) -> Shape:
        """Positions of the window per axis, rounded up: the last one may stick out. With padding on any axis
        it starts before the padding behind the image; without, it may start behind the image and see nothing.
        Raises LayerError when there is none."""
        found = []
        for n, p, e, s in zip(size, self.pad, self.extent(), self.stride, strict=True):
            positions = -(-(n + 2 * p - e) // s) + 1
            if any(self.pad) and (positions - 1) * s >= n + p:
                positions -= 1
            found.append(positions)
        return self._some(tuple(found), size)

    def cover(self, positions: Shape) -> Shape:
        """What that many windows a spatial axis cover together, padding cut off: `fit` the other way round. Raises
        LayerError when nothing is left."""
        whole = tuple(s * (n - 1) + e for n, s, e in zip(positions, self.stride, self.extent(), strict=True))
        found = tuple(n - 2 * p for n, p in zip(whole, self.pad, strict=True))
        if min(found, default=1) < 1:
            raise LayerError(
                f"pad {times(self.pad)} on both sides leaves nothing of {times(whole)}", field="pad", help="lower pad"
            )
        return found

    def formula(self, size: Shape, positions: Shape) -> str:
        """How an image of that size has that many positions: "12x12 = (28-5+2*2)/2+1", alike axes once."""
        terms = []
        for n, o, p, e, s in zip(size, positions, self.pad, self.extent(), self.stride, strict=True):
            steps, rest = divmod(n + 2 * p - e, s)
            quotient = f"({n}-{e}{f'+2*{p}' if p else ''})/{s}"
            rounded = f"{'floor' if o == steps + 1 else 'ceil'}({quotient})" if rest else quotient
            terms.append(f"{rounded}+1" if rest or o > steps else rounded)  # less the one that starts in the padding
        return f"{times(positions)} = {' x '.join(terms if len(set(terms)) > 1 else terms[:1])}"

    def seeing(self, size: Shape) -> Shape:
        """Positions, from the first on, that start before the padding behind the image."""
        return tuple(-(-(n + p) // s) for n, p, s in zip(size, self.pad, self.stride, strict=True))

    def beyond(self, size: Shape, positions: Shape) -> Shape:
        """How far the last of `positions` reaches behind the image, into the padding and beyond."""
        return tuple(
            max(0, (o - 1) * s + e - n - p)
            for o, s, e, n, p in zip(positions, self.stride, self.extent(), size, self.pad, strict=True)
        )

    def _some(self, positions: Shape, size: Shape) -> Shape:
        padded = tuple(n + 2 * p for n, p in zip(size, self.pad, strict=True))
        what = "padded input" if any(self.pad) else "input"
        if min(positions, default=1) < 1:
            raise LayerError(
                f"window {times(self.extent())} is larger than its {what} {times(padded)}",
                field="kernel_size",
                help="raise pad",
            )
        if math.prod(padded) > infer.LARGEST:
            raise LayerError(f"its padded input would be {times(padded)}, more than {infer.LARGEST}", field="pad")
        return positions


def cut(x: Tensor, window: Window) -> Tensor:
    """x[n.. p..], padded already -> y[n.. q.. k..]: what the window sees at each of its positions, a view."""
    y = x
    for axis, (extent, stride, dilation) in enumerate(
        zip(window.extent(), window.stride, window.dilation, strict=True)
    ):
        y = y.unfold(x.dim() - len(window.kernel) + axis, extent, stride)[..., ::dilation]
    return y


def around(before: Shape, behind: Shape) -> list[int]:
    """Padding of the last axes as F.pad wants it: the last axis first."""
    return [n for pair in zip(reversed(before), reversed(behind), strict=True) for n in pair]


def sliding(p: ConvolutionParameter) -> tuple[Shape, Shape, Shape, Shape]:
    """Kernel, stride, pad and dilation of a convolution, each with one number or one a spatial axis; no kernel is
    (). Raises LayerError."""
    return (
        positive(sides(p, p.kernel_size, "kernel_size", "kernel"), "kernel_size"),
        positive(sides(p, p.stride, "stride", "stride"), "stride") or (1,),
        sides(p, p.pad, "pad", "pad", together=False) or (0,),
        positive(tuple(p.dilation), "dilation") or (1,),
    )


def sides(p: Message, given: Sequence[int], whole: str, part: str, together: bool = True) -> Shape:
    """What a message says in the field `whole` (its values are `given`), or as height and width in `part`_h
    and `part`_w; () when it says nothing. Raises LayerError when it says both, or only one of two sides that go
    `together`."""
    height, width = f"{part}_h", f"{part}_w"
    if not p.HasField(height) and not p.HasField(width):
        return tuple(given)
    if given:
        raise LayerError(f"{whole} and {height}, {width} are both given", field=whole, help="keep one of them")
    for one, other in ((height, width), (width, height)):
        if together and not p.HasField(other):
            raise LayerError(f"{one} is given without {other}", field=one, help=f"add {other}")
    return (getattr(p, height), getattr(p, width))


def positive(sizes: Shape, field: str) -> Shape:
    """`sizes` themselves, all at least 1 and not beyond 32 bits. Raises LayerError."""
    if sizes and min(sizes) < 1:
        raise LayerError(f"{field} is 0", field=field, help=f"{field} starts at 1")
    if sizes and max(sizes) > infer.LARGEST:
        raise LayerError(f"{field} {max(sizes)} is larger than {infer.LARGEST}", field=field)
    return sizes


def spread(sizes: tuple[Number, ...], axes: int, field: str) -> tuple[Number, ...]:
    """One number for each of `axes` spatial axes; a single one serves all. Raises LayerError."""
    if len(sizes) == 1 or not (sizes or axes):
        return sizes * axes
    if len(sizes) != axes:
        raise LayerError(
            f"{field} has {len(sizes)} numbers for {axes} spatial {'axis' if axes == 1 else 'axes'}"
            if sizes
            else f"has no {field}",
            field=field,
            help=f"give {field} once, or once for each spatial axis",
            code="shape" if sizes else "setting",
        )
    return sizes
