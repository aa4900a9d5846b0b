"""Several inputs to one output: Concat, Eltwise, MatMul."""

from __future__ import annotations

import math
from functools import reduce
from itertools import zip_longest
from typing import Any, Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers import axes
from nktc.schema import ConcatParameter, EltwiseParameter, MatMulParameter


class Concat(Layer, param="concat_param", saves="nothing"):
    """Joins its inputs along `axis`."""

    axis: int = 1

    @classmethod
    def read(cls, p: ConcatParameter, phase: Phase) -> Self:
        if p.HasField("axis") and p.HasField("concat_dim"):
            raise LayerError("axis and concat_dim are both given", field="concat_dim", help="keep axis")
        return cls(p.concat_dim if p.HasField("concat_dim") else p.axis)

    def shape(self, *inputs: Shape) -> Shape:
        first = inputs[0]
        axis = axes.resolve(self.axis, first)
        for other in inputs[1:]:
            if len(other) != len(first):
                raise LayerError(f"its inputs {times(first)} and {times(other)} differ in their axes", field="bottom")
            for i, (a, b) in enumerate(zip(first, other, strict=True)):
                if a != b and i != axis:
                    raise LayerError(
                        f"its inputs {times(first)} and {times(other)} differ outside axis {axis}",
                        field="bottom",
                    )
        return (*first[:axis], sum(x[axis] for x in inputs), *first[axis + 1 :])

    def forward(self, *inputs: Tensor) -> Tensor:
        """x0[n.. i p..] x1[n.. j p..] .. -> y[n.. i+j+.. p..]"""
        return torch.cat(inputs, self.axis)

    def onnx(self, emit: Emitter, *inputs: Operand) -> Operand:
        return emit("Concat", *inputs, axis=axes.resolve(self.axis, inputs[0].shape))


class Eltwise(Layer, param="eltwise_param", saves="nothing"):
    """Adds (each times its coefficient), multiplies, or takes the largest of its inputs, value by value.

    `stable` asks for the gradient of a product that is right where an input is 0.
    """

    operation: str = "SUM"
    coefficients: tuple[float, ...] = ()
    stable: bool = True

    @classmethod
    def read(cls, p: EltwiseParameter, phase: Phase) -> Self:
        operation = EltwiseParameter.EltwiseOp.Name(p.operation)
        if p.coeff and operation == "PROD":
            raise LayerError("coeff does not go with PROD", field="coeff", help="only SUM takes factors")
        return cls(operation, tuple(p.coeff), p.stable_prod_grad)

    def shape(self, a: Shape, b: Shape, *more: Shape) -> Shape:
        inputs = (a, b, *more)
        for other in inputs[1:]:
            if other != a:
                raise LayerError(f"its inputs {times(a)} and {times(other)} differ", field="bottom")
        if self.coefficients and len(self.coefficients) != len(inputs):
            raise LayerError(f"has {len(self.coefficients)} coeff for {len(inputs)} inputs", field="coeff")
        return a

    def forward(self, *inputs: Tensor) -> Tensor:
        """x0[..] x1[..] .. -> y[..]"""
        match self.operation:
            case "MAX":
                # Caffe's ties: the second wins against the first, any later one loses against those before.
                start = torch.where(inputs[0] > inputs[1], inputs[0], inputs[1])
                return reduce(lambda y, x: torch.where(x > y, x, y), inputs[2:], start)
            case "PROD":
                return reduce(torch.mul, inputs) if self.stable else Product.apply(*inputs)
        if not self.coefficients:
            return reduce(torch.add, inputs)
        scaled = zip(inputs[1:], self.coefficients[1:], strict=True)
        return reduce(lambda y, x: y.add(x[0], alpha=x[1]), scaled, inputs[0] * self.coefficients[0])

    def forward_in_place(self, *inputs: Tensor) -> Tensor:
        """The same written over x0 where that can hold it; only for a SUM without coefficients."""
        if any(x.dtype != inputs[0].dtype for x in inputs):
            return self.forward(*inputs)
        return reduce(Tensor.add_, inputs)

    def onnx(self, emit: Emitter, *inputs: Operand) -> Operand:
        if self.operation == "MAX":
            return emit("Max", *inputs)
        factors = self.coefficients or (1.0,) * len(inputs)
        terms = [x if c == 1 else emit("Mul", x, emit.constant(c)) for x, c in zip(inputs, factors, strict=True)]
        op = "Mul" if self.operation == "PROD" else "Add"
        return reduce(lambda y, x: emit(op, y, x), terms)

    def flops(self, *shapes: Shape) -> int:
        inputs = len(shapes) - 1
        return math.prod(shapes[-1]) * (inputs - 1 + sum(c != 1 for c in self.coefficients))


class Product(torch.autograd.Function):
    """A product with Caffe's quick gradient, the product over the input: not a number where an input is 0."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        y = reduce(torch.mul, inputs)
        ctx.save_for_backward(y, *inputs)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        y, *inputs = ctx.saved_tensors
        return tuple(gradient * (y / x) for x in inputs)


class MatMul(Layer, param="matmul_param", multiplies=True):
    """Multiplies two blobs as matrices: their last two axes, once for each place of the axes before.

    Those axes are equal, or where one blob has 1, or has no such axis, it serves for all.
    """

    transpose_a: bool = False
    transpose_b: bool = False
    scale: float = 1.0  # factor on the product

    @classmethod
    def read(cls, p: MatMulParameter, phase: Phase) -> Self:
        return cls(p.transpose_a, p.transpose_b, p.scale)

    def shape(self, a: Shape, b: Shape) -> Shape:
        for x in (a, b):
            if len(x) < 2:
                raise LayerError(f"its input {times(x)} is no matrix: it has fewer than 2 axes", field="bottom")
        rows, inner = a[:-3:-1] if self.transpose_a else a[-2:]
        depth, columns = b[:-3:-1] if self.transpose_b else b[-2:]
        if inner != depth:
            raise LayerError(
                f"its inputs {times(a)} and {times(b)} do not multiply: {inner} columns, {depth} rows",
                field="bottom",
                help="transpose_a and transpose_b swap the last two axes",
            )
        before: list[int] = []
        for m, n in zip_longest(reversed(a[:-2]), reversed(b[:-2]), fillvalue=1):
            if m != n and 1 not in (m, n):
                raise LayerError(
                    f"its inputs {times(a)} and {times(b)} differ before their last two axes", field="bottom"
                )
            before.insert(0, max(m, n))
        return (*before, rows, columns)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a[n.. i k] b[n.. k j] -> y[n.. i j]"""
        y = torch.matmul(a.mT if self.transpose_a else a, b.mT if self.transpose_b else b)
        return y if self.scale == 1 else y * self.scale

    def onnx(self, emit: Emitter, a: Operand, b: Operand) -> Operand:
        def turn(x: Operand, turned: bool) -> Operand:
            axes = [*range(len(x.shape))]
            return emit("Transpose", x, perm=[*axes[:-2], axes[-1], axes[-2]]) if turned else x

        y = emit("MatMul", turn(a, self.transpose_a), turn(b, self.transpose_b))
        return y if self.scale == 1 else emit("Mul", y, emit.constant(self.scale))

    def flops(self, a: Shape, b: Shape, y: Shape) -> int:
        depth = a[-2] if self.transpose_a else a[-1]
        return math.prod(y) * (2 * depth + (self.scale != 1))
