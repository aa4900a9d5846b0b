"""Parameter: a learned blob of its own."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Filler, Layer, Operand, Phase, Shape, Weight
from nktc.layers import settings
from nktc.layers.input import blob_shape
from nktc.schema import ParameterParameter


class Parameter(Layer, param="parameter_param"):
    """A learned blob that other layers take as a bottom; it starts at 0, or as caffe-windows's `blob_filler` tells."""

    extent: Shape
    filler: Filler = Filler()

    @classmethod
    def read(cls, p: ParameterParameter, phase: Phase) -> Self:
        if not p.HasField("shape"):
            raise LayerError("has no shape", help="add parameter_param { shape { dim: 10 dim: 3 } }")
        return cls(blob_shape(p.shape), settings.filler(p.blob_filler, "blob_filler"))

    def shape(self) -> Shape:
        return self.extent

    def weights(self) -> dict[str, Weight]:
        return {"value": Weight(self.extent, self.filler)}

    def forward(self, value: Tensor) -> Tensor:
        """value[..] -> y[..]"""
        return value

    def onnx(self, emit: Emitter, value: Operand) -> Operand:
        return value
