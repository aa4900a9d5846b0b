"""The boxes of YOLO: YoloDetectionOutput (version 2), Yolov3DetectionOutput."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, times
from nktc.layers.suppression import FIELDS
from nktc.schema import YoloDetectionOutputParameter, Yolov3DetectionOutputParameter

BOX = 5  # x, y, width, height and objectness before the classes


class YoloDetectionOutput(Layer, param="yolo_detection_output_param", open_axis=2):
    """Turns the maps of YOLO's second version into rows [image, label, score, xmin, ymin, xmax, ymax].

    Each box has its likeliest class, a softmax, times its objectness for a score. Boxes of a lower score than
    `confidence_threshold` go, and those that overlap a better one, of whatever class, by `nms_threshold` or more. How
    many rows [1 1 m 7] there are only a forward tells, best first in each image; where nothing is found there is one of
    -1 for each image. Labels start at 1, sides are shares of the picture's. Source: MobileNet-YOLO.
    """

    classes: int
    anchors: tuple[tuple[float, float], ...]  # width and height in cells
    threshold: float = 0.01
    overlap: float = 0.45

    @classmethod
    def read(cls, p: YoloDetectionOutputParameter, phase: Phase) -> Self:
        if p.coords != 4:
            raise LayerError(f"coords is {p.coords}", field="coords", help="a box has 4 numbers")
        anchors = _anchors(p.biases)
        if len(anchors) < p.num_box or not p.num_box:
            said = f"has {len(anchors)} pairs of biases for {p.num_box} boxes"
            raise LayerError(said, field="biases", help="give a width and a height for each of num_box boxes")
        return cls(_classes(p.num_classes), anchors[: p.num_box], p.confidence_threshold, p.nms_threshold)

    def shape(self, x: Shape, second: Shape | None = None) -> Shape:
        for i, one in enumerate((x, second)):
            if one is not None:
                _map(i, one, x, len(self.anchors), self.classes)
        return (1, 1, 1, FIELDS)

    def forward(self, x: Tensor, second: Tensor | None = None) -> Tensor:
        """x[n b(5+c) h w] second[n b(5+c) h w] -> y[1 1 m 7]"""
        boxes, scores, labels = [], [], []
        for one in (x, second):
            if one is None:
                continue
            n, _, h, w = one.shape
            cells = one.detach().reshape(n, len(self.anchors), BOX + self.classes, h, w)
            sides = one.new_tensor(self.anchors) / one.new_tensor([w, h])
            found = _boxes(cells, sides)
            likely, best = cells[:, :, BOX:].softmax(2).max(2)
            boxes.append(_flat(found, 4))
            scores.append((likely * cells[:, :, 4].sigmoid()).permute(0, 2, 3, 1).flatten(1))
            labels.append(best.permute(0, 2, 3, 1).flatten(1))
        found, each, classes = (torch.cat(parts, 1) for parts in (boxes, scores, labels))
        return choose_cells(found, each, classes, self.threshold, self.overlap, True)[None, None]

    def onnx(self, emit: Emitter, x: Operand, second: Operand | None = None) -> Operand:
        boxes, scores, labels = [], [], []
        for one in (x, second):
            if one is None:
                continue
            w, h = one.shape[3], one.shape[2]
            written = _Cells(emit, one, len(self.anchors), self.classes)
            sides = np.array(self.anchors, np.float32) / np.array([w, h], np.float32)
            boxes.append(written.boxes(sides))
            shares = emit("Softmax", written.classes(), axis=2)
            likely = emit("ReduceMax", shares, axes=[2], keepdims=0)
            scores.append(emit("Mul", likely, written.objectness()))
            labels.append(emit("ArgMax", shares, axis=2, keepdims=0))
        tops = [_joined(emit, parts) for parts in (boxes, scores, labels)]
        return _rows(emit, tops[0], tops[1], tops[2], x.shape[0], self.threshold, self.overlap)

    def flops(self, *shapes: Shape) -> int:
        return 10 * math.prod(shapes[0])


class Yolov3DetectionOutput(Layer, param="yolov3_detection_output_param", open_axis=2):
    """Turns the maps of YOLO's third version into rows [image, label, score, xmin, ymin, xmax, ymax].

    A box has a score for each class: a sigmoid, times its objectness. Those above `confidence_threshold` stay, unless a
    better box, of whatever class, overlaps them by `nms_threshold` or more. Bottom i is `anchors_scale[i]` times
    smaller than the picture, and has the anchors that its part of `mask` names, in pixels. How many rows [1 1 m 7]
    there are only a forward tells, best first in each image; where nothing is found there is one of -1 for each image.
    Labels start at 1, sides are shares of the picture's. Source: MobileNet-YOLO.
    """

    classes: int
    anchors: tuple[tuple[tuple[float, float], ...], ...]  # of each bottom, width and height in pixels
    scales: tuple[int, ...]
    threshold: float = 0.01
    overlap: float = 0.45

    @classmethod
    def read(cls, p: Yolov3DetectionOutputParameter, phase: Phase) -> Self:
        if p.gaussian_box:
            raise LayerError("boxes with a deviation for each side are not supported", field="gaussian_box")
        anchors, groups = _anchors(p.biases), p.mask_group_num
        if not groups or len(p.mask) % groups or len(p.mask) // groups < p.num_box or not p.num_box:
            said = f"{len(p.mask)} numbers of mask are not {p.num_box} for each of {groups} inputs"
            raise LayerError(said, field="mask", help="name num_box anchors for each input")
        if wrong := [one for one in p.mask if one >= len(anchors)]:
            raise LayerError(f"mask {wrong[0]} is none of its {len(anchors)} anchors", field="mask")
        if len(p.anchors_scale) < groups or not all(p.anchors_scale):
            said = f"has {len(p.anchors_scale)} anchors_scale for {groups} inputs"
            raise LayerError(said, field="anchors_scale", help="tell how many pixels a cell of each input is")
        each = len(p.mask) // groups
        chosen = tuple(tuple(anchors[one] for one in p.mask[i * each : i * each + p.num_box]) for i in range(groups))
        scales = tuple(p.anchors_scale[:groups])
        return cls(_classes(p.num_classes), chosen, scales, p.confidence_threshold, p.nms_threshold)

    def shape(self, *x: Shape) -> Shape:
        if len(x) != len(self.anchors):
            said = f"has {len(x)} inputs, mask_group_num is {len(self.anchors)}"
            raise LayerError(said, field="mask_group_num")
        for i, one in enumerate(x):
            _map(i, one, x[0], len(self.anchors[i]), self.classes)
        return (1, 1, 1, FIELDS)

    def forward(self, *x: Tensor) -> Tensor:
        """x[n b(5+c) h w] -> y[1 1 m 7]"""
        boxes, scores, labels = [], [], []
        for one, anchors, scale in zip(x, self.anchors, self.scales, strict=True):
            n, _, h, w = one.shape
            cells = one.detach().reshape(n, len(anchors), BOX + self.classes, h, w)
            sides = one.new_tensor(anchors) / (one.new_tensor([w, h]) * scale)
            each = cells[:, :, BOX:].sigmoid() * cells[:, :, 4:BOX].sigmoid()
            found = _flat(_boxes(cells, sides), 4)
            boxes.append(found.repeat_interleave(self.classes, 1))
            scores.append(_flat(each, self.classes).flatten(1))
            labels.append(torch.arange(self.classes, device=one.device).repeat(n, found.shape[1]))
        found, likely, classes = (torch.cat(parts, 1) for parts in (boxes, scores, labels))
        return choose_cells(found, likely, classes, self.threshold, self.overlap, False)[None, None]

    def onnx(self, emit: Emitter, *x: Operand) -> Operand:
        boxes, scores, labels = [], [], []
        for one, anchors, scale in zip(x, self.anchors, self.scales, strict=True):
            n, _, h, w = one.shape
            written, count = _Cells(emit, one, len(anchors), self.classes), h * w * len(anchors)
            sides = np.array(anchors, np.float32) / (np.array([w, h], np.float32) * scale)
            each = emit("Mul", emit("Sigmoid", written.classes()), written.objectness(True))
            spread = emit("Unsqueeze", written.boxes(sides), emit.constant([2], "int64"))
            spread = emit("Expand", spread, emit.constant([n, count, self.classes, 4], "int64"))
            boxes.append(emit("Reshape", spread, emit.constant([n, count * self.classes, 4], "int64")))
            scores.append(emit("Reshape", each, emit.constant([n, count * self.classes], "int64")))
            numbers = np.tile(np.arange(self.classes), (n, count))
            labels.append(emit.constant(numbers, "int64"))
        tops = [_joined(emit, parts) for parts in (boxes, scores, labels)]
        return _rows(emit, tops[0], tops[1], tops[2], x[0].shape[0], self.threshold, self.overlap)

    def flops(self, *shapes: Shape) -> int:
        return 10 * sum(map(math.prod, shapes[:-1]))


def _anchors(biases: Any) -> tuple[tuple[float, float], ...]:
    """Pairs of width and height. Raises LayerError."""
    if len(biases) % 2:
        raise LayerError(f"has {len(biases)} biases, which are no pairs", field="biases", help="width and height each")
    return tuple(zip(biases[::2], biases[1::2], strict=True))


def _classes(count: int) -> int:
    if not count:
        raise LayerError("has no num_classes", field="num_classes", help="it starts at 1")
    return count


def _map(i: int, x: Shape, first: Shape, boxes: int, classes: int) -> None:
    """Refuse a bottom that is no map of boxes."""
    wanted = boxes * (BOX + classes)
    if len(x) != 4 or x[1] != wanted:
        said = f"its input {times(x)} has not {wanted} channels: {BOX} and {classes} classes for {boxes} boxes"
        raise LayerError(said, field=f"bottom[{i}]")
    if x[0] != first[0]:
        raise LayerError(f"its inputs {times(first)} and {times(x)} differ in axis 0, the images", field=f"bottom[{i}]")


def _boxes(cells: Tensor, sides: Tensor) -> Tensor:
    """cells[n b 5+c h w] sides[b 2] -> xmin, ymin, xmax, ymax [n b 4 h w], as shares of the picture"""
    h, w = cells.shape[3:]
    columns = torch.arange(w, device=cells.device, dtype=cells.dtype)
    rows = torch.arange(h, device=cells.device, dtype=cells.dtype)[:, None]
    x, y = (columns + cells[:, :, 0].sigmoid()) / w, (rows + cells[:, :, 1].sigmoid()) / h
    half = cells[:, :, 2:4].exp() * sides[:, :, None, None] / 2
    return torch.stack([x - half[:, :, 0], y - half[:, :, 1], x + half[:, :, 0], y + half[:, :, 1]], 2)


def _flat(x: Tensor, each: int) -> Tensor:
    """[n b e h w] -> [n hwb e]"""
    return x.permute(0, 3, 4, 1, 2).reshape(len(x), -1, each)


@torch.library.custom_op("nktc::choose_cells", mutates_args=())
def choose_cells(
    boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, overlap: float, includes: bool
) -> Tensor:
    """boxes[n m 4] scores[n m] labels[n m] -> rows [k 7]; `includes` tells whether a score at the threshold counts."""
    found = []
    for i in range(len(boxes)):
        sides, likely, classes = (x[i].to("cpu", torch.float32).numpy() for x in (boxes, scores, labels))
        found.append(_kept(i, sides, likely, classes, threshold, overlap, includes))
    rows = np.concatenate(found)
    if not len(rows):
        rows = np.full((len(boxes), FIELDS), -1, np.float32)
        rows[:, 0] = range(len(boxes))
    return torch.from_numpy(rows).to(boxes.device, boxes.dtype)


@choose_cells.register_fake
def _(boxes: Tensor, *_: Any) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), FIELDS)


def _kept(
    image: int, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float, overlap: float, all_: bool
) -> np.ndarray:
    """The rows of one image, f32[k 7]."""
    least = np.float32(threshold)
    (likely,) = np.nonzero(scores >= least if all_ else scores > least)
    order = likely[np.argsort(-scores[likely], kind="stable")]
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        # A box whose side is infinite overlaps none: what is no number is not as much as the limit.
        order = order[~(_overlaps(boxes[best], boxes[order]) >= np.float32(overlap))]
    rows = np.empty((len(kept), FIELDS), np.float32)
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3:] = image, labels[kept] + 1, scores[kept], boxes[kept]
    return rows


def _overlaps(one: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection by union of a box [4] with others [n 4]."""
    with np.errstate(all="ignore"):
        sides = np.minimum(one[2:], boxes[:, 2:]) - np.maximum(one[:2], boxes[:, :2])
        both = np.where((sides < 0).any(1), 0, sides.prod(1))
        area = (one[2:] - one[:2]).prod()
        shares: np.ndarray = both / (area + (boxes[:, 2:] - boxes[:, :2]).prod(1) - both)
    return shares


class _Cells:
    """A map of boxes in ONNX, by place: [n hwb ..]."""

    def __init__(self, emit: Emitter, x: Operand, boxes: int, classes: int) -> None:
        self.emit, self.classes_ = emit, classes
        self.n, _, self.h, self.w = x.shape
        self.b, self.count = boxes, self.h * self.w * boxes
        whole = emit("Reshape", x, emit.constant([self.n, boxes, BOX + classes, self.h, self.w], "int64"))
        flat = emit("Transpose", whole, perm=[0, 3, 4, 1, 2])
        self.cells = emit("Reshape", flat, emit.constant([self.n, self.count, BOX + classes], "int64"))

    def part(self, start: int, end: int) -> Any:
        """Numbers of each box [n hwb end-start]."""
        limits = (self.emit.constant([one], "int64") for one in (start, end, 2))
        return self.emit("Slice", self.cells, *limits)

    def boxes(self, sides: np.ndarray) -> Any:
        """sides[b 2] -> [n hwb 4]"""
        emit = self.emit
        rows, columns = np.indices((self.h, self.w)).reshape(2, -1, 1).repeat(self.b, 2).reshape(2, -1)
        corners = np.stack([columns, rows], 1).astype(np.float32)[None]
        extent = np.array([self.w, self.h], np.float32)
        centre = emit(
            "Div", emit("Add", emit("Sigmoid", self.part(0, 2)), emit.constant(corners)), emit.constant(extent)
        )
        half = np.tile(sides / 2, (self.h * self.w, 1)).astype(np.float32)[None]
        reach = emit("Mul", emit("Exp", self.part(2, 4)), emit.constant(half))
        return emit("Concat", emit("Sub", centre, reach), emit("Add", centre, reach), axis=2)

    def classes(self) -> Any:
        """[n hwb c]"""
        return self.part(BOX, BOX + self.classes_)

    def objectness(self, keeps: bool = False) -> Any:
        """[n hwb], or [n hwb 1]"""
        sure = self.emit("Sigmoid", self.part(4, BOX))
        return sure if keeps else self.emit("Reshape", sure, self.emit.constant([self.n, self.count], "int64"))


def _joined(emit: Emitter, parts: list[Any]) -> Any:
    return emit("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _rows(emit: Emitter, boxes: Any, scores: Any, labels: Any, n: int, threshold: float, overlap: float) -> Any:
    """boxes[n m 4] scores[n m] labels[n m] -> rows [1 1 k 7], by NonMaxSuppression, which takes a score that is at the
    threshold for none, and an overlap that is at the limit for none."""

    def whole(*values: int) -> Any:
        return emit.constant(list(values), "int64")

    score = emit("Unsqueeze", scores, whole(1))
    most = emit.constant([1 << 30], "int64")
    limits = (emit.constant([one]) for one in (overlap, threshold))
    chosen = emit("NonMaxSuppression", boxes, score, most, *limits)  # image, 0, box
    image, box = (emit("Gather", chosen, whole(one), axis=1) for one in (0, 2))
    at = emit("Concat", image, box, axis=1)
    number = emit("Cast", labels, to=1)
    label, likely = (
        emit("Unsqueeze", emit("GatherND", x, at), whole(1)) for x in (emit("Add", number, emit.constant(1.0)), scores)
    )
    rows = emit("Concat", emit("Cast", image, to=1), label, likely, emit("GatherND", boxes, at), axis=1)
    nothing = np.full((n, FIELDS), -1.0)
    nothing[:, 0] = range(n)
    count = emit("Gather", emit("Shape", chosen), whole(0), axis=0)
    spare = emit("Where", emit("Equal", count, whole(0)), whole(n), whole(0))
    none = emit("Slice", emit.constant(nothing), whole(0), spare, whole(0))
    return emit("Unsqueeze", emit("Concat", rows, none, axis=0), whole(0, 1))
