"""Permute: the same values with their axes in another order."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.schema import PermuteParameter


class Permute(Layer, param="permute_param", saves="nothing"):
    """Brings the axes into another order; those that `order` leaves out follow in their own. Source: SSD's Caffe."""

    order: tuple[int, ...] = ()

    @classmethod
    def read(cls, p: PermuteParameter, phase: Phase) -> Self:
        for place, axis in enumerate(p.order):
            if axis in p.order[:place]:
                raise LayerError(f"order has axis {axis} twice", field="order")
        return cls(tuple(p.order))

    def along(self, axes: int) -> tuple[int, ...]:
        """The input's axis that each of the output's `axes` axes is. Raises LayerError."""
        for axis in self.order:
            if axis >= axes:
                raise LayerError(f"order {axis} is outside its {axes}-axis input", field="order")
        return (*self.order, *(axis for axis in range(axes) if axis not in self.order))

    def shape(self, x: Shape) -> Shape:
        return tuple(x[axis] for axis in self.along(len(x)))

    def forward(self, x: Tensor) -> Tensor:
        """x[p q ..] -> y[.. q p], in the order of `order`"""
        return x.permute(self.along(x.dim()))

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("Transpose", x, perm=list(self.along(len(x.shape))))
