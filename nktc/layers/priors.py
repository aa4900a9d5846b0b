"""Boxes to start from: PriorBox; and what four numbers beside such a box make of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape
from nktc.schema import PriorBoxParameter

SAME = 1e-6  # ratios that differ by less are one
DENSER = 1.0  # where in a cell the second row of boxes has its centres


class PriorBox(Layer, param="prior_box_param", saves="nothing", by_shape=True):
    """Makes the boxes that a detector starts from, the same ones for every picture.

    Around the centre of every cell of its first input: for each min_size a square of it, one of the geometric mean
    with max_size, and one of its area for each other aspect_ratio; with `dense` a second of each half a cell below.
    The picture's size is that of the second input, unless given. The output is [1 2 4n]: the sides xmin, ymin, xmax,
    ymax of n boxes, as shares of the picture's, and behind them their variance. Source: SSD's Caffe; TextBoxes++.
    """

    min_sizes: tuple[int, ...]
    max_sizes: tuple[int, ...] = ()
    ratios: tuple[float, ...] = ()  # without 1
    clip: bool = False
    variance: tuple[float, ...] = (0.1,)
    size: tuple[int, int] | None = None  # height and width of the picture
    step: tuple[float, float] | None = None  # between centres, downward and rightward
    offset: float = 0.5
    dense: bool = False

    @classmethod
    def read(cls, p: PriorBoxParameter, phase: Phase) -> Self:
        _above_zero(p.min_size, "min_size")
        if not p.min_size:
            raise LayerError("has no min_size", field="prior_box_param", help="add min_size: 30")
        if p.max_size and len(p.max_size) != len(p.min_size):
            raise LayerError(
                f"has {len(p.max_size)} max_size for {len(p.min_size)} min_size",
                field="max_size",
                help="give one for each, or none",
            )
        for least, most in zip(p.min_size, p.max_size, strict=False):
            if not most > least:
                raise LayerError(f"max_size {most:g} is not above min_size {least:g}", field="max_size")
        _above_zero(p.aspect_ratio, "aspect_ratio")
        _above_zero(p.variance, "variance")
        if len(p.variance) not in (0, 1, 4):
            help = "give one for all, or four: xmin, ymin, xmax, ymax"
            raise LayerError(f"has {len(p.variance)} variances", field="variance", help=help)
        size = _pair(p, "img_size", "img_h", "img_w")
        step = _pair(p, "step", "step_h", "step_w")
        return cls(
            tuple(map(int, p.min_size)),
            tuple(map(int, p.max_size)),
            _ratios(p.aspect_ratio, p.flip),
            p.clip,
            tuple(p.variance) or (0.1,),
            size and (int(size[0]), int(size[1])),
            step,
            p.offset,
            p.denser_prior_boxes,
        )

    def boxes(self) -> list[tuple[float, float]]:
        """Width and height of the boxes of a cell, in pixels."""
        found = []
        for place, least in enumerate(self.min_sizes):
            found.append((float(least), float(least)))
            if self.max_sizes:
                found.append((math.sqrt(least * self.max_sizes[place]),) * 2)
            found += [(least * math.sqrt(ratio), least / math.sqrt(ratio)) for ratio in self.ratios]
        return found

    def shape(self, x: Shape, picture: Shape) -> Shape:
        for name, one in (("first", x), ("second", picture)):
            if len(one) != 4:
                raise LayerError(
                    f"its {name} input has {len(one)} axes, not 4 (batch, channels, height, width)", field="bottom"
                )
        return (1, 2, 4 * x[2] * x[3] * len(self.boxes()) * (1 + self.dense))

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        """x[n c h w] picture[n d i j] -> y[1 2 4hwb], from their sizes alone"""
        made = self._made(tuple(x.shape), tuple(picture.shape))
        return made.to(x.device, x.dtype)

    def onnx(self, emit: Emitter, x: Operand, picture: Operand) -> Operand:
        return emit.constant(self._made(x.shape, picture.shape).float().numpy())

    def _made(self, x: Shape, picture: Shape) -> Tensor:
        """The output, f64."""
        rows, columns = x[2:]
        height, width = self.size or picture[2:]
        down, right = self.step or (height / rows, width / columns)
        sizes = torch.tensor(self.boxes(), dtype=torch.float64)
        half_width, half_height = sizes[:, 0] / (2 * width), sizes[:, 1] / (2 * height)
        offsets = torch.tensor([self.offset, DENSER][: 1 + self.dense], dtype=torch.float64)
        # Axes: rows, columns, boxes, offsets.
        middle_x = ((torch.arange(columns) + self.offset) * (right / width)).reshape(1, -1, 1, 1)
        middle_y = torch.arange(rows).reshape(-1, 1, 1, 1) + offsets
        middle_y = middle_y * (down / height)
        half_width, half_height = half_width.reshape(-1, 1), half_height.reshape(-1, 1)
        sides = [middle_x - half_width, middle_y - half_height, middle_x + half_width, middle_y + half_height]
        extent = (rows, columns, len(sizes), len(offsets))
        boxes = torch.stack([side.expand(extent) for side in sides], -1)
        if self.clip:
            boxes = boxes.clamp(0, 1)
        variance = torch.tensor(self.variance, dtype=torch.float64).expand(boxes.shape)
        return torch.stack([boxes.flatten(), variance.flatten()])[None]


def decode(offsets: Tensor, priors: Tensor, variances: Tensor, code: str, encoded: bool) -> Tensor:
    """The boxes that offsets beside priors make, all [.. 4]: `code` is SSD's code_type; `encoded`, the variances are
    in the offsets already."""
    scaled = offsets if encoded else offsets * variances
    if code == "CORNER":
        return priors + scaled
    size = priors[..., 2:] - priors[..., :2]
    if code == "CORNER_SIZE":
        return priors + scaled * torch.cat([size, size], -1)
    middle = (priors[..., :2] + priors[..., 2:]) / 2 + scaled[..., :2] * size
    half = scaled[..., 2:].exp() * size / 2
    return torch.cat([middle - half, middle + half], -1)


def emit_decode(emit: Emitter, offsets: Any, priors: Any, variances: Any, code: str, encoded: bool) -> Any:
    """`decode` in ONNX."""

    def part(x: Any, first: int) -> Any:
        return emit("Slice", x, *(emit.constant([n], "int64") for n in (first, first + 2, -1)))

    scaled = offsets if encoded else emit("Mul", offsets, variances)
    if code == "CORNER":
        return emit("Add", priors, scaled)
    size = emit("Sub", part(priors, 2), part(priors, 0))
    if code == "CORNER_SIZE":
        return emit("Add", priors, emit("Mul", scaled, emit("Concat", size, size, axis=-1)))
    middle = emit("Mul", emit("Add", part(priors, 0), part(priors, 2)), emit.constant(0.5))
    middle = emit("Add", middle, emit("Mul", part(scaled, 0), size))
    half = emit("Mul", emit("Mul", emit("Exp", part(scaled, 2)), size), emit.constant(0.5))
    return emit("Concat", emit("Sub", middle, half), emit("Add", middle, half), axis=-1)


def _ratios(given: Sequence[float], flip: bool) -> tuple[float, ...]:
    """The ratios other than 1, each followed by its inverse with `flip`; those that came before are left out."""
    found = [1.0]
    for ratio in given:
        if all(abs(np.float32(ratio) - np.float32(other)) >= SAME for other in found):
            found += [ratio, 1 / ratio] if flip else [ratio]
    return tuple(ratio for ratio in found if abs(ratio - 1) >= SAME)


def _above_zero(values: Sequence[float], field: str) -> None:
    for value in values:
        if not (value > 0 and math.isfinite(value)):
            raise LayerError(f"{field} {value:g} is not above 0", field=field)


def _pair(p: PriorBoxParameter, both: str, down: str, right: str) -> tuple[float, float] | None:
    """What a field says of both axes, or two fields of each. Raises LayerError."""
    given = [name for name in (both, down, right) if p.HasField(name)]  # type: ignore[arg-type]
    if not given:
        return None
    if given not in ([both], [down, right]):
        help = f"give {both}, or {down} and {right}"
        raise LayerError(f"has {' and '.join(given)}", field=given[0], help=help)
    values = [getattr(p, name) for name in given]
    for name, value in zip(given, values, strict=True):
        _above_zero([value], name)
    return values[0], values[-1]
