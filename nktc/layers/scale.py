"""Scale and Bias: a factor, and a bias, along some axes, learned or given."""

from __future__ import annotations

import math
from typing import Self

from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight, times
from nktc.layers import axes, settings
from nktc.schema import BiasParameter, ScaleParameter


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
        return cls(
            p.axis,
            _count(p),
            p.bias_term,
            settings.filler(p.filler, "filler") if p.HasField("filler") else Filler(value=1.0),
            settings.filler(p.bias_filler, "bias_filler"),
        )

    def shape(self, x: Shape, factor: Shape | None = None) -> Shape:
        _along("factor", self.axis, self.num_axes, x, factor)
        return x

    def weights(self, x: Shape, factor: Shape | None = None) -> dict[str, Weight]:
        along = _along("factor", self.axis, self.num_axes, x, factor)
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
        aligned = _aligned(self.axis, x.dim(), tuple(given.shape))
        scaled = x * given.reshape(aligned)
        # torch.addcmul would take the bias's layout for x's.
        return scaled if bias is None else scaled + bias.reshape(aligned)

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
        y = emit("Mul", x, _align(emit, self.axis, x, given, given is factor))
        return y if bias is None else emit("Add", y, _align(emit, self.axis, x, bias))

    def flops(self, *shapes: Shape) -> int:
        return math.prod(shapes[-1]) * (2 if self.bias else 1)


class Bias(Layer, param="bias_param", in_place=True, saves="nothing"):
    """Adds a bias that runs along some of its input's axes, from `axis` on.

    The bias is learned over `num_axes` axes (-1: all from `axis` on, 0: a single number), or is the second input.
    """

    axis: int = 1
    num_axes: int = 1
    filler: Filler = Filler()

    @classmethod
    def read(cls, p: BiasParameter, phase: Phase) -> Self:
        return cls(p.axis, _count(p), settings.filler(p.filler, "filler"))

    def shape(self, x: Shape, given: Shape | None = None) -> Shape:
        _along("bias", self.axis, self.num_axes, x, given)
        return x

    def weights(self, x: Shape, given: Shape | None = None) -> dict[str, Weight]:
        if given is not None:
            return {}
        return {"bias": Weight(_along("bias", self.axis, self.num_axes, x, given), self.filler)}

    def forward(self, x: Tensor, given: Tensor | None = None, *, bias: Tensor | None = None) -> Tensor:
        """x[n.. c.. p..] given[c..] (or bias[c..]) -> y[n.. c.. p..]"""
        added = bias if given is None else given
        assert added is not None
        return x + added.reshape(_aligned(self.axis, x.dim(), tuple(added.shape)))

    def onnx(self, emit: Emitter, x: Operand, given: Operand | None = None, *, bias: Operand | None = None) -> Operand:
        added = bias if given is None else given
        assert added is not None
        return emit("Add", x, _align(emit, self.axis, x, added, added is given))

    def flops(self, *shapes: Shape) -> int:
        return math.prod(shapes[-1])


def _count(p: ScaleParameter | BiasParameter) -> int:
    """num_axes, from -1 on. Raises LayerError."""
    if p.num_axes < -1:
        raise LayerError(f"num_axes is {p.num_axes}", field="num_axes", help="-1 takes all axes from axis on")
    return p.num_axes


def _along(what: str, axis: int, num_axes: int, x: Shape, given: Shape | None) -> Shape:
    """The shape of the factor or bias, which runs along axes of `x`. Raises LayerError."""
    if given == ():  # a single number runs along no axis, whatever `axis` says
        return ()
    first = axes.resolve(axis, x)
    count = len(given) if given is not None else len(x) - first if num_axes == -1 else num_axes
    if first + count > len(x):
        field = "num_axes" if given is None else "bottom"
        raise LayerError(f"its {what} runs along {count} axes from {first} on, its input has {len(x)}", field=field)
    own = x[first : first + count]
    if given is not None and given != own:
        raise LayerError(
            f"its {what} {times(given)} does not match its input {times(x)} from axis {first} on", field="bottom"
        )
    return own


def _aligned(axis: int, axes_of_input: int, shape: Shape) -> Shape:
    """`shape` with an axis of size 1 for each axis of the input behind it, so that it broadcasts."""
    first = axis % axes_of_input if shape else 0
    return (*shape, *(1,) * (axes_of_input - first - len(shape)))


def _align(emit: Emitter, axis: int, x: Operand, given: Operand, fed: bool = False) -> Operand:
    """`given` in its aligned shape; its axis 0 may be the batch where it is `fed`."""
    aligned = _aligned(axis, len(x.shape), given.shape)
    if aligned == given.shape:
        return given
    batch = fed and bool(given.shape) and axis % len(x.shape) == 0
    return emit("Reshape", given, emit.constant(emit.batched(aligned) if batch else aligned, "int64"))
