"""Lstm: CTPN's recurrent layer, and ContinuationIndicator: what recurrent layers are told about their sequences."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight, times
from nktc.layers import axes, settings
from nktc.layers.recurrent import LSTM, keep, unit
from nktc.schema import ContinuationIndicatorParameter, LSTMParameter


class Lstm(Layer, param="lstm_param", multiplies=True, sequence=True):
    """Goes through time with a hidden state, which is its output, and a cell: an LSTM whose blobs are in another order.

    They are the weights of the input, those of the hidden state, and the bias, of the gates i, f, o and g. The steps
    are in axis 0, the sequences in axis 1. Every batch begins anew; with a second bottom, 0 where a sequence begins and
    1 where one goes on, the last batch's state goes on. With a clipping_threshold the gradients of the gates of each
    step stay within it. Source: CTPN, which has it from J. Lee's caffe-lstm, on a GPU: on a CPU it gives all sequences
    what the hidden state of the first one comes to.
    """

    outputs: int
    clip: float = 0.0
    weight_filler: Filler = Filler()
    bias_filler: Filler = Filler()

    @classmethod
    def read(cls, p: LSTMParameter, phase: Phase) -> Self:
        weight = settings.filler(p.weight_filler, "weight_filler")
        return cls(
            settings.outputs(p.num_output),
            max(0.0, p.clipping_threshold),
            weight,
            settings.filler(p.bias_filler, "bias_filler"),
        )

    def shape(self, x: Shape, cont: Shape | None = None) -> Shape:
        if len(x) < 3:
            said = f"takes 3 axes or more (steps, sequences, what a step holds), not {len(x)}"
            raise LayerError(said, field="bottom", help="a Reshape before it adds axes")
        if cont is not None and cont != x[:2]:
            help = "it is 0 where a sequence begins and 1 where one goes on"
            raise LayerError(f"its second bottom is {times(cont)}, not {times(x[:2])}", field="bottom[1]", help=help)
        return (*x[:2], self.outputs)

    def weights(self, x: Shape, cont: Shape | None = None) -> dict[str, Weight]:
        rows = 4 * self.outputs
        state = Weight((1, x[1], self.outputs), learns=False, kept=False)
        return {
            "input_weight": Weight((rows, math.prod(x[2:])), self.weight_filler),
            "hidden_weight": Weight((rows, self.outputs), self.weight_filler),
            "bias": Weight((rows,), self.bias_filler),
            **({} if cont is None else {"h": state, "c": state}),
        }

    def forward(
        self,
        x: Tensor,
        cont: Tensor | None = None,
        *,
        input_weight: Tensor,
        hidden_weight: Tensor,
        bias: Tensor,
        h: Tensor | None = None,
        c: Tensor | None = None,
    ) -> Tensor:
        """x[t n ..] cont[t n] h[1 n d] c[1 n d] -> y[t n d]"""
        gates = F.linear(x.flatten(2), input_weight, bias)
        streams = x.shape[1]
        hidden, cell = (
            gates.new_zeros(streams, self.outputs) if one is None or one.shape[1] != streams else one[0]
            for one in (h, c)
        )
        goes_on = None if cont is None else (cont.detach() != 0).to(gates.dtype)[..., None]
        found: list[Tensor] = []
        for step, row in enumerate(gates.unbind()):
            if goes_on is not None:
                hidden, cell = hidden * goes_on[step], cell * goes_on[step]
            summed = row + F.linear(hidden, hidden_weight) if found or goes_on is not None else row
            cell, hidden = unit(cell, Clipped.apply(summed, self.clip) if self.clip else summed)
            found.append(hidden)
        keep([h, c], [hidden, cell])
        return torch.stack(found)

    def onnx(
        self,
        emit: Emitter,
        x: Operand,
        cont: Operand | None = None,
        *,
        input_weight: Operand,
        hidden_weight: Operand,
        bias: Operand,
    ) -> Operand:
        steps, streams = x.shape[:2]
        goes_on = emit.constant(np.arange(steps)[:, None].clip(max=1).repeat(streams, 1)) if cont is None else cont
        same = LSTM(self.outputs)
        made: Any = same.onnx(emit, x, goes_on, input_weight=input_weight, bias=bias, hidden_weight=hidden_weight)
        return made[0]

    def flops(self, x: Shape, *rest: Shape) -> int:
        return 8 * x[0] * x[1] * self.outputs * (math.prod(x[2:]) + self.outputs)

    def aside(self, x: Shape, *rest: Shape) -> int:
        """Of each step the four gates, the tanh of the cell, and the parts of both states that go on."""
        return 7 * x[0] * x[1] * self.outputs


class Clipped(torch.autograd.Function):
    """The same values; their gradients stay within a bound."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.bound = bound
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.clamp(-ctx.bound, ctx.bound), None


class ContinuationIndicator(Layer, param="continuation_indicator_param", saves="nothing"):
    """Makes what recurrent layers take as their second bottom: 0 at the first step, 1 at the others, for each sequence.

    The bottom tells how many sequences there are, by its axis `axis`; without one `streams` does. Source: DeepDetect's
    Caffe.
    """

    steps: int
    axis: int = 0
    streams: int = 0

    @classmethod
    def read(cls, p: ContinuationIndicatorParameter, phase: Phase) -> Self:
        if p.time_step < 1:
            raise LayerError("has no time_step", field="time_step", help="add time_step: 32 (any number from 1)")
        return cls(p.time_step, p.axis, p.batch_size)

    def shape(self, x: Shape | None = None) -> Shape:
        if x is None and self.streams < 1:
            help = "add batch_size, or a bottom that has one"
            raise LayerError("does not know how many sequences there are", field="batch_size", help=help)
        return (self.steps, self.streams if x is None else x[axes.resolve(self.axis, x)])

    def forward(self, x: Tensor | None = None) -> Tensor:
        """x[.. n ..] -> y[t n]"""
        streams = self.streams if x is None else x.shape[self.axis]
        y = torch.ones(self.steps, streams) if x is None else x.new_ones(self.steps, streams)
        y[0] = 0
        return y

    def onnx(self, emit: Emitter, x: Operand | None = None) -> Operand:
        streams = self.streams if x is None else x.shape[self.axis]
        return emit.constant(np.arange(self.steps)[:, None].clip(max=1).repeat(streams, 1))
