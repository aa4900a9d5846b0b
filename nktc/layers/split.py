"""One input to several outputs, or to none: Slice, Split, Silence, MatWrite."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Self

from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import MANY, Emitter, Layer, Operand, Phase, Shape
from nktc.layers import axes
from nktc.schema import MatWriteParameter, SliceParameter


class Slice(Layer, param="slice_param", tops=(1, MANY), saves="nothing"):
    """Cuts its input along `axis`, one part a top: at the `points`, or into equal parts where there are none."""

    axis: int = 1
    points: tuple[int, ...] = ()  # where each part but the first starts
    parts: int = 1  # how many equal ones, without points

    @classmethod
    def read(cls, p: SliceParameter, phase: Phase) -> Self:
        if p.HasField("axis") and p.HasField("slice_dim"):
            raise LayerError("axis and slice_dim are both given", field="slice_dim", help="keep axis")
        for before, after in pairwise((0, *p.slice_point)):
            if after <= before:
                help = "each starts the next part, so they rise from 1 on"
                raise LayerError(f"slice_point {after} follows {before}", field="slice_point", help=help)
        return cls(p.slice_dim if p.HasField("slice_dim") else p.axis, tuple(p.slice_point))

    def with_tops(self, tops: int) -> Self:
        if not self.points:
            return replace(self, parts=tops)
        if len(self.points) != tops - 1:
            help = "give one for each top but the first"
            raise LayerError(f"has {len(self.points)} slice_point for {tops} tops", field="slice_point", help=help)
        return self

    def sizes(self, x: Shape) -> list[int]:
        """How much of the axis each part has. Raises LayerError."""
        axis = axes.resolve(self.axis, x)
        whole = x[axis]
        if not self.points:
            if whole % self.parts:
                help = "give slice_point"
                raise LayerError(f"axis {axis} of {whole} does not divide by {self.parts} tops", field="top", help=help)
            return [whole // self.parts] * self.parts
        if self.points[-1] >= whole:
            raise LayerError(f"slice_point {self.points[-1]} is not inside axis {axis} of {whole}", field="slice_point")
        return [after - before for before, after in pairwise((0, *self.points, whole))]

    def shape(self, x: Shape) -> list[Shape]:
        sizes = self.sizes(x)
        axis = self.axis % len(x)
        return [(*x[:axis], size, *x[axis + 1 :]) for size in sizes]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x[n.. i+j+.. p..] -> y0[n.. i p..] y1[n.. j p..] .."""
        return x.tensor_split(self.points or self.parts, self.axis)

    def onnx(self, emit: Emitter, x: Operand) -> Any:
        sizes = self.sizes(x.shape)
        if len(sizes) == 1:
            return x
        return emit(
            "Split", x, emit.constant(sizes, "int64"), outputs=len(sizes), axis=axes.resolve(self.axis, x.shape)
        )


class Split(Layer, tops=(1, MANY), saves="nothing"):
    """Hands its input to every top. Nets need not say it: any number of layers may take a blob."""

    copies: int = 1

    def with_tops(self, tops: int) -> Self:
        return replace(self, copies=tops)

    def shape(self, x: Shape) -> list[Shape]:
        return [x] * self.copies

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x[..] -> y0[..] y1[..] .."""
        # Views, so that each copy has a gradient of its own.
        return tuple(x.view_as(x) for _ in range(self.copies))

    def onnx(self, emit: Emitter, x: Operand) -> tuple[Operand, ...]:
        return (x,) * self.copies


class Silence(Layer, tops=0, saves="nothing"):
    """Takes blobs that nobody wants, so that they are no outputs of the net."""

    def shape(self, *inputs: Shape) -> list[Shape]:
        return []

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """x0[..] x1[..] .. -> nothing"""
        return ()


class MatWrite(Silence, param="mat_write_param", tops=0, saves="nothing"):
    """Takes blobs as Silence does: where DeepLab's Caffe writes them to files of MATLAB, nothing is written here.

    `nktc infer --blob NAME` or `nktc extract_features` gives them. Source: DeepLab.
    """

    @classmethod
    def read(cls, p: MatWriteParameter, phase: Phase) -> Self:
        return cls()
