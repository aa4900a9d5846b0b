"""Axes as prototxt counts them: from 0, or negative from the end."""

from __future__ import annotations

from nktc.errors import LayerError
from nktc.ir import Shape


def resolve(axis: int, shape: Shape, field: str = "axis") -> int:
    """`axis` of `shape`, counted from 0. Raises LayerError when there is no such axis."""
    if not -len(shape) <= axis < len(shape):
        raise LayerError(f"{field} {axis} is outside its {len(shape)}-axis input", field=field)
    return axis % len(shape)
