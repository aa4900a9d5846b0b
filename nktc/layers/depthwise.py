"""DepthwiseConvolution and ConvolutionDepthwise: the forks' convolutions of each channel on its own."""

from __future__ import annotations

from typing import Self

from nktc.errors import LayerError
from nktc.ir import Phase, Shape
from nktc.layers import settings
from nktc.layers.convolution import Convolution
from nktc.schema import ConvolutionParameter


class DepthwiseConvolution(Convolution, param="convolution_param", each=True, multiplies=True):
    """A Convolution under the name that MobileNet-YOLO has for one with as many groups as channels.

    `group` is what it says, 1 unless given, as in that fork on the CPU.
    """


class ConvolutionDepthwise(Convolution, param="convolution_param", each=True, multiplies=True):
    """Slides a learned window of its own over each channel: a Convolution with as many groups as channels.

    `num_output` is the number of channels, with `group` or without: as many as num_output, or 1 for left out.
    """

    @classmethod
    def read(cls, p: ConvolutionParameter, phase: Phase) -> Self:
        outputs = settings.outputs(p.num_output)
        if p.group not in (1, outputs):
            said = f"group {p.group} is not its num_output {outputs}"
            raise LayerError(said, field="group", help="leave it out, or use Convolution")
        grouped = ConvolutionParameter()
        grouped.CopyFrom(p)
        grouped.group = outputs
        return super().read(grouped, phase)

    def parts(self, x: Shape) -> tuple[Shape, int, Shape]:
        found = super().parts(x) if len(x) > 1 and x[self.axis % len(x)] == self.outputs else None
        if found is None:
            raise LayerError(
                f"makes one output channel of each input channel, not {self.outputs} of {x[1] if len(x) > 1 else 0}",
                field="num_output",
                help="use Convolution with group for another number",
            )
        return found
