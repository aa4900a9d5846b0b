"""Embed: a learned row for each number."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import cast, settings
from nktc.schema import EmbedParameter


class Embed(Layer, param="embed_param"):
    """Replaces each number of its input, 0 to `rows` - 1, by its learned row, and adds a learned bias."""

    outputs: int
    rows: int
    bias: bool = True
    weight_filler: Filler = Filler()
    bias_filler: Filler = Filler()

    @classmethod
    def read(cls, p: EmbedParameter, phase: Phase) -> Self:
        if p.input_dim < 1:
            help = "add input_dim: 1000 (how many numbers there are, from 1)"
            raise LayerError("has no input_dim", field="input_dim", help=help)
        return cls(
            settings.outputs(p.num_output),
            p.input_dim,
            p.bias_term,
            settings.filler(p.weight_filler, "weight_filler"),
            settings.filler(p.bias_filler, "bias_filler"),
        )

    def shape(self, index: Shape) -> Shape:
        return (*index, self.outputs)

    def weights(self, index: Shape) -> dict[str, Weight]:
        weights = {"weight": Weight((self.rows, self.outputs), self.weight_filler)}
        if self.bias:
            weights["bias"] = Weight((self.outputs,), self.bias_filler)
        return weights

    def forward(self, index: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """index[n..] weight[r o] bias[o] -> y[n.. o]"""
        rows = F.embedding(index.long(), weight)
        return rows if bias is None else rows + bias

    def onnx(self, emit: Emitter, index: Operand, weight: Operand, bias: Operand | None = None) -> Operand:
        rows = emit("Gather", weight, cast.integers(emit, index), axis=0)
        return rows if bias is None else emit("Add", rows, bias)

    def flops(self, index: Shape, y: Shape) -> int:
        return math.prod(y) if self.bias else 0
