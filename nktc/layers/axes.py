"""Axes as prototxt counts them: from 0, or negative from the end."""

from __future__ import annotations

from nktc.errors import LayerError
from nktc.ir import Shape


def resolve(axis: int, shape: Shape, field: str = "axis") -> int:
    """`axis` of `shape`, counted from 0. Raises LayerError when there is no such axis."""
    if not -len(shape) <= axis < len(shape):
        raise LayerError(f"{field} {axis} is outside its {len(shape)}-axis input", field=field)
    return axis % len(shape)


def on(axis: int, size: int, axes: int) -> Shape:
    """The shape that lets a vector of `size` broadcast along `axis` of a tensor with that many axes."""
    return (*(1,) * axis, size, *(1,) * (axes - axis - 1))
