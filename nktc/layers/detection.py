"""DetectionOutput: from offsets and scores at priors to the boxes that are found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from nktc.errors import LayerError
from nktc.ir import Emitter, Layer, Operand, Phase, Shape, Weight, times
from nktc.layers.detection_files import Files
from nktc.layers.priors import decode, emit_decode
from nktc.layers.suppression import FIELDS, LOWEST, Choice
from nktc.layers.suppression_onnx import Inside
from nktc.schema import DetectionOutputParameter, PriorBoxParameter


class DetectionOutput(Layer, param="detection_output_param", open_axis=2):
    """Turns offsets and scores at priors into rows [image, label, score, xmin, ymin, xmax, ymax].

    Of each class the boxes of the highest scores stay that do not overlap a better one, of each image the best over
    all classes. How many rows [1 1 m 7] there are only a forward tells; where nothing is found there is one of -1 for
    each image. Bottoms: offsets, scores and priors; as fourth a picture, which is not looked at. As fourth and fifth,
    objectness and offsets of RefineDet's first step: where objectness is below `objectness` there is background.
    Source: SSD's Caffe, with its order in ties; RefineDet.
    """

    classes: int
    shared: bool = True
    code: str = "CORNER"
    encoded: bool = False
    choice: Choice = Choice()
    objectness: float = 0.01
    files: Files | None = None

    @classmethod
    def read(cls, p: DetectionOutputParameter, phase: Phase) -> Self:
        if not p.num_classes:
            raise LayerError("has no num_classes", field="detection_output_param", help="add num_classes: 21")
        if p.background_label_id == -1 and p.share_location:
            help = "give each class its own boxes, share_location: false, or a background"
            raise LayerError(
                "background_label_id -1 goes with share_location: false", field="background_label_id", help=help
            )
        if p.HasField("use_polygon") and p.use_polygon:
            help = "use_polygon: false gives boxes"
            raise LayerError("boxes of four corners (TextBoxes++) are not supported", field="use_polygon", help=help)
        nms = p.nms_param
        if not 0 <= nms.nms_threshold < math.inf:
            raise LayerError(f"nms_threshold is {nms.nms_threshold:g}", field="nms_param.nms_threshold")
        if not 0 < nms.eta <= 1:
            raise LayerError(f"eta is {nms.eta:g}", field="nms_param.eta", help="give a number above 0, up to 1")
        choice = Choice(
            p.background_label_id,
            p.confidence_threshold if p.HasField("confidence_threshold") else LOWEST,
            nms.nms_threshold,
            nms.eta,
            max(-1, nms.top_k) if nms.HasField("top_k") else -1,
            max(-1, p.keep_top_k),
        )
        code = PriorBoxParameter.CodeType.Name(p.code_type)
        files = Files.read(p.save_output_param) if phase is Phase.TEST else None
        return cls(
            p.num_classes, p.share_location, code, p.variance_encoded_in_target, choice, p.objectness_score, files
        )

    def shape(
        self, offsets: Shape, scores: Shape, priors: Shape, objectness: Shape | None = None, first: Shape | None = None
    ) -> Shape:
        if offsets[:1] != scores[:1] or len(offsets) < 2 or len(scores) < 2:
            raise LayerError(
                f"its inputs {times(offsets)} and {times(scores)} differ in axis 0, the images", field="bottom"
            )
        if math.prod(priors) % 8 or len(priors) < 3 or priors[1] != 2:
            raise LayerError(f"its third input {times(priors)} is not 1x2 and 4 for each prior", field="bottom[2]")
        count = self.priors(priors)
        each = "" if self.shared else f" for each of {self.classes} classes"
        _numbers(0, offsets, 4 * self.own, f"4 offsets{each}", count)
        _numbers(1, scores, self.classes, f"a score for each of {self.classes} classes", count)
        if objectness is not None and first is not None:
            _numbers(3, objectness, 2, "2 numbers of objectness", count)
            _numbers(4, first, 4, "4 offsets of the first step", count)
        return (1, 1, 1, FIELDS)

    def beside(self, folder: Path) -> Self:
        return replace(self, files=replace(self.files, folder=str(folder))) if self.files else self

    @property
    def own(self) -> int:
        """How many boxes there are at a prior."""
        return 1 if self.shared else self.classes

    def priors(self, shape: Shape) -> int:
        """How many there are."""
        return math.prod(shape) // 8

    def weights(self, *inputs: Shape) -> dict[str, Weight]:
        return {"images": Weight((1,), learns=False, kept=False)} if self.files else {}

    def decoded(
        self, offsets: Any, scores: Any, priors: Any, objectness: Any = None, first: Any = None
    ) -> tuple[Tensor, Tensor]:
        """The boxes [n p l 4], l being 1 or the classes, and their scores [n c p]."""
        count = self.priors(tuple(priors.shape))
        boxes, variances = priors.reshape(2, count, 1, 4)
        likely = scores.reshape(len(scores), count, self.classes)
        if first is not None:
            boxes = decode(first.reshape(len(first), count, 1, 4), boxes, variances, self.code, self.encoded)
            nothing = torch.zeros_like(likely[0, 0])
            nothing[0] = 1
            sure = objectness.reshape(len(objectness), count, 2)[..., 1:] >= self.objectness
            likely = torch.where(sure, likely, nothing)
        own = offsets.reshape(len(offsets), count, self.own, 4)
        return decode(own, boxes, variances, self.code, self.encoded), likely.transpose(1, 2)

    def forward(
        self,
        offsets: Tensor,
        scores: Tensor,
        priors: Tensor,
        objectness: Tensor | None = None,
        first: Tensor | None = None,
        *,
        images: Tensor | None = None,
    ) -> Tensor:
        """offsets[n 4lp] scores[n cp] priors[1 2 4p] objectness[n 2p] first[n 4p] -> y[1 1 m 7]; `images` counts those
        that are written"""
        boxes, likely = self.decoded(
            *(x if x is None else x.detach() for x in (offsets, scores, priors, objectness, first))
        )
        c = self.choice
        found = _choose(boxes, likely, c.background, c.threshold, c.overlap, c.eta, c.top_k, c.keep_top_k)
        if self.files and images is not None:
            classes = [label for label in range(self.classes) if label != c.background]
            _write(found, images, len(offsets), classes, self.files.text())
        return found[None, None]

    def onnx(
        self,
        emit: Emitter,
        offsets: Operand,
        scores: Operand,
        priors: Operand,
        objectness: Operand | None = None,
        first: Operand | None = None,
    ) -> Operand:
        boxes, likely = self.emit_decoded(emit, offsets, scores, priors, objectness, first)
        extent = (offsets.shape[0], self.classes, self.priors(priors.shape))
        swapped = self.code != "CENTER_SIZE"
        return Inside(emit, self.choice, self.shared, swapped, extent).rows(boxes, likely)

    def emit_decoded(
        self,
        emit: Emitter,
        offsets: Operand,
        scores: Operand,
        priors: Operand,
        objectness: Operand | None = None,
        first: Operand | None = None,
    ) -> tuple[Any, Any]:
        """`decoded` in ONNX."""
        count = self.priors(priors.shape)

        def reshaped(x: Any, *shape: int) -> Any:
            return emit("Reshape", x, emit.constant(shape, "int64"))

        sides = reshaped(priors, 2, count, 1, 4)
        zero, one = emit.constant(0, "int64"), emit.constant(1, "int64")
        boxes, variances = (emit("Gather", sides, place, axis=0) for place in (zero, one))
        likely = reshaped(scores, -1, count, self.classes)
        if first is not None:
            boxes = emit_decode(emit, reshaped(first, -1, count, 1, 4), boxes, variances, self.code, self.encoded)
            object_here = emit("Gather", reshaped(objectness, -1, count, 2), emit.constant([1], "int64"), axis=2)
            doubtful = emit("Less", object_here, emit.constant(self.objectness))
            nothing = emit.constant([1.0] + [0.0] * (self.classes - 1))
            likely = emit("Where", doubtful, nothing, likely)
        own = reshaped(offsets, -1, count, self.own, 4)
        made = emit_decode(emit, own, boxes, variances, self.code, self.encoded)
        return made, emit("Transpose", likely, perm=[0, 2, 1])

    def flops(self, *shapes: Shape) -> int:
        return 10 * math.prod(shapes[0])


class DetectionBoxes(Layer, param="detection_output_param", tops=2):
    """Turns offsets and scores at priors into boxes and their scores: what DetectionOutput chooses from.

    Bottoms and settings are those of DetectionOutput. The boxes are [n p l 4], with one for all classes at a prior or
    (`share_location: false`) one for each, the scores [n c p].
    """

    of: DetectionOutput

    @classmethod
    def read(cls, p: DetectionOutputParameter, phase: Phase) -> Self:
        return cls(DetectionOutput.read(p, phase))

    def shape(
        self, offsets: Shape, scores: Shape, priors: Shape, objectness: Shape | None = None, first: Shape | None = None
    ) -> list[Shape]:
        self.of.shape(offsets, scores, priors, objectness, first)
        count = self.of.priors(priors)
        return [(offsets[0], count, self.of.own, 4), (offsets[0], self.of.classes, count)]

    def forward(
        self,
        offsets: Tensor,
        scores: Tensor,
        priors: Tensor,
        objectness: Tensor | None = None,
        first: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """offsets[n 4lp] scores[n cp] priors[1 2 4p] objectness[n 2p] first[n 4p] -> boxes[n p l 4], scores[n c p]"""
        return self.of.decoded(offsets, scores, priors, objectness, first)

    def onnx(
        self,
        emit: Emitter,
        offsets: Operand,
        scores: Operand,
        priors: Operand,
        objectness: Operand | None = None,
        first: Operand | None = None,
    ) -> tuple[Operand, Operand]:
        return self.of.emit_decoded(emit, offsets, scores, priors, objectness, first)

    def flops(self, *shapes: Shape) -> int:
        return self.of.flops(*shapes)


def _numbers(bottom: int, given: Shape, each: int, what: str, count: int) -> None:
    """Refuse a bottom that has not `each` numbers at each of `count` priors."""
    if math.prod(given[1:]) != each * count:
        raise LayerError(
            f"its input {times(given)} is not {what} at {count} priors: {each * count} an image",
            field=f"bottom[{bottom}]",
        )


# Operators of their own, so that torch.compile takes the forward in one piece.
@torch.library.custom_op("nktc::choose_boxes", mutates_args=())
def _choose(
    boxes: Tensor,
    scores: Tensor,
    background: int,
    threshold: float,
    overlap: float,
    eta: float,
    top_k: int,
    keep_top_k: int,
) -> Tensor:
    choice = Choice(background, threshold, overlap, eta, top_k, keep_top_k)
    rows = choice.rows(*(x.to("cpu", torch.float32).numpy() for x in (boxes, scores)))
    return torch.from_numpy(rows).to(boxes.device, boxes.dtype)


@_choose.register_fake
def _(boxes: Tensor, *_: Any) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), FIELDS)


@torch.library.custom_op("nktc::write_boxes", mutates_args={"images"})
def _write(rows: Tensor, images: Tensor, count: int, classes: Sequence[int], files: str) -> None:
    Files.parse(files).add(rows.to("cpu", torch.float32).numpy(), classes, int(images), count)
    images += count
