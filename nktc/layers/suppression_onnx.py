"""The choice of boxes inside of an ONNX file."""

from __future__ import annotations

from typing import Any

import numpy as np

from nktc.errors import LayerError
from nktc.ir import Emitter, Operand
from nktc.layers.suppression import FIELDS, LOWEST, Choice

UNLIKELY = -1e38  # below every score that counts, above LOWEST
FAR = 1e6  # where no box is


class Inside:
    """The choice of boxes written with NonMaxSuppression, for images, classes and priors in the numbers `extent`; boxes
    are `shared` by the classes, or each has its own, and may have their sides `swapped`.

    In ties that keep_top_k cuts it takes the lower class and the lower prior, where Caffe takes what its sort leaves
    first. Raises LayerError.
    """

    def __init__(
        self, emit: Emitter, choice: Choice, shared: bool, swapped: bool, extent: tuple[int, int, int]
    ) -> None:
        self.emit, self.choice, self.shared, self.swapped = emit, choice, shared, swapped
        self.images, self.classes, self.priors = extent
        self.labels = [label for label in range(self.classes) if label != choice.background]
        # What counts is above it, and LOWEST is not. OpenCV takes limits from 0.
        self.least = 0.0 if choice.threshold >= 0 else UNLIKELY
        if emit.target == "opencv" and choice.threshold < 0:
            help = "add confidence_threshold: 0, or export for another --target"
            raise LayerError("cv2.dnn takes no scores below 0", field="confidence_threshold", help=help)
        if choice.eta < 1:
            help = "export with --nms outside: nktc then runs Caffe's choice on what the file gives"
            raise LayerError(
                "eta, a threshold that shrinks, is beyond ONNX's NonMaxSuppression", field="nms_param.eta", help=help
            )

    def whole(self, *values: int) -> Operand:
        """A constant of whole numbers."""
        return self.emit.constant(list(values), "int64")

    def low(self, *shape: int) -> Any:
        """A tensor of the lowest number."""
        return self.emit("Expand", self.emit.constant([LOWEST]), self.whole(*shape))

    def rows(self, boxes: Any, likely: Any) -> Any:
        """boxes[n p l 4] likely[n c p] -> rows [1 1 m 7]"""
        emit, choice, n, k, p = self.emit, self.choice, self.images, len(self.labels), self.priors
        nothing = np.full((n, FIELDS), -1.0)
        nothing[:, 0] = range(n)
        top = p if choice.top_k < 0 else min(choice.top_k, p)
        most = k * top if choice.keep_top_k < 0 else min(choice.keep_top_k, k * top)
        if not k or not most:
            return emit("Identity", emit.constant(nothing[None, None]))
        scores = emit("Gather", likely, self.whole(*self.labels), axis=1) if k < self.classes else likely
        above = emit("Greater", scores, emit.constant(choice.threshold))
        scores = emit("Where", above, scores, emit.constant(LOWEST))
        if top < p:
            values, places = emit("TopK", scores, self.whole(top), outputs=2, axis=2)
            scores = emit("ScatterElements", self.low(n, k, p), places, values, axis=2)
        kept = self._suppressed(boxes, scores, top)
        if most < k * top:
            flat = emit("Reshape", kept, self.whole(n, k * p))
            values, places = emit("TopK", flat, self.whole(most), outputs=2, axis=1)
            kept = emit("ScatterElements", self.low(n, k * p), places, values, axis=1)
        each = min(top, most)
        kept = emit("Reshape", kept, self.whole(n, k, p))
        values, places = emit("TopK", kept, self.whole(each), outputs=2, axis=2)
        table = emit("Reshape", self._table(boxes, values, places, each), self.whole(n * k * each, FIELDS))
        there = emit("Greater", emit("Reshape", values, self.whole(n * k * each)), emit.constant(self.least))
        # The rows of nothing follow, and count where no other does.
        any_there = emit("ReduceMax", emit("Cast", there, to=1), axes=[0], keepdims=1)
        none = emit("Expand", emit("Less", any_there, emit.constant(0.5)), self.whole(n))
        table = emit("Concat", table, emit.constant(nothing), axis=0)
        found = emit("NonZero", emit("Concat", there, none, axis=0))
        found = emit("Gather", table, emit("Reshape", found, self.whole(-1)), axis=0)
        return emit("Reshape", found, self.whole(1, 1, -1, FIELDS))

    def _suppressed(self, boxes: Any, scores: Any, top: int) -> Any:
        """The scores [n k p] flat, the lowest number where a box goes."""
        emit, n, k, p = self.emit, self.images, len(self.labels), self.priors
        if self.swapped:
            boxes = self._upright(boxes)
        if self.shared:
            rows, classes = emit("Reshape", boxes, self.whole(n, p, 4)), scores
        else:
            own = emit("Gather", boxes, self.whole(*self.labels), axis=2)
            rows = emit("Reshape", emit("Transpose", own, perm=[0, 2, 1, 3]), self.whole(n * k, p, 4))
            classes = emit("Reshape", scores, self.whole(n * k, 1, p))
        overlap, least = np.float32(self.choice.overlap), emit.constant([self.least])
        if emit.target == "openvino":  # which drops boxes that overlap by just as much
            overlap = max(np.nextafter(overlap, np.float32(np.inf)), np.finfo(np.float32).tiny)
        found = emit("NonMaxSuppression", rows, classes, self.whole(top), emit.constant([overlap]), least)
        strides = self.whole(k * p, p, 1) if self.shared else self.whole(p, p, 1)
        flat = emit("ReduceSum", emit("Mul", found, strides), self.whole(1), keepdims=0)
        values = emit("Gather", emit("Reshape", scores, self.whole(-1)), flat, axis=0)
        return emit("ScatterElements", self.low(n * k * p), flat, values, axis=0)

    def _upright(self, boxes: Any) -> Any:
        """Boxes whose sides are swapped are empty in Caffe, and overlap nothing; the operator would swap them back, so
        here each goes to a place of its own."""
        emit, first, last = self.emit, self.whole(0), self.whole(2)
        upper, lower = (emit("Slice", boxes, *ends, self.whole(-1)) for ends in ((first, last), (last, self.whole(4))))
        least = emit("ReduceMin", emit("Sub", lower, upper), axes=[-1], keepdims=1)
        empty = emit("Not", emit("Greater", least, emit.constant(0.0)))
        left = FAR + 2 * np.arange(self.priors, dtype=np.float32)
        away = np.stack([left, np.zeros_like(left), left + 1, np.ones_like(left)], -1)
        return emit("Where", empty, emit.constant(away[:, None]), boxes)

    def _table(self, boxes: Any, values: Any, places: Any, most: int) -> Any:
        """values[n k m] places[n k m], of p -> rows [n k m 7]"""
        emit, n, k, p = self.emit, self.images, len(self.labels), self.priors
        each = 1 if self.shared else self.classes
        image, label = np.meshgrid(range(n), self.labels, indexing="ij")
        start = image * p * each + (0 if self.shared else label)
        flat = emit("Add", emit("Mul", places, self.whole(each)), emit.constant(start[..., None], "int64"))
        sides = emit("Gather", emit("Reshape", boxes, self.whole(-1, 4)), flat, axis=0)
        told = [
            emit("Expand", emit.constant(what[..., None, None].astype(float)), self.whole(n, k, most, 1))
            for what in (image, label)
        ]
        return emit("Concat", *told, emit("Unsqueeze", values, self.whole(3)), sides, axis=3)
