"""InnerProduct: the fully connected layer."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import axes, settings
from nktc.schema import InnerProductParameter


class InnerProduct(Layer, param="inner_product_param", multiplies=True):
    """Multiplies everything from `axis` on, flattened, by a learned matrix and adds a learned bias."""

    outputs: int
    axis: int = 1
    bias: bool = True
    transpose: bool = False
    weight_filler: Filler = Filler()
    bias_filler: Filler = Filler()

    @classmethod
    def read(cls, p: InnerProductParameter, phase: Phase) -> Self:
        return cls(
            settings.outputs(p.num_output),
            p.axis,
            p.bias_term,
            p.transpose,
            settings.filler(p.weight_filler, "weight_filler"),
            settings.filler(p.bias_filler, "bias_filler"),
        )

    def shape(self, x: Shape) -> Shape:
        return (*x[: axes.resolve(self.axis, x)], self.outputs)

    def weights(self, x: Shape) -> dict[str, Weight]:
        inputs = math.prod(x[axes.resolve(self.axis, x) :])
        matrix = (inputs, self.outputs) if self.transpose else (self.outputs, inputs)
        weights = {"weight": Weight(matrix, self.weight_filler)}
        if self.bias:
            weights["bias"] = Weight((self.outputs,), self.bias_filler)
        return weights

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x[n.. i..] weight[o i] (or [i o], transposed) bias[o] -> y[n.. o]"""
        return F.linear(x.flatten(self.axis), weight.t() if self.transpose else weight, bias)

    def onnx(self, emit: Emitter, x: Operand, weight: Operand, bias: Operand | None = None) -> Operand:
        axis = axes.resolve(self.axis, x.shape)
        rows = x if axis == 1 and len(x.shape) == 2 else emit("Flatten", x, axis=axis)
        y = emit("Gemm", rows, weight, *([bias] if bias is not None else []), transB=int(not self.transpose))
        if axis == 1:
            return y
        return emit("Reshape", y, emit.constant([-1, *self.shape(x.shape)[1:]], "int64"))

    def flops(self, x: Shape, y: Shape) -> int:
        return 2 * math.prod(y) * math.prod(x[axes.resolve(self.axis, x) :])
