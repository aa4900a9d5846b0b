"""Attention: every place of a sequence gathers from the others what is of use to it."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight, times
from nktc.layers import settings
from nktc.schema import AttentionParameter


class Attention(Layer, param="attention_param", multiplies=True):
    """Lets every place of a sequence gather from the others: multi-head scaled dot-product attention.

    Takes x, or x and a memory that keys and values come from. Its weights are those of torch's MultiheadAttention: the
    projection to query, key and value one below the other (with a memory: that of the query, then those of key and
    value), their biases, the output's projection and its bias. Source: Vaswani et al. 2017.
    """

    heads: int = 1
    causal: bool = False
    bias: bool = True
    dropout: float = 0.0  # share of the attention weights dropped; 0 in TEST
    weight_filler: Filler = Filler()
    bias_filler: Filler = Filler()

    @classmethod
    def read(cls, p: AttentionParameter, phase: Phase) -> Self:
        if p.num_heads < 1:
            raise LayerError("num_heads is 0", field="num_heads", help="num_heads starts at 1")
        if not 0 <= p.dropout_ratio < 1:
            raise LayerError(f"dropout_ratio is {p.dropout_ratio:g}", field="dropout_ratio", help="0 to below 1")
        return cls(
            p.num_heads,
            p.causal,
            p.bias_term,
            p.dropout_ratio if phase is Phase.TRAIN else 0.0,
            settings.filler(p.weight_filler, "weight_filler"),
            settings.filler(p.bias_filler, "bias_filler"),
        )

    def shape(self, x: Shape, memory: Shape | None = None) -> Shape:
        for shape in (x, memory or x):
            if len(shape) != 3:
                raise LayerError(f"takes 3 axes (batch, places, width), not {len(shape)}", field="bottom")
        if x[2] % self.heads:
            raise LayerError(f"num_heads {self.heads} does not divide its width {x[2]}", field="num_heads")
        if memory and memory[0] != x[0]:
            raise LayerError(f"its inputs {times(x)} and {times(memory)} differ in axis 0, the batch", field="bottom")
        if memory and self.causal:
            raise LayerError(
                "causal goes without a memory", field="causal", help="its places have an order of their own"
            )
        return x

    def weights(self, x: Shape, memory: Shape | None = None) -> dict[str, Weight]:
        width = x[2]
        weights = {"in_weight": Weight((width if memory else 3 * width, width), self.weight_filler)}
        if memory:
            weights["memory_weight"] = Weight((2 * width, memory[2]), self.weight_filler)
        if self.bias:
            weights["in_bias"] = Weight((3 * width,), self.bias_filler)
        weights["out_weight"] = Weight((width, width), self.weight_filler)
        if self.bias:
            weights["out_bias"] = Weight((width,), self.bias_filler)
        return weights

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        in_weight: Tensor,
        out_weight: Tensor,
        memory_weight: Tensor | None = None,
        in_bias: Tensor | None = None,
        out_bias: Tensor | None = None,
    ) -> Tensor:
        """x[n t d] memory[n s e] in_weight[3d d] (with a memory [d d], memory_weight[2d e]) in_bias[3d]
        out_weight[d d] out_bias[d] -> y[n t d]"""
        width = x.shape[2]
        if memory is None or memory_weight is None:
            query, key, value = F.linear(x, in_weight, in_bias).chunk(3, 2)
        else:
            query = F.linear(x, in_weight, None if in_bias is None else in_bias[:width])
            both = F.linear(memory, memory_weight, None if in_bias is None else in_bias[width:])
            key, value = both.chunk(2, 2)
        mixed = F.scaled_dot_product_attention(
            self._split(query), self._split(key), self._split(value), dropout_p=self.dropout, is_causal=self.causal
        )
        return F.linear(mixed.transpose(1, 2).flatten(2), out_weight, out_bias)

    def onnx(
        self,
        emit: Emitter,
        x: Operand,
        memory: Operand | None = None,
        *,
        in_weight: Operand,
        out_weight: Operand,
        memory_weight: Operand | None = None,
        in_bias: Operand | None = None,
        out_bias: Operand | None = None,
    ) -> Operand:
        batch, places, width = x.shape
        head = width // self.heads

        def linear(x: Operand, weight: Operand, bias: Operand | None) -> Operand:
            y = emit("MatMul", x, emit("Transpose", weight, perm=[1, 0]))
            return y if bias is None else emit("Add", y, bias)

        def split(x: Operand, places: int, perm: list[int]) -> Operand:
            shape = emit.constant(emit.batched((batch, places, self.heads, head)), "int64")
            return emit("Transpose", emit("Reshape", x, shape), perm=perm)

        if memory is None or memory_weight is None:
            seen = places
            query, key, value = emit("Split", linear(x, in_weight, in_bias), outputs=3, axis=2)
        else:
            seen = memory.shape[1]
            biases = None, None
            if in_bias is not None:
                biases = emit("Split", in_bias, emit.constant([width, 2 * width], "int64"), outputs=2, axis=0)
            query = linear(x, in_weight, biases[0])
            key, value = emit("Split", linear(memory, memory_weight, biases[1]), outputs=2, axis=2)
        scaled = emit("Mul", query, emit.constant(1 / math.sqrt(head)))
        scores = emit("MatMul", split(scaled, places, [0, 2, 1, 3]), split(key, seen, [0, 2, 3, 1]))
        if self.causal:
            scores = emit("Add", scores, emit.constant(np.triu(np.full((places, places), -np.inf), 1)))
        mixed = emit("MatMul", emit("Softmax", scores, axis=-1), split(value, seen, [0, 2, 1, 3]))
        rows = emit(
            "Reshape", emit("Transpose", mixed, perm=[0, 2, 1, 3]), emit.constant(emit.batched(x.shape), "int64")
        )
        return linear(rows, out_weight, out_bias)

    def flops(self, *shapes: Shape) -> int:
        """The projections and both products, all places with all; the softmax is not counted."""
        batch, places, width = shapes[0]
        seen, depth = shapes[-2][1:]
        projections = 2 * places * width * width + 2 * seen * width * depth
        return 2 * batch * (projections + 2 * places * seen * width)

    def _split(self, x: Tensor) -> Tensor:
        """x[n t d] -> [n h t d/h]"""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
