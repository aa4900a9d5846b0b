"""A window that slides over the spatial axes: how often it fits, and how far it sticks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from nktc.errors import LayerError
from nktc.ir import Shape, times


@dataclass(frozen=True)
class Window:
    """Each field has one number a spatial axis. `dilation` is the distance of neighbours in the window."""

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape

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
        if min(positions, default=1) < 1:
            padded = tuple(n + 2 * p for n, p in zip(size, self.pad, strict=True))
            what = "padded input" if any(self.pad) else "input"
            raise LayerError(
                f"window {times(self.extent())} is larger than its {what} {times(padded)}",
                field="kernel_size",
                help="raise pad",
            )
        return positions


def sides(p: Message, given: Sequence[int], whole: str, part: str) -> Shape:
    """What a message says in the field `whole` (its values are `given`), or as height and width in `part`_h
    and `part`_w; () when it says nothing. Raises LayerError when it says both, or one of the two sides."""
    height, width = f"{part}_h", f"{part}_w"
    if not p.HasField(height) and not p.HasField(width):
        return tuple(given)
    if given:
        raise LayerError(f"{whole} and {height}, {width} are both given", field=whole, help="keep one of them")
    for one, other in ((height, width), (width, height)):
        if not p.HasField(other) and part != "pad":
            raise LayerError(f"{one} is given without {other}", field=one, help=f"add {other}")
    return (getattr(p, height), getattr(p, width))


def positive(sizes: Shape, field: str) -> Shape:
    """`sizes` themselves, all at least 1. Raises LayerError."""
    if sizes and min(sizes) < 1:
        raise LayerError(f"{field} is 0", field=field, help=f"{field} starts at 1")
    return sizes


def spread(sizes: Shape, axes: int, field: str) -> Shape:
    """One number for each of `axes` spatial axes; a single one serves all. Raises LayerError."""
    if len(sizes) == 1 or not axes:
        return sizes[:1] * axes
    if len(sizes) != axes:
        raise LayerError(
            f"{field} has {len(sizes)} numbers for {axes} spatial {'axis' if axes == 1 else 'axes'}"
            if sizes
            else f"has no {field}",
            field=field,
            help=f"give {field} once, or once for each spatial axis",
        )
    return sizes
