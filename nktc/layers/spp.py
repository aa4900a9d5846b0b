"""SPP: spatial pyramid pooling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers.pooling import Pool, draws
from nktc.schema import SPPParameter


class SPP(Layer, param="spp_param"):
    """Pools a picture of any size over grids of 1x1, 2x2, 4x4, ... parts and joins the results, one row an item.

    `levels` is how many such grids. Parts are of equal size, with padding around a picture that they do not divide;
    a single level keeps the shape that Pooling gives. Source: He et al. 2014.
    """

    levels: int
    method: str = "MAX"
    draws: bool = False

    @classmethod
    def read(cls, p: SPPParameter, phase: Phase) -> Self:
        if p.pyramid_height < 1:
            raise LayerError("has no pyramid_height", field="pyramid_height", help="add pyramid_height: 3")
        method = SPPParameter.PoolMethod.Name(p.pool)
        return cls(p.pyramid_height, method, draws(method, phase))

    def pools(self, size: Shape) -> Iterator[Pool]:
        """The pooling of each level, over a picture of that size. Raises LayerError."""
        for level in range(self.levels):
            bins = 2**level
            kernel = tuple(-(-n // bins) for n in size)
            pad = tuple((k * bins - n + 1) // 2 for k, n in zip(kernel, size, strict=True))
            if any(p >= k for p, k in zip(pad, kernel, strict=True)):
                raise LayerError(
                    f"a grid of {bins}x{bins} parts does not fit its input {times(size)}",
                    field="pyramid_height",
                    help=f"pyramid_height: {level} fits",
                )
            if self.method == "STOCHASTIC" and any(pad):
                raise LayerError(
                    f"STOCHASTIC takes no padding, but a grid of {bins}x{bins} parts does not divide {times(size)}",
                    field="pool",
                    help="use MAX or AVE",
                )
            yield Pool(self.method, kernel, kernel, pad, draws=self.draws)

    def shape(self, x: Shape) -> Shape:
        if len(x) != 4:
            raise LayerError(f"takes 4 axes (batch, channels, height, width), not {len(x)}", field="bottom")
        positions = [pool.positions(x[2:]) for pool in self.pools(x[2:])]
        if self.levels == 1:
            return (*x[:2], *positions[0])
        return (x[0], x[1] * sum(map(math.prod, positions)))

    def forward(self, x: Tensor) -> Tensor:
        """x[n c h w] -> y[n c*(1+4+..)], or y[n c 1 1] of a single level"""
        made = [pool.forward(x) for pool in self.pools(tuple(x.shape[2:]))]
        return made[0] if self.levels == 1 else torch.cat([y.flatten(1) for y in made], 1)

    def onnx(self, emit: Emitter, x: Operand) -> Operand:
        made = [pool.onnx(emit, x) for pool in self.pools(x.shape[2:])]
        return made[0] if self.levels == 1 else emit("Concat", *(emit("Flatten", y, axis=1) for y in made), axis=1)

    def flops(self, x: Shape, y: Shape) -> int:
        return self.levels * math.prod(x)
