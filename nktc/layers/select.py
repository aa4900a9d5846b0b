"""Some of the values, or where they are: ArgMax, BatchReindex, Filter."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import MANY, Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers import axes, cast
from nktc.layers.reshape import target
from nktc.schema import ArgMaxParameter

_FIRST = -(1 << 63)  # as the end of a backward ONNX Slice: past the first element


class ArgMax(Layer, param="argmax_param"):
    """Finds where the `top_k` largest values along `axis` are, the largest first; of equal ones the last comes first.

    `values` gives the values in their stead. Without an axis an item is looked at as a whole, the output is
    [n 1 top_k] (with 1s behind where the input has more axes), and `values` gives both, as [n 2 top_k].
    """

    top_k: int = 1
    axis: int | None = None
    values: bool = False

    @classmethod
    def read(cls, p: ArgMaxParameter, phase: Phase) -> Self:
        if p.top_k < 1:
            raise LayerError("top_k is 0", field="top_k", help="top_k starts at 1")
        return cls(p.top_k, p.axis if p.HasField("axis") else None, p.out_max_val)

    def shape(self, x: Shape) -> Shape:
        axis, candidates = self.along(x)
        if self.top_k > candidates:
            raise LayerError(f"top_k {self.top_k} is more than its {candidates} values", field="top_k")
        if self.axis is None:
            return (x[0], 2 if self.values else 1, self.top_k, *(1 for _ in x[3:]))
        return (*x[:axis], self.top_k, *x[axis + 1 :])

    def along(self, x: Shape) -> tuple[int, int]:
        """The axis it looks along, and its size; without an axis it is axis 1 of the flattened items."""
        axis = axes.resolve(0 if self.axis is None else self.axis, x)
        return (1, math.prod(x[1:])) if self.axis is None else (axis, x[axis])

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """x[n.. i p..] -> y[n.. k p..]; without an axis x[n i..] -> y[n 1|2 k 1..]"""
        axis, candidates = self.along(x.shape)
        items = x.reshape(-1, candidates) if self.axis is None else x
        # Of equal values torch finds the first: backwards it is the last.
        backwards = items.flip(axis)
        if self.top_k == 1:
            values, places = backwards.max(axis, keepdim=True)
        else:
            ordered = backwards.sort(dim=axis, descending=True, stable=True)
            values, places = (found.narrow(axis, 0, self.top_k) for found in ordered)
        found = (candidates - 1 - places).to(x.dtype)
        if self.axis is not None:
            return values if self.values else found
        planes = torch.stack([found, values], 1) if self.values else found.unsqueeze(1)
        return planes.reshape(*planes.shape, *(1 for _ in x.shape[3:]))

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        axis, candidates = self.along(x.shape)
        items = emit("Flatten", x, axis=1) if self.axis is None else x
        backwards = emit("Slice", items, *(emit.constant([n], "int64") for n in (-1, _FIRST, axis, -1)))
        values, places = emit("TopK", backwards, emit.constant([self.top_k], "int64"), outputs=2, axis=axis)
        found = emit("Sub", emit.constant(candidates - 1), emit("CastLike", places, values))
        if self.axis is not None:
            return values if self.values else found
        planes = emit("Concat", found, values, axis=1) if self.values else found
        shape = target(emit, x.shape, self.shape(x.shape))
        return emit("Reshape", planes, emit.constant(shape, "int64"))


class BatchReindex(Layer):
    """Makes a batch of items of its first input: those whose numbers, from 0, the second input lists."""

    def shape(self, x: Shape, index: Shape) -> Shape:
        axes.resolve(0, x)
        if len(index) != 1:
            raise LayerError(f"its second input {times(index)} has {len(index)} axes, not 1", field="bottom")
        return (*index, *x[1:])

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """x[n p..] index[m] -> y[m p..]"""
        return x.index_select(0, index.long())

    def onnx(self, emit: Emitter, x: Operand, index: Operand) -> Operand:
        return emit("Gather", x, cast.integers(emit, index), axis=0)


class Filter(Layer, tops=(1, MANY), open_axis=0):
    """Keeps the items for which its last input is not 0, of each other input.

    How many that is only a batch tells; the shapes in a listing are those when all pass.
    """

    filtered: int = 1  # inputs that are filtered

    def with_tops(self, tops: int) -> Self:
        return replace(self, filtered=tops)

    def shape(self, first: Shape, second: Shape, *more: Shape) -> list[Shape]:
        inputs = [first, second, *more]
        items, selector = inputs[:-1], inputs[-1]
        if len(items) != self.filtered:
            raise LayerError(
                f"makes one top for each bottom but the last: {len(items)} here, not {self.filtered}", field="top"
            )
        axes.resolve(0, selector)
        if math.prod(selector[1:]) != 1:
            raise LayerError(f"its last input {times(selector)} is not one number an item", field="bottom")
        for x in items:
            if x[:1] != selector[:1]:
                raise LayerError(
                    f"its last input has {selector[0]} numbers for the items of {times(x)}", field="bottom"
                )
        return items

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """x0[n p..] x1[n q..] .. selector[n] -> y0[m p..] y1[m q..] .."""
        kept = inputs[-1].flatten().nonzero().squeeze(1)
        return tuple(x.index_select(0, kept) for x in inputs[:-1])
