"""Proposal: from scores and offsets at anchors to the regions that may hold an object."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers.quicksort import quicksorted
from nktc.layers.suppression import greedy
from nktc.schema import ProposalParameter

LITTLE = 1e-30  # less than any probability


class Proposal(Layer, param="proposal_param", tops=(1, 2), open_axis=0):
    """Finds the regions of a picture that may hold an object, from scores and offsets at anchors.

    Bottoms: scores [n 2a h w], those of objects behind those of background; offsets [n 4a h w]; and height, width and
    scale, or scales of either, of the pictures. Tops: regions [r 5], number of the image, x1, y1, x2, y2; and their
    scores [r]. Of each picture the best `before` are looked at, and up to `after` kept that do not overlap a better
    one. A box that is too small scores 0. How many only a forward tells. Source: the ProposalLayer of PVANet's Caffe,
    on a CPU, with its order in ties.
    """

    ratios: tuple[float, ...]
    scales: tuple[float, ...]
    stride: int = 16
    base: int = 16
    least: int = 16
    before: int = 6000
    after: int = 300
    overlap: float = 0.7
    scored: bool = False

    @classmethod
    def read(cls, p: ProposalParameter, phase: Phase) -> Self:
        for name in ("ratio", "scale"):
            values = getattr(p, name)
            if not values or not min(values) > 0 or not math.isfinite(max(values)):
                raise LayerError(f"has no {name} above 0", field=name, help=f"add {name}: 1 to proposal_param")
        for name in ("feat_stride", "base_size", "pre_nms_topn", "post_nms_topn"):
            if not getattr(p, name):
                raise LayerError(f"{name} is 0", field=name, help="give a number from 1")
        rest = (p.feat_stride, p.base_size, p.min_size, p.pre_nms_topn, p.post_nms_topn, p.nms_thresh)
        return cls(tuple(p.ratio), tuple(p.scale), *rest)

    def with_tops(self, tops: int) -> Self:
        return replace(self, scored=tops == 2)

    def shape(self, scores: Shape, offsets: Shape, picture: Shape) -> Shape | list[Shape]:
        for name, x, each in (("scores", scores, 2), ("offsets", offsets, 4)):
            if len(x) != 4 or x[1] != each * len(self.anchors()):
                raise LayerError(
                    f"its {name} {times(x)} are not {each} at each of {len(self.anchors())} anchors",
                    field=f"bottom[{each // 4}]",
                )
        if scores[0] != offsets[0] or scores[2:] != offsets[2:]:
            raise LayerError(f"its inputs {times(scores)} and {times(offsets)} differ", field="bottom[1]")
        if math.prod(picture) < 3:
            raise LayerError(f"its third input {times(picture)} is not height, width and scale", field="bottom[2]")
        count = scores[0] * self.after
        return [(count, 5), (count,)] if self.scored else (count, 5)

    def anchors(self) -> list[tuple[float, float, float, float]]:
        """The boxes x1, y1, x2, y2 at the first pixel; their unscaled sides are rounded."""
        found = []
        middle = (self.base - 1) / 2
        for ratio in self.ratios:
            width = math.floor(math.sqrt(self.base**2 / ratio) + 0.5)
            height = math.floor(width * ratio + 0.5)
            for scale in self.scales:
                half_width, half_height = (width * scale - 1) / 2, (height * scale - 1) / 2
                found.append((middle - half_width, middle - half_height, middle + half_width, middle + half_height))
        return found

    def _everywhere(self, height: int, width: int) -> Tensor:
        """The anchors at every pixel, by row, column and anchor: [h w a 4], f32."""
        down, right = (torch.arange(extent, dtype=torch.float32) * self.stride for extent in (height, width))
        y, x = down.reshape(-1, 1, 1), right.reshape(1, -1, 1)
        sides = torch.tensor(self.anchors(), dtype=torch.float32)
        moved = [(x, y)[i % 2] + sides[:, i] for i in range(4)]
        return torch.stack([side.expand(height, width, len(sides)) for side in moved], -1)

    def forward(self, scores: Tensor, offsets: Tensor, picture: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """scores[n 2a h w] offsets[n 4a h w] picture[..] -> regions[r 5], scores[r] where they are a top"""
        n, anchors, h, w = len(scores), len(self.anchors()), *scores.shape[2:]
        likely = scores.detach()[:, anchors:].permute(0, 2, 3, 1).reshape(n, -1)
        beside = offsets.detach().reshape(n, anchors, 4, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 4)
        at = self._everywhere(h, w).to(scores).reshape(-1, 4)
        info = picture.detach().flatten()
        most = torch.stack([info[1], info[0]]) - 1
        least = self.least * torch.stack([info[min(3, len(info) - 1)], info[2]])
        size = at[:, 2:] - at[:, :2] + 1
        middle = beside[..., :2] * size + (at[:, :2] + size / 2)
        half = beside[..., 2:].exp() * size / 2
        boxes = torch.cat([middle - half, middle + half], -1)
        boxes = torch.minimum(boxes, torch.cat([most, most])).clamp(min=0)
        large = (boxes[..., 2:] - boxes[..., :2] + 1 >= least).all(-1)
        found = _propose(boxes, likely * large, self.before, self.after, self.overlap)
        return (found[:, :5], found[:, 5]) if self.scored else found[:, :5]

    def onnx(self, emit: Emitter, scores: Operand, offsets: Operand, picture: Operand) -> Any:
        n, (h, w), anchors = scores.shape[0], scores.shape[2:], len(self.anchors())
        count = h * w * anchors

        def whole(*values: int) -> Operand:
            return emit.constant(list(values), "int64")

        def part(x: Any, first: int, last: int, axis: int = -1) -> Any:
            return emit("Slice", x, whole(first), whole(last), whole(axis))

        likely = emit("Transpose", part(scores, anchors, 2 * anchors, 1), perm=[0, 2, 3, 1])
        likely = emit("Reshape", likely, whole(n, count))
        beside = emit("Reshape", offsets, whole(n, anchors, 4, h, w))
        beside = emit("Reshape", emit("Transpose", beside, perm=[0, 3, 4, 1, 2]), whole(n, count, 4))
        at = self._everywhere(h, w).reshape(-1, 4)
        size = at[:, 2:] - at[:, :2] + 1
        info = emit("Reshape", picture, whole(-1))
        numbers = math.prod(picture.shape)
        most = emit("Sub", emit("Gather", info, whole(1, 0, 1, 0), axis=0), emit.constant(1.0))
        least = emit("Gather", info, whole(min(3, numbers - 1), 2), axis=0)
        least = emit("Mul", least, emit.constant(float(self.least)))
        middle = emit("Mul", part(beside, 0, 2), emit.constant(size.numpy()))
        middle = emit("Add", middle, emit.constant((at[:, :2] + size / 2).numpy()))
        half = emit("Mul", emit("Exp", part(beside, 2, 4)), emit.constant((size / 2).numpy()))
        boxes = emit("Concat", emit("Sub", middle, half), emit("Add", middle, half), axis=-1)
        boxes = emit("Max", emit("Min", boxes, most), emit.constant(0.0))
        one = emit.constant([0.0, 0.0, 1.0, 1.0])
        wider = emit("Add", boxes, one)  # sides count the last pixel, which the operator's do not
        small = emit("Less", emit("Sub", part(wider, 2, 4), part(wider, 0, 2)), least)
        small = emit("ReduceMax", emit("Cast", small, to=1), axes=[2], keepdims=0)
        likely = emit("Mul", likely, emit("Sub", emit.constant(1.0), small))
        if self.before < count:
            likely, places = emit("TopK", likely, whole(self.before), outputs=2, axis=1)
            rows = emit("Add", places, emit.constant([[image * count] for image in range(n)], "int64"))
            boxes, wider = (emit("Gather", emit("Reshape", x, whole(-1, 4)), rows, axis=0) for x in (boxes, wider))
        kept = min(self.before, count)
        sure = emit("Unsqueeze", likely, whole(1))
        if emit.target in ("opencv", "portable"):  # OpenCV leaves out boxes with a score of 0
            sure = emit("Max", sure, emit.constant(LITTLE))
        found = emit(
            "NonMaxSuppression",
            wider,
            sure,
            whole(min(self.after, kept)),
            emit.constant([self.overlap]),
        )
        flat = emit("ReduceSum", emit("Mul", found, whole(kept, 0, 1)), whole(1), keepdims=0)
        sides = emit("Gather", emit("Reshape", boxes, whole(-1, 4)), flat, axis=0)
        regions = emit("Concat", emit("Cast", part(found, 0, 1), to=1), sides, axis=1)
        return (regions, emit("Gather", emit("Reshape", likely, whole(-1)), flat, axis=0)) if self.scored else regions

    def flops(self, scores: Shape, *more: Shape) -> int:
        return 10 * math.prod(scores)


# An operator of its own, so that torch.compile takes the forward in one piece.
@torch.library.custom_op("nktc::propose_regions", mutates_args=())
def _propose(boxes: Tensor, scores: Tensor, before: int, after: int, overlap: float) -> Tensor:
    """boxes[n p 4] scores[n p] -> rows [r 6] of image, x1, y1, x2, y2, score; equal scores in PVANet's order."""
    rows = []
    for image, (corners, likely) in enumerate(zip(boxes.cpu().numpy(), scores.cpu().numpy(), strict=True)):
        kept = greedy(corners, quicksorted(likely, before), overlap, most=after, pixel=1)
        told = [np.full(len(kept), image), corners[kept], likely[kept]]
        rows.append(np.column_stack(told).astype(corners.dtype))
    return torch.from_numpy(np.concatenate(rows)).to(boxes.device)


@_propose.register_fake
def _(boxes: Tensor, scores: Tensor, before: int, after: int, overlap: float) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), 6)
