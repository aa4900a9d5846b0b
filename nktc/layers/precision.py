"""Numbers of fewer bits: Cast and Quantize. An optimised net has them; a net may say them too."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import DType, Emitter, Layer, Operand, Phase, Shape
from nktc.schema import CastParameter, QuantizeParameter

TORCH = {DType.F32: torch.float32, DType.F16: torch.float16, DType.BF16: torch.bfloat16}
ONNX = {DType.F32: 1, DType.F16: 10, DType.BF16: 16}  # of onnx.TensorProto.DataType
TYPES = {CastParameter.FLOAT: DType.F32, CastParameter.FLOAT16: DType.F16, CastParameter.BFLOAT16: DType.BF16}


class Cast(Layer, param="cast_param", saves="nothing"):
    """Holds its input's values in another type: 32-bit floats, or halves of either kind, to which they are rounded."""

    to: DType = DType.F32

    @classmethod
    def read(cls, p: CastParameter, phase: Phase) -> Self:
        return cls(TYPES[p.type])

    def shape(self, x: Shape) -> Shape:
        return x

    def precision(self, *inputs: DType) -> DType:
        return self.to

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        # Doubles, in which gradients are checked, stay what they are.
        return x.to(torch.promote_types(x.dtype, torch.float32) if self.to is DType.F32 else TORCH[self.to])

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        if emit.target == "onnxruntime" and self.to is emit.dtype:
            # Keeps what is between two Quantizes in f32, where that is meant; it would be run in 8 bits, and slower. A
            # Cast to the same type is taken out, a Max of one is not.
            return emit("Max", x)
        return emit("Cast", x, to=ONNX[self.to])


class Quantize(Layer, param="quantize_param", saves="nothing"):
    """Rounds each value to the nearest of 256 steps, as a layer that runs in 8 bits gets it; no gradient passes.

    y = (q - zero) scale with q = x / scale + zero, rounded to even and held between 0 and 255, or, `signed`, between
    -128 and 127.
    """

    scale: float
    zero: int = 0
    signed: bool = False

    @classmethod
    def read(cls, p: QuantizeParameter, phase: Phase) -> Self:
        if not 0 < p.scale < math.inf:
            help = "add quantize_param { scale: 0.05 }, the largest value over 255"
            raise LayerError(f"scale is {p.scale:g}", field="scale", help=help)
        least, most = (-128, 127) if p.signed else (0, 255)
        if not least <= p.zero_point <= most:
            raise LayerError(f"zero_point {p.zero_point} is outside {least} to {most}", field="zero_point")
        return cls(p.scale, p.zero_point, p.signed)

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x[..] -> y[..]"""
        least, most = self.range
        steps = torch.clamp(torch.round(x.detach() / self.scale) + self.zero, least, most)
        return (steps - self.zero) * self.scale

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        scale, zero = emit.constant(self.scale), emit.constant(self.zero, "int8" if self.signed else "uint8")
        return emit("DequantizeLinear", emit("QuantizeLinear", x, scale, zero), scale, zero)

    @property
    def range(self) -> tuple[int, int]:
        """The least and the most 8-bit number."""
        return (-128, 127) if self.signed else (0, 255)

    def flops(self, x: Shape, y: Shape) -> int:
        return 4 * math.prod(y)
