"""What comes out: the most probable classes of a thing or boxes in it, its outputs, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nktc.ir import Shape, Value

DETECTIONS = (1, 1, 0, 7)  # rows of DetectionOutput: image, label, score, xmin, ymin, xmax, ymax


@dataclass(frozen=True)
class Prediction:
    """One of the most probable classes; `label` is the class's name, or its number as text. `probability` is what the
    model says, which is a share only where it ends in a Softmax or the like."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Detection(Prediction):
    """The same of a part of a picture; `box` is its xmin, ymin, xmax and ymax, in shares of the width and the height
    that the model sees."""

    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Result:
    """What was found, most probable first, and the outputs asked for, by name, each without the batch; `error` says why
    nothing was. `path` is the file, or FILE#KEY for a record, a row or a frame of one. Of a detector the predictions
    are Detections, none where it found nothing."""

    path: str
    predictions: tuple[Prediction, ...] = ()
    error: str = ""
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    detector: bool = False


def best(scores: np.ndarray, labels: Sequence[str], top: int) -> tuple[Prediction, ...]:
    """The `top` largest of scores[classes], of equals that of the lower number first; classes have numbers where the
    labels do not count up."""
    found = np.argsort(-scores, kind="stable")[:top]
    names = labels if len(labels) == len(scores) else [str(i) for i in range(len(scores))]
    return tuple(Prediction(int(i), names[i], float(scores[i])) for i in found)


def boxes(rows: np.ndarray, labels: Sequence[str], top: int) -> tuple[Detection, ...]:
    """The `top` surest of rows[m 7] of DetectionOutput; of equals that which is first. A row of class -1 says that
    there is nothing."""
    there = rows[rows[:, 1] >= 0]
    surest = there[np.argsort(-there[:, 2], kind="stable")[:top]]
    return tuple(
        Detection(
            int(kind), labels[int(kind)] if kind < len(labels) else str(int(kind)), score, (left, up, right, down)
        )
        for _, kind, score, left, up, right, down in surest.tolist()
    )


def detecting(outputs: Sequence[Value]) -> str:
    """The output that has boxes, "" where there is none."""
    return next((value.name for value in outputs if value.shape == DETECTIONS), "")


def scoring(outputs: Sequence[Value], blobs: Sequence[str], classes: int) -> str:
    """The output that scores classes: a row of numbers, as many as there are labels where one is, and none of the inner
    blobs if there is another; "" where there is none."""
    rows = [value for value in outputs if _is_row(value.shape)]
    own = [value for value in rows if value.name not in blobs] or rows
    named = [value for value in own if classes and value.shape[1] == classes]
    chosen = named or own
    return chosen[-1].name if chosen else ""


def _is_row(shape: Shape) -> bool:
    return len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))
