"""Pictures in, class names and probabilities out, on any engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nktc import data, export, models
from nktc.engines.engine import Options, Session, engine
from nktc.engines.onnxruntime import OnnxRuntime
from nktc.errors import NktcError
from nktc.ir import DType, Preprocessing, Shape, times

BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """One of a picture's most probable classes; `label` is the class's name, or its number as text."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Result:
    """What was found in a picture, most probable first; `error` says why nothing was."""

    path: Path
    predictions: tuple[Prediction, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Classifier:
    """A model ready to look at pictures. `assumed` is what had to be assumed of its preprocessing, "" for nothing."""

    session: Session
    input: str
    output: str
    batch: int  # 0: any
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    assumed: str = ""

    def classify(self, paths: Sequence[Path], top: int = 5) -> Iterator[Result]:
        """One result a picture, in order; a picture that cannot be read does not stop the rest."""
        for start in range(0, len(paths), BATCH):
            chunk = paths[start : start + BATCH]
            pictures: dict[Path, np.ndarray] = {}
            errors: dict[Path, str] = {}
            for path in chunk:
                try:
                    pictures[path] = data.prepare(path, self.preprocessing).numpy()
                except NktcError as error:
                    errors[path] = error.message
            scores = dict(zip(pictures, self.scores(np.stack([*pictures.values()])), strict=True)) if pictures else {}
            for path in chunk:
                yield (
                    Result(path, error=errors[path]) if path in errors else Result(path, self._best(scores[path], top))
                )

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """x[n c h w] -> the model's output as [n classes], fed in the batches that the model takes."""
        size = self.batch or len(batch)
        found = []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
            found.append(self.session.run({self.input: padded})[self.output][: len(part)])
        return np.concatenate(found).reshape(len(batch), -1)

    def _best(self, scores: np.ndarray, top: int) -> tuple[Prediction, ...]:
        best = np.argsort(-scores, kind="stable")[:top]
        names = self.labels if len(self.labels) == len(scores) else [str(i) for i in range(len(scores))]
        return tuple(Prediction(int(i), names[i], float(scores[i])) for i in best)


def open_classifier(
    model: Path, files: Sequence[str], backend: str, options: Options, places: data.Places
) -> Classifier:
    """A classifier of an ONNX file, a net with weights, or a run's folder. `backend` "" takes ONNX Runtime.

    Raises NktcError where the model is none that takes one picture and gives one row of scores.
    """
    if model.is_dir():
        if files:
            help = f"leave --weights out, or give --model {model / 'deploy.prototxt'} with them"
            raise NktcError(f"the run {model} has its own weights", help=help)
        graph = models.open_run(model, places)
    elif model.suffix.lower() == ".onnx":
        return _of_onnx(model, files, backend, options)
    else:
        graph = models.open_model(model, files, places)
    if any(name not in graph.arrays and not p.weight.volatile for name, p in graph.parameters.items()):
        raise NktcError(f"{model} is a net without weights", help="give --weights W, a .caffemodel")
    built = engine(backend or "onnxruntime").build(graph, options)
    one = _one([(v.name, v.shape) for v in graph.inputs], [(v.name, v.shape) for v in graph.outputs], model)
    batch = 0 if export.follows_batch(graph) else graph.inputs[0].shape[0]
    return _classifier(built, one, batch, graph.preprocessing.get(one[0]), graph.labels)


def _of_onnx(model: Path, files: Sequence[str], backend: str, options: Options) -> Classifier:
    if files:
        raise NktcError(f"{model} has its own weights", help="leave --weights out")
    if backend not in ("", "onnxruntime"):
        raise NktcError(f"the backend {backend} does not read ONNX files", help="give the net and its weights instead")
    session = OnnxRuntime().open(model, options)
    facts = session.facts
    if other := [value.dtype for value in session.inputs if value.dtype is not DType.F32]:
        help = "export it with inputs of 32-bit floats"
        raise NktcError(f"{model} takes {other[0].value}, not f32", help=help)
    one = _one([(v.name, v.shape) for v in session.inputs], [(v.name, v.shape) for v in session.outputs], model)
    return _classifier(session, one, max(0, one[1][0]), facts.preprocessing.get(one[0]), facts.labels)


def _classifier(
    session: Session,
    one: tuple[str, Shape, str],
    batch: int,
    preprocessing: Preprocessing | None,
    labels: tuple[str, ...],
) -> Classifier:
    name, (_, channels, height, width), output = one
    assumed = ""
    if preprocessing is None and not (height and width):
        raise NktcError(
            f"the model leaves the size of its pictures open: {name} {times((channels, height, width))}",
            help="export it with a fixed height and width",
        )
    if preprocessing is None:
        order = "GRAY" if channels == 1 else "BGR"
        preprocessing = Preprocessing((height, width), order)
        assumed = (
            "the model does not say how its pictures are prepared: resized to"
            f" {height}x{width}, {order} pixels 0 to 255, no mean, no scale, as Caffe's defaults have it"
        )
    return Classifier(session, name, output, batch, preprocessing, labels, assumed)


def _one(
    inputs: Sequence[tuple[str, Shape]], outputs: Sequence[tuple[str, Shape]], model: Path
) -> tuple[str, Shape, str]:
    """The input that takes a picture, its shape (0 where open), and the output that scores classes."""
    pictures = [shape for _, shape in inputs if len(shape) == 4 and shape[1] in (1, 3)]
    if len(inputs) != 1 or not pictures:
        found = ", ".join(f"{name} {times(shape)}" for name, shape in inputs)
        raise NktcError(f"{model} takes no single picture [n c h w] of 1 or 3 channels but {found}")
    rows = [name for name, shape in outputs if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))]
    if not rows:
        found = ", ".join(f"{name} {times(shape)}" for name, shape in outputs)
        raise NktcError(f"{model} gives no row of scores but {found}")
    return (*inputs[0], rows[-1])
