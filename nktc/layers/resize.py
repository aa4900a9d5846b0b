"""The same picture on another grid: Resize, PixelShuffle."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.layers.window import positive, spread
from nktc.schema import PixelShuffleParameter, ResizeParameter

INTERPOLATE = {("LINEAR", 1): "linear", ("LINEAR", 2): "bilinear", ("LINEAR", 3): "trilinear", ("CUBIC", 2): "bicubic"}


class Resize(Layer, param="resize_param", saves="nothing"):
    """Brings the axes behind the channels to another size by interpolation.

    To `size`, or to their own size times `scale`, rounded down; one number for all these axes, or one for each. The
    values are pixels with an extent, whose edges meet the picture's; with `corners` they are points, and the first
    and the last stay where they are. NEAREST takes the value before, LINEAR and CUBIC mix 2 and 4 along an axis.
    """

    size: Shape = ()
    scale: tuple[float, ...] = ()
    mode: str = "NEAREST"
    corners: bool = False

    @classmethod
    def read(cls, p: ResizeParameter, phase: Phase) -> Self:
        # The number as it was written, not its nearest f32, so that 1.4 times 5 is 7.
        scale = tuple(float(f"{factor:.7g}") for factor in p.scale)
        if bool(p.size) == bool(scale):
            what = "size and scale are both given" if scale else "has neither size nor scale"
            raise LayerError(what, field="size", help="give one of them, such as scale: 2")
        for factor in scale:
            if not (factor > 0 and math.isfinite(factor)):
                raise LayerError(f"scale {factor:g} is not above 0 and finite", field="scale")
        mode = ResizeParameter.Mode.Name(p.mode)
        if p.align_corners and mode == "NEAREST":
            raise LayerError("align_corners is for LINEAR and CUBIC", field="align_corners")
        return cls(positive(tuple(p.size), "size"), scale, mode, p.align_corners)

    def target(self, size: Shape) -> Shape:
        """The size that a picture of that size is brought to. Raises LayerError."""
        if self.size:
            return spread(self.size, len(size), "size")
        scales = spread(self.scale, len(size), "scale")
        found = tuple(math.floor(round(n * scale, 6)) for n, scale in zip(size, scales, strict=True))
        for n, scale, m in zip(size, scales, found, strict=True):
            if m < 1:
                raise LayerError(f"scale {scale:g} leaves nothing of {n}", field="scale")
        return found

    def shape(self, x: Shape) -> Shape:
        if not 3 <= len(x) <= 5:
            raise LayerError(f"takes 3 to 5 axes (batch, channels and 1 to 3 to resize), not {len(x)}", field="bottom")
        if self.mode == "CUBIC" and len(x) != 4:
            raise LayerError(f"CUBIC takes 2 axes behind the channels, not {len(x) - 2}", field="mode")
        return (*x[:2], *self.target(x[2:]))

    def forward(self, x: Tensor) -> Tensor:
        """x[n c p..] -> y[n c q..]"""
        size = tuple(x.shape[2:])
        target = self.target(size)
        if self.mode != "NEAREST":
            return F.interpolate(x, target, mode=INTERPOLATE[self.mode, len(size)], align_corners=self.corners)
        y = x
        for axis, (n, m) in enumerate(zip(size, target, strict=True)):
            if n != m:
                y = y.index_select(axis + 2, torch.arange(m, device=x.device) * n // m)
        return y

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        size = x.shape[2:]
        target = self.target(size)
        # OpenCV resizes 2 axes, TensorRT's table has no cubic.
        spelt_out = (emit.target == "opencv" and len(size) != 2) or (emit.target == "tensorrt" and self.mode == "CUBIC")
        if self.mode == "NEAREST" and (spelt_out or any(m % n for n, m in zip(size, target, strict=True))):
            # Runtimes place a pixel by a quotient of f32, which may be just below the whole number.
            y = x
            for axis, (n, m) in enumerate(zip(size, target, strict=True)):
                if n != m:
                    y = emit("Gather", y, emit.constant(np.arange(m) * n // m, "int64"), axis=axis + 2)
            return y
        if spelt_out:
            return self._emit_products(emit, x)
        return emit(
            "Resize",
            x,
            None,
            emit.constant([1.0, 1.0, *map(stretch, size, target)]),
            mode=self.mode.lower(),
            nearest_mode="floor",
            cubic_coeff_a=-0.75,
            coordinate_transformation_mode=(
                "asymmetric" if self.mode == "NEAREST" else "align_corners" if self.corners else "half_pixel"
            ),
        )

    def _emit_products(self, emit: Emitter, x: Operand) -> Operand:
        """One matrix an axis: what each of its places becomes."""
        size, y = list(x.shape), x
        for axis, m in enumerate(self.target(x.shape[2:]), 2):
            n, behind = size[axis], math.prod(size[axis + 1 :])
            if n == m:
                continue
            mode = INTERPOLATE[self.mode, 2]
            matrix = F.interpolate(torch.eye(n)[None, None], (m, n), mode=mode, align_corners=self.corners)[0, 0]
            rows = emit("Reshape", y, emit.constant(emit.batched((*size[:axis], n, behind)), "int64"))
            size[axis] = m
            made = emit("MatMul", emit.constant(matrix.numpy()), rows)
            y = emit("Reshape", made, emit.constant(emit.batched(tuple(size)), "int64"))
        return y

    def flops(self, x: Shape, y: Shape) -> int:
        along = {"NEAREST": 0, "LINEAR": 2, "CUBIC": 4}[self.mode]
        return 2 * math.prod(y) * along ** (len(x) - 2)


class PixelShuffle(Layer, param="pixel_shuffle_param", saves="nothing"):
    """Makes a picture finer: each group of channels becomes the pixels within one pixel, row by row.

    `factor` is that on rows and on columns; its square divides the channels. Source: Shi et al. 2016.
    """

    factor: int

    @classmethod
    def read(cls, p: PixelShuffleParameter, phase: Phase) -> Self:
        if p.upscale_factor < 1:
            raise LayerError("has no upscale_factor", field="upscale_factor", help="add upscale_factor: 2")
        return cls(p.upscale_factor)

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise LayerError(f"takes 4 axes (batch, channels, height, width), not {len(x)}", field="bottom")
        if x[1] % self.factor**2:
            raise LayerError(
                f"the square of upscale_factor {self.factor} does not divide its {x[1]} channels",
                field="upscale_factor",
            )
        return (x[0], x[1] // self.factor**2, x[2] * self.factor, x[3] * self.factor)

    def forward(self, x: Tensor) -> Tensor:
        """x[n c*r*r h w] -> y[n c h*r w*r]"""
        return F.pixel_shuffle(x, self.factor)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        return emit("DepthToSpace", x, blocksize=self.factor, mode="CRD")


def stretch(n: int, m: int) -> np.float32:
    """The f32 that brings n to m when the product is rounded down."""
    found = np.float32(m / n)
    return found if float(found) * n >= m else np.nextafter(found, np.float32(np.inf))
