"""A model, opened on an engine, whatever it is given as: a net with weights, a run's folder, or a file of an engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nktc import data, export, models, passes
from nktc.engines import sidecar
from nktc.engines.detections import chosen
from nktc.engines.engine import Options, Session, engine, loaded, names
from nktc.engines.onnx_file import no_blob
from nktc.engines.streams import Streams
from nktc.errors import NktcError
from nktc.ir import DType, Graph, Preprocessing, Value, rewrite

DEFAULT = "onnxruntime"
NETS = (".prototxt", ".pbtxt", ".txt")


@dataclass(frozen=True, eq=False)
class Opened:
    """A model ready to run.

    `backend` is the name of its engine, `batch` the only one that it takes, 0 for any, and `best` the one it was
    optimised for, 0 where nobody knows. `preprocessing` is what a picture goes through, by input; `assumed` says what
    was supposed of it or left aside, "" for nothing. `graph` is None for an engine's file.
    """

    session: Session
    backend: str
    preprocessing: Mapping[str, Preprocessing]
    labels: tuple[str, ...]
    batch: int
    best: int = 0
    graph: Graph | None = None
    assumed: str = ""


def open_model(
    model: Path,
    files: Sequence[str],
    backend: str,
    options: Options,
    places: data.Places,
    blobs: Sequence[str] = (),
) -> Opened:
    """A run's folder, a prototxt with the weights in `files`, or a file that an engine reads, with the inner values
    `blobs` as outputs behind its own.

    `backend` "" is the engine that the file's sidecar names, with its threads and settings, or else ONNX Runtime,
    or the first that reads such files. Raises NktcError.
    """
    if model.is_file() and (reading := readers(model)):
        return _of_file(model, files, backend, options, blobs, reading)
    if not model.exists():
        raise NktcError(f"there is no model {model}", help="give a run's folder, a prototxt, or an .onnx")
    graph = _graph(model, files, places)
    if blobs:
        for name in blobs:
            if name not in graph.values:
                raise no_blob(str(model), name, list(graph.values))
        graph = rewrite.wanting(graph, [*(value.name for value in graph.outputs), *blobs])
    # The choice among boxes is ours: that of runtimes differs from Caffe's in ties.
    outside = passes.nms_outside(graph)
    session = chosen(engine(backend or DEFAULT).build(outside, options), export.left_to_choose(outside))
    return _opened(session, backend or DEFAULT, graph.preprocessing, graph.labels, graph=graph)


def readers(model: Path) -> list[str]:
    """The engines that read files of this name, ONNX Runtime first; none for a net."""
    suffix = model.suffix.lower()
    if suffix in NETS:
        return []
    found = [name for name in names() if suffix in _reads(name)]
    return sorted(found, key=lambda name: name != DEFAULT)


def _reads(name: str) -> tuple[str, ...]:
    """The suffixes of the files that an engine reads: none for a stranger's that knows of no files, or is broken, which
    is no matter here."""
    try:
        return getattr(loaded(name), "reads", ())
    except ImportError:
        return ()


def _of_file(
    model: Path, files: Sequence[str], backend: str, options: Options, blobs: Sequence[str], reading: list[str]
) -> Opened:
    if files:
        raise NktcError(f"{model} has its own weights", help="leave --weights out")
    if backend and backend not in reading:
        loaded(backend)  # which refuses a name that no engine has
        are = f"{reading[0]} does" if len(reading) == 1 else f"{' and '.join(reading)} do"
        help = f"{are}; or give the net and its weights instead"
        raise NktcError(f"the backend {backend} does not read {model.suffix} files", help=help)
    known = sidecar.read(model)
    stale = ""
    if known and model.suffix.lower() == ".onnx" and not sidecar.is_of(model, known):
        # The file was written anew, by an export: what was measured was another. It is no less whole for that.
        known, stale = None, f"the sidecar {sidecar.place(model)} is of another file, and was not used"
    if known and not backend and known.engine not in reading:
        help = f"make it again with nktc optimize, or give --backend {reading[0]}"
        reads = f"no backend {known.engine} that reads {model.suffix} files is installed"
        raise NktcError(f"{model} is for the backend {known.engine} by its sidecar, and {reads}", help=help)
    named, backend = bool(backend), backend or (known.engine if known else reading[0])
    if not named and (problem := loaded(backend).missing()):
        others = [name for name in reading if not loaded(name).missing()]
        other = f"; or give --backend {others[0]}" if others else ""
        raise NktcError(f"{model} is for the backend {backend}, which cannot run here", help=f"{problem}{other}")
    best, streams = 0, 1
    if known and known.engine == backend:
        best = known.batch
        settings = {**known.settings, **options.settings}
        # Who asks for threads wants so many, and not several times as many.
        streams = 1 if options.threads else known.streams
        options = dataclasses.replace(options, threads=options.threads or known.threads, settings=settings)
    session = engine(backend).open(model, options, blobs)
    if streams > 1:
        session = Streams([session, *(engine(backend).open(model, options, blobs) for _ in range(streams - 1))])
    facts = session.facts
    session = chosen(session, facts.detections)
    found = _opened(session, backend, facts.preprocessing, facts.labels, best)
    return dataclasses.replace(found, assumed="; ".join(filter(None, [stale, found.assumed])))


def _graph(model: Path, files: Sequence[str], places: data.Places) -> Graph:
    """The deploy graph of a run or a net, its weights known. Raises NktcError."""
    if model.is_dir():
        if files:
            help = f"leave --weights out, or give --model {model / 'deploy.prototxt'} with them"
            raise NktcError(f"the run {model} has its own weights", help=help)
        return models.open_run(model, places)
    if model.suffix.lower() in (".caffemodel", ".h5"):
        help = f"give the net that they are of, with --weights {model}"
        raise NktcError(f"{model} has weights, but not the net", help=help)
    graph = models.open_model(model, files, places)
    if any(name not in graph.arrays and not p.weight.volatile for name, p in graph.parameters.items()):
        raise NktcError(f"{model} is a net without weights", help="give --weights W, a .caffemodel")
    return graph


def _opened(
    session: Session,
    backend: str,
    preprocessing: Mapping[str, Preprocessing],
    labels: tuple[str, ...],
    best: int = 0,
    graph: Graph | None = None,
) -> Opened:
    """The same with what has to be supposed of pictures, and the batch that the session's inputs tell."""
    assumed = ""
    if len(session.inputs) == 1 and session.inputs[0].name not in preprocessing:
        supposed, assumed = _supposed(session.inputs[0])
        if supposed:
            preprocessing = {session.inputs[0].name: supposed}
    sizes = {value.shape[0] for value in session.inputs if value.shape}
    batch = max(sizes) if len(sizes) == 1 else 0
    return Opened(session, backend, preprocessing, labels, batch, best, graph, assumed)


def _supposed(value: Value) -> tuple[Preprocessing | None, str]:
    """What an input of a model that says nothing is taken for, and that in words; None where it takes no pictures, or
    leaves their size open."""
    shape = value.shape
    if len(shape) != 4:
        return None, ""
    if value.dtype is DType.U8 and shape[3] in (1, 3):
        size, planes, order = shape[1:3], shape[3], "RGB"
    else:
        size, planes, order = shape[2:], shape[1], "BGR"
    floats = value.dtype in (DType.F32, DType.F16, DType.BF16)
    if planes not in (1, 3) or not all(size) or not (floats or order == "RGB"):
        return None, ""
    order = "GRAY" if planes == 1 else order
    height, width = size
    said = (
        f"the model does not say how its pictures are prepared: resized to {height}x{width}, {order} pixels 0 to 255,"
        " no mean, no scale, as Caffe's defaults have it"
    )
    return Preprocessing((height, width), order), said
