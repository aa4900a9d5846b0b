"""Layers that go through time step by step: RNN, LSTM, and one step of LSTM, LSTMUnit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight, times
from nktc.layers import settings
from nktc.schema import RecurrentParameter

ZERO = Filler()


@dataclass(frozen=True)
class Recurrence:
    """What RNN and LSTM share: their settings, bottoms and weights, and what the inputs add to every step.

    A row of numbers that decides about one step of one stream is its gates, r numbers.
    """

    states: ClassVar[tuple[str, ...]]  # what goes on from step to step
    rows: ClassVar[int]  # gates an output

    outputs: int
    exposed: bool = False  # the first state comes in as bottoms, the last goes out as tops
    weight_filler: Filler = ZERO
    bias_filler: Filler = ZERO

    @classmethod
    def read(cls, p: RecurrentParameter, phase: Phase) -> Self:
        return cls(
            settings.outputs(p.num_output),
            p.expose_hidden,
            settings.filler(p.weight_filler, "weight_filler"),
            settings.filler(p.bias_filler, "bias_filler"),
        )

    @property
    def passed(self) -> tuple[str, ...]:
        """The states that come in and go out."""
        return self.states if self.exposed else ()

    def with_tops(self, tops: int) -> Self:
        made = ("y", *(f"{name}T" for name in self.passed))
        if tops != len(made):
            said = f"makes {len(made)} tops ({', '.join(made)}) with expose_hidden" if self.exposed else "makes 1 top"
            help = "" if self.exposed else "expose_hidden: true adds the last state"
            raise LayerError(f"{said}, not {tops}", field="top", help=help)
        return self

    def parted(self, more: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """What follows x and cont: x_static, where it is there, and the states that come in."""
        first = len(more) - len(self.passed)
        return more[:first], more[first:]

    def shape(self, x: Shape, cont: Shape, *more: Shape) -> list[Shape]:
        first = [f"{name}0" for name in self.passed]
        if not len(first) <= len(more) <= len(first) + 1:
            taken = f"{2 + len(first)} bottoms ({', '.join(['x', 'cont', *first])})"
            said = f"takes {taken}, or {3 + len(first)} with x_static after cont, not {2 + len(more)}"
            raise LayerError(said, field="bottom")
        if len(x) < 3:
            said = f"takes 3 axes or more (steps, streams, what a step holds), not {len(x)}"
            raise LayerError(said, field="bottom[0]", help="a Reshape before it adds axes")
        steps, streams = x[:2]
        if cont != (steps, streams):
            help = "cont is 0 where a sequence begins and 1 where one goes on"
            raise LayerError(f"its cont is {times(cont)}, not {steps}x{streams}", field="bottom[1]", help=help)
        static, states = self.parted(more)
        for one in static:
            if len(one) < 2 or one[0] != streams:
                help = "what holds for a whole sequence has the streams in axis 0, and one axis more at least"
                raise LayerError(f"its x_static is {times(one)}, for {streams} streams", field="bottom[2]", help=help)
        wanted = (1, streams, self.outputs)
        for position, (name, one) in enumerate(zip(first, states, strict=True), 2 + len(static)):
            if one != wanted:
                raise LayerError(f"its {name} is {times(one)}, not {times(wanted)}", field=f"bottom[{position}]")
        return [(steps, streams, self.outputs), *[wanted] * len(self.passed)]

    def weights(self, x: Shape, cont: Shape, *more: Shape) -> dict[str, Weight]:
        rows = self.rows * self.outputs
        static, _ = self.parted(more)
        state = Weight((1, x[1], self.outputs), learns=False, kept=False)
        return {
            "input_weight": Weight((rows, math.prod(x[2:])), self.weight_filler),
            "bias": Weight((rows,), self.bias_filler),
            **({"static_weight": Weight((rows, math.prod(static[0][1:])), self.weight_filler)} if static else {}),
            "hidden_weight": Weight((rows, self.outputs), self.weight_filler),
            **self.output_weights(),
            **({} if self.exposed else dict.fromkeys(self.states, state)),
        }

    def output_weights(self) -> dict[str, Weight]:
        """Weights of what becomes of the hidden state."""
        return {}

    def gates(self, x: Tensor, more: Sequence[Tensor], weight: Tensor, bias: Tensor, static: Tensor | None) -> Tensor:
        """What the inputs add to the gates, of all steps in one product: x[t n ..] -> gates[t n r]"""
        made = F.linear(x.flatten(2), weight, bias)
        return made if static is None else made + F.linear(more[0].flatten(1), static)

    def begin(self, more: Sequence[Tensor], held: Sequence[Tensor | None], gates: Tensor) -> list[Tensor]:
        """The states[n d] before the first step: those that come in, else those held, else zeros."""
        if self.exposed:
            return [one[0] for one in self.parted(more)[1]]
        streams = gates.shape[1]
        return [
            gates.new_zeros(streams, self.outputs) if one is None or one.shape[1] != streams else one[0] for one in held
        ]

    def lowered(
        self,
        emit: Emitter,
        x: Operand,
        cont: Operand,
        more: Sequence[Operand],
        weight: Operand,
        bias: Operand,
        static: Operand | None,
    ) -> tuple[Iterator[tuple[Operand, Operand]], list[Operand]]:
        """The gates[1 n r] and the cont[1 n 1] of every step, and the states[1 n d] before the first."""
        steps, streams = cont.shape
        gates = emit("Add", _product(emit, _flat(emit, x, 2), weight), bias)
        if static is not None:
            gates = emit("Add", gates, _product(emit, _flat(emit, more[0], 1), static))
        goes_on = emit("Reshape", cont, emit.constant([steps, streams, 1], "int64"))
        each = zip(_cut(emit, gates, steps, 0), _cut(emit, goes_on, steps, 0), strict=True)
        if self.exposed:
            return each, [*self.parted(more)[1]]
        zeros = emit.constant(np.zeros((1, streams, self.outputs)))
        return each, [zeros] * len(self.states)

    def flops(self, x: Shape, cont: Shape, *rest: Shape) -> int:
        more = rest[: -1 - len(self.passed)]
        often = {"static_weight": x[1]}
        matrices = ((n, w.shape) for n, w in self.weights(x, cont, *more).items() if n.endswith("_weight"))
        return sum(2 * math.prod(shape) * often.get(name, x[0] * x[1]) for name, shape in matrices)


class RNN(Recurrence, Layer, param="recurrent_param", tops=(1, 2), multiplies=True, sequence=True):
    """Goes through time with a hidden state: h = tanh(W x + V h + b), and its output is tanh(U h + a) at every step.

    x has the steps in axis 0 and the streams, sequences that run side by side, in axis 1; cont holds for each step and
    stream 0 where a sequence begins, so that the state starts from zero, and 1 where one goes on. A bottom x_static
    adds the same to all steps. The last state is where the next batch goes on; a batch of another number of streams
    begins from zero, and so does every run of an ONNX model. With expose_hidden the first state is a last bottom
    instead, and the last state a second top.
    """

    states = ("h",)
    rows = 1

    def output_weights(self) -> dict[str, Weight]:
        return {
            "output_weight": Weight((self.outputs, self.outputs), self.weight_filler),
            "output_bias": Weight((self.outputs,), self.bias_filler),
        }

    def forward(
        self,
        x: Tensor,
        cont: Tensor,
        *more: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        hidden_weight: Tensor,
        output_weight: Tensor,
        output_bias: Tensor,
        static_weight: Tensor | None = None,
        h: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """x[t n ..] cont[t n] x_static[n ..] h0[1 n d] h[1 n d] -> y[t n d] hT[1 n d]"""
        gates = self.gates(x, more, input_weight, bias, static_weight)
        (hidden,) = self.begin(more, [h], gates)
        found = []
        for step, goes_on in zip(gates.unbind(), cont.detach()[..., None].unbind(), strict=True):
            hidden = torch.tanh(step + F.linear(hidden * goes_on, hidden_weight))
            found.append(hidden)
        keep([h], [hidden])
        y = torch.tanh(F.linear(torch.stack(found), output_weight, output_bias))
        return (y, hidden[None]) if self.exposed else (y,)

    def onnx(
        self,
        emit: Emitter,
        x: Operand,
        cont: Operand,
        *more: Operand,
        input_weight: Operand,
        bias: Operand,
        hidden_weight: Operand,
        output_weight: Operand,
        output_bias: Operand,
        static_weight: Operand | None = None,
    ) -> tuple[Operand, ...]:
        each, (hidden,) = self.lowered(emit, x, cont, more, input_weight, bias, static_weight)
        turned = emit("Transpose", hidden_weight, perm=[1, 0])
        found = []
        for gates, goes_on in each:
            hidden = emit("Tanh", emit("Add", gates, emit("MatMul", emit("Mul", hidden, goes_on), turned)))
            found.append(hidden)
        whole = emit("Concat", *found, axis=0)
        y = emit("Tanh", emit("Add", _product(emit, whole, output_weight), output_bias))
        return (y, hidden) if self.exposed else (y,)

    def aside(self, x: Shape, cont: Shape, *rest: Shape) -> int:
        """Of each step the hidden state, the part of it that goes on, all of it stacked, and the output."""
        return 4 * math.prod(cont) * self.outputs


class LSTM(Recurrence, Layer, param="recurrent_param", tops=(1, 3), multiplies=True, sequence=True):
    """Goes through time with a hidden state h, which is its output, and a cell c that gates keep, fill and read.

    c = f c + i g and h = o tanh(c), where the sigmoids i, f and o and the tanh g are of W x + V h + b, in that order.
    x has the steps in axis 0 and the streams, sequences that run side by side, in axis 1; cont holds for each step and
    stream 0 where a sequence begins, so that h and c start from zero, and 1 where one goes on. A bottom x_static adds
    the same to all steps. The last h and c are where the next batch goes on; a batch of another number of streams
    begins from zero, and so does every run of an ONNX model. With expose_hidden the first h and c are the last bottoms
    instead, and the last h and c two more tops.
    """

    states = ("h", "c")
    rows = 4

    def forward(
        self,
        x: Tensor,
        cont: Tensor,
        *more: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        hidden_weight: Tensor,
        static_weight: Tensor | None = None,
        h: Tensor | None = None,
        c: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """x[t n ..] cont[t n] x_static[n ..] h0[1 n d] c0[1 n d] h[1 n d] c[1 n d] -> y[t n d] hT[1 n d] cT[1 n d]"""
        gates = self.gates(x, more, input_weight, bias, static_weight)
        hidden, cell = self.begin(more, [h, c], gates)
        found = []
        for step, goes_on in zip(gates.unbind(), cont.detach()[..., None].unbind(), strict=True):
            cell, hidden = unit(cell * goes_on, step + F.linear(hidden * goes_on, hidden_weight))
            found.append(hidden)
        keep([h, c], [hidden, cell])
        y = torch.stack(found)
        return (y, hidden[None], cell[None]) if self.exposed else (y,)

    def onnx(
        self,
        emit: Emitter,
        x: Operand,
        cont: Operand,
        *more: Operand,
        input_weight: Operand,
        bias: Operand,
        hidden_weight: Operand,
        static_weight: Operand | None = None,
    ) -> tuple[Operand, ...]:
        each, (hidden, cell) = self.lowered(emit, x, cont, more, input_weight, bias, static_weight)
        turned = emit("Transpose", hidden_weight, perm=[1, 0])
        found = []
        for gates, goes_on in each:
            summed = emit("Add", gates, emit("MatMul", emit("Mul", hidden, goes_on), turned))
            cell, hidden = _unit(emit, emit("Mul", cell, goes_on), summed, self.outputs)
            found.append(hidden)
        y = emit("Concat", *found, axis=0)
        return (y, hidden, cell) if self.exposed else (y,)

    def aside(self, x: Shape, cont: Shape, *rest: Shape) -> int:
        """Of each step the four gates, the tanh of the cell, and the parts of both states that go on."""
        return 7 * math.prod(cont) * self.outputs


class LSTMUnit(Layer, tops=2):
    """One step of an LSTM: from the last cell, the sums of the gates i, f, o and g, and cont the cell and the output.

    The cell is sigmoid(f) * c * cont + sigmoid(i) * tanh(g), the output sigmoid(o) * tanh(cell). Axis 0 of all three
    bottoms has length 1.
    """

    def shape(self, c: Shape, gates: Shape, cont: Shape) -> list[Shape]:
        if len(c) != 3 or c[0] != 1:
            raise LayerError(f"its cell is {times(c)}, not 1 step of streams of numbers", field="bottom[0]")
        _, streams, size = c
        if gates != (1, streams, 4 * size):
            help = "for every number of the cell there are 4 gates"
            said = f"its gates are {times(gates)}, not 1x{streams}x{4 * size}"
            raise LayerError(said, field="bottom[1]", help=help)
        if cont != (1, streams):
            help = "cont is 0 where a sequence begins and 1 where one goes on"
            raise LayerError(f"its cont is {times(cont)}, not 1x{streams}", field="bottom[2]", help=help)
        return [c, c]

    def forward(self, c: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
        """c[1 n d] gates[1 n 4*d] cont[1 n] -> c[1 n d] h[1 n d]"""
        cell, h = unit(c * cont.detach()[..., None], gates)
        # A view, so that the gradient of the top is its own, without what comes back from h.
        return cell.view_as(cell), h

    def onnx(self, emit: Emitter, c: Operand, gates: Operand, cont: Operand) -> tuple[Operand, Operand]:
        goes_on = emit("Reshape", cont, emit.constant([*cont.shape, 1], "int64"))
        return _unit(emit, emit("Mul", c, goes_on), gates, c.shape[2])

    def flops(self, c: Shape, gates: Shape, cont: Shape, *made: Shape) -> int:
        return math.prod(c) * 30  # 3 sigmoids of 5, 2 tanh of 5, 5 sums and products

    def aside(self, c: Shape, gates: Shape, cont: Shape, *made: Shape) -> int:
        """The four gates, the cell's tanh and the part of it that goes on."""
        return 6 * math.prod(c)


def unit(c: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """c[.. d] gates[.. 4*d] -> c[.. d] h[.. d]"""
    size = c.shape[-1]
    i, f, o = gates[..., : 3 * size].sigmoid().chunk(3, -1)
    cell = f * c + i * gates[..., 3 * size :].tanh()
    return cell, o * cell.tanh()


@torch.no_grad()
def keep(held: Sequence[Tensor | None], last: Sequence[Tensor]) -> None:
    """The last states[n d] into those held[1 m d], for the next forward; zeros where n is not m."""
    for one, end in zip(held, last, strict=True):
        if one is not None:
            one.copy_(end) if one.shape[1:] == end.shape else one.zero_()


def _unit(emit: Emitter, c: Operand, gates: Operand, size: int) -> tuple[Operand, Operand]:
    """What `unit` does, on 3 axes."""
    open_gates, g = emit("Split", gates, emit.constant([3 * size, size], "int64"), outputs=2, axis=2)
    i, f, o = _cut(emit, emit("Sigmoid", open_gates), 3, 2)
    cell = emit("Add", emit("Mul", f, c), emit("Mul", i, emit("Tanh", g)))
    return cell, emit("Mul", o, emit("Tanh", cell))


def _flat(emit: Emitter, x: Operand, axis: int) -> Operand:
    """x with everything from `axis` on as one axis."""
    if len(x.shape) == axis + 1:
        return x
    return emit("Reshape", x, emit.constant([*x.shape[:axis], -1], "int64"))


def _product(emit: Emitter, x: Operand, weight: Operand) -> Operand:
    return emit("MatMul", x, emit("Transpose", weight, perm=[1, 0]))


def _cut(emit: Emitter, x: Operand, parts: int, axis: int) -> Sequence[Operand]:
    """x in equal parts along an axis."""
    return emit("Split", x, outputs=parts, axis=axis) if parts > 1 else [x]
