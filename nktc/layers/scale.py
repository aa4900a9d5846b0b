"""Scale: a factor along some axes, learned or given, and a bias."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight, times
from nktc.layers import axes, settings
from nktc.schema import ScaleParameter


class Scale(Layer, param="scale_param", in_place=True):
    """Multiplies its input by a factor that runs along some of its axes, from `axis` on, and may add a bias.

    The factor is learned over `num_axes` axes (-1: all from `axis` on, 0: a single number), or is the second
    input.
    """

    axis: int = 1
    num_axes: int = 1
    bias: bool = False
    weight_filler: Filler = Filler(value=1.0)
    bias_filler: Filler = Filler()

    @classmethod
    def read(cls, p: ScaleParameter, phase: Phase) -> Self:
        if p.num_axes < -1:
            raise LayerError(f"num_axes is {p.num_axes}", field="num_axes", help="-1 takes all axes from axis on")
        return cls(
            p.axis,
            p.num_axes,
            p.bias_term,
            settings.filler(p.filler, "filler") if p.HasField("filler") else Filler(value=1.0),
            settings.filler(p.bias_filler, "bias_filler"),
        )

    def shape(self, x: Shape, factor: Shape | None = None) -> Shape:
        first, along = self._along(x, factor)
        if x[first : first + len(along)] != along:
            raise LayerError(
                f"its factor {times(along)} does not match its input {times(x)} from axis {first} on",
                field="bottom",
            )
        return x

    def weights(self, x: Shape, factor: Shape | None = None) -> dict[str, Weight]:
        _, along = self._along(x, factor)
        weights = {} if factor is not None else {"weight": Weight(along, self.weight_filler)}
        if self.bias:
            weights["bias"] = Weight(along, self.bias_filler)
        return weights

    def forward(
        self,
        x: Tensor,
        factor: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """x[n.. c.. p..] factor[c..] (or weight[c..]) bias[c..] -> y[n.. c.. p..]"""
        given = weight if factor is None else factor
        assert given is not None
        first = self._first(x.dim(), given.dim())
        aligned = (*given.shape, *(1,) * (x.dim() - first - given.dim()))
        if bias is None:
            return x * given.reshape(aligned)
        return torch.addcmul(bias.reshape(aligned), x, given.reshape(aligned))

    def onnx(
        self,
        emit: Emitter,
        x: Operand,
        factor: Operand | None = None,
        *,
        weight: Operand | None = None,
        bias: Operand | None = None,
    ) -> Operand:
        given = weight if factor is None else factor
        assert given is not None
        first, along = self._along(x.shape, None if factor is None else factor.shape)
        aligned = [*along, *(1,) * (len(x.shape) - first - len(along))]

        def align(operand: Operand) -> Operand:
            if len(aligned) == len(along):
                return operand
            batch = factor is not None and operand is factor and first == 0 and bool(along)
            return emit("Reshape", operand, emit.constant(emit.batched(tuple(aligned)) if batch else aligned, "int64"))

        y = emit("Mul", x, align(given))
        return y if bias is None else emit("Add", y, align(bias))

    def flops(self, *shapes: Shape) -> int:
        return math.prod(shapes[-1]) * (2 if self.bias else 1)

    def _first(self, axes_of_input: int, axes_of_factor: int) -> int:
        return 0 if axes_of_factor == 0 else self.axis % axes_of_input

    def _along(self, x: Shape, factor: Shape | None) -> tuple[int, Shape]:
        """The first axis the factor runs along, and its shape. Raises LayerError."""
        if factor is not None and not factor:
            return 0, ()
        first = axes.resolve(self.axis, x)
        count = len(factor) if factor is not None else len(x) - first if self.num_axes == -1 else self.num_axes
        if first + count > len(x):
            field = "num_axes" if factor is None else "bottom"
            raise LayerError(f"its factor runs along {count} axes from {first} on, its input has {len(x)}", field=field)
        return first, x[first : first + count] if factor is None else factor
