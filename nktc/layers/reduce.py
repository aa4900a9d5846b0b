"""Reduction: many values to one."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor

from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers import axes
from nktc.schema import ReductionParameter


class Reduction(Layer, param="reduction_param"):
    """Sums all axes from `axis` on away: the values, their magnitudes, their squares, or to their mean."""

    operation: str = "SUM"
    axis: int = 0
    coefficient: float = 1.0  # factor on the result

    @classmethod
    def read(cls, p: ReductionParameter, phase: Phase) -> Self:
        return cls(ReductionParameter.ReductionOp.Name(p.operation), p.axis, p.coeff)

    def shape(self, x: Shape) -> Shape:
        return x[: axes.resolve(self.axis, x)]

    def forward(self, x: Tensor) -> Tensor:
        """x[n.. i..] -> y[n..]"""
        tail = tuple(range(self.axis % x.dim(), x.dim()))
        match self.operation:
            case "ASUM":
                y = x.abs().sum(tail)
            case "SUMSQ":
                y = x.square().sum(tail)
            case "MEAN":
                y = x.mean(tail)
            case _:
                y = x.sum(tail)
        return y if self.coefficient == 1 else y * self.coefficient

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        tail = list(range(axes.resolve(self.axis, x.shape), len(x.shape)))
        if self.operation == "MEAN":
            y = emit("ReduceMean", x, axes=tail, keepdims=0)
        else:
            terms = {"ASUM": lambda: emit("Abs", x), "SUMSQ": lambda: emit("Mul", x, x), "SUM": lambda: x}
            y = emit("ReduceSum", terms[self.operation](), emit.constant(tail, "int64"), keepdims=0)
        return y if self.coefficient == 1 else emit("Mul", y, emit.constant(self.coefficient))

    def flops(self, x: Shape, y: Shape) -> int:
        each = 2 if self.operation in ("ASUM", "SUMSQ") else 1
        return math.prod(x) * each + math.prod(y) * ((self.operation == "MEAN") + (self.coefficient != 1))
