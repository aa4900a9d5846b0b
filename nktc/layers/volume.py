"""C3D's layers over depth (time), height and width: Convolution3D, Deconvolution3D, Pooling3D."""

from __future__ import annotations

from typing import Self

from nktc.errors import LayerError
from nktc.ir import Layer, Phase, Shape
from nktc.layers.convolution import Convolution, LearnedWindow
from nktc.layers.deconvolution import Deconvolution
from nktc.layers.pooling import Pool
from nktc.layers.window import positive
from nktc.schema import Convolution3DParameter, ConvolutionParameter, Pooling3DParameter


class Frames(LearnedWindow):
    """What Convolution3D and Deconvolution3D share: how their settings are spelt."""

    @classmethod
    def read(cls, p: Convolution3DParameter, phase: Phase) -> Self:  # type: ignore[override]
        plain = ConvolutionParameter(
            num_output=p.num_output,
            bias_term=p.bias_term,
            weight_filler=p.weight_filler,
            bias_filler=p.bias_filler,
            kernel_size=_cells(p),
            stride=(p.temporal_stride, p.stride, p.stride),
            pad=(p.temporal_pad, p.pad, p.pad),
        )
        return super().read(plain, phase)

    def parts(self, x: Shape) -> tuple[Shape, int, Shape]:
        _volume(x)
        return super().parts(x)


class Convolution3D(Frames, Convolution, param="convolution3d_param", each=True, multiplies=True):
    """Slides a learned window over depth (time), height and width: a Convolution of 3 spatial axes.

    `kernel`, `stride`, `pad` are depth, height and width. Groups are without effect, as in C3D. Source: C3D.
    """


class Deconvolution3D(Frames, Deconvolution, param="convolution3d_param", each=True, multiplies=True):
    """Writes a learned window over depth (time), height and width for each value: a Deconvolution of 3 spatial axes.

    `kernel`, `stride`, `pad` are depth, height and width. Source: C3D.
    """


class Pooling3D(Pool, Layer, param="pooling3d_param"):
    """Replaces each window over depth (time), height and width by its largest value (MAX) or its mean (AVE).

    `kernel`, `stride` and `pad` are depth, height and width; depth has no pad. Sizes are rounded up and windows cut off
    as by Pooling. Source: C3D.
    """

    @classmethod
    def read(cls, p: Pooling3DParameter, phase: Phase) -> Self:
        method = Pooling3DParameter.PoolMethod.Name(p.pool)
        if method == "STOCHASTIC":
            raise LayerError("STOCHASTIC is not in C3D either", field="pool", help="use MAX or AVE")
        if p.pad and method != "AVE":
            raise LayerError(f"{method} takes no pad", field="pad", help="drop pad, or use AVE")
        stride = positive((p.temporal_stride, p.stride, p.stride), "stride")
        return cls(method, _cells(p), stride, (0, p.pad, p.pad))

    def shape(self, x: Shape) -> Shape:
        _volume(x)
        return (*x[:2], *self.positions(x[2:]))

    def positions(self, size: Shape) -> Shape:
        # C3D drops no window behind the picture, with padding or without; with neither is there one to drop.
        found = super().positions(size)
        window = self.window(size)
        for axis, (n, k, s, q) in enumerate(zip(size, window.kernel, window.stride, window.pad, strict=True)):
            if found[axis] != -(-(n + 2 * q - k) // s) + 1:
                raise LayerError(
                    f"its last window on an axis of {n} would see padding only", field="stride", help="lower stride"
                )
        return found


def _cells(p: Convolution3DParameter | Pooling3DParameter) -> Shape:
    """Depth, height and width of the window. Raises LayerError."""
    for name, given in (("kernel_depth", p.kernel_depth), ("kernel_size", p.kernel_size)):
        if not given:
            raise LayerError(f"has no {name}", field=name, help=f"add {name}: 3")
    return (p.kernel_depth, p.kernel_size, p.kernel_size)


def _volume(x: Shape) -> None:
    if len(x) != 5:
        said = f"takes 5 axes (batch, channels, depth, height, width), not {len(x)}"
        raise LayerError(said, field="bottom", help="depth is time, the frames of a video")
