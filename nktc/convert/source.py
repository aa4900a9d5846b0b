"""What a user gives to be converted: a net with weights, a file that holds both, a run, ONNX, or torch's program."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nktc import data, engines, models, reader, runs
from nktc.convert import torch_program
from nktc.convert.from_onnx import from_onnx
from nktc.errors import NktcError, split
from nktc.ir import Graph, Shape

WEIGHTS = (".h5", ".safetensors")


@dataclass(frozen=True, eq=False)
class Source:
    """A model to convert: its graph with weights, the files it came from by what they are, and how it runs as it is."""

    name: str
    graph: Graph
    files: Mapping[str, Path]
    subject: Callable[[], engines.Subject] = field(repr=False)

    def origin(self) -> dict[str, str]:
        """Names and SHA-256 of the files."""
        return {key: f"{path.name} sha256:{digest(path)}" for key, path in self.files.items()}


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises NktcError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NktcError(f"cannot read {path}: {error.strerror or error}") from None


def open_source(
    model: Path,
    weights: Sequence[str],
    places: data.Places,
    shapes: Mapping[str, Shape] | None = None,
    batch: int = 1,
    dialect: str = "",
) -> Source:
    """The model at a path, with the weights in files, later ones over earlier ones. `shapes` are those of what it is
    fed, by blob, `batch` that of an ONNX file where it is open, `dialect` that of a binary net. Raises NktcError."""
    suffix = model.suffix.lower()
    if suffix == ".onnx" or suffix in torch_program.SUFFIXES:
        if weights:
            raise NktcError(f"{model} has its own weights", help="leave the others out")
        return _of_onnx(model, shapes or {}, batch) if suffix == ".onnx" else _of_program(model)
    if model.is_dir():
        if weights or shapes:
            raise NktcError(f"the run {model} has its own weights and shapes", help="leave the others out")
        run = runs.open_run(model)
        return _of_net(models.open_run(model, places), {"net": run.deploy, "weights": run.weights()})
    if suffix in WEIGHTS and not model.name.lower().endswith(".solverstate.h5"):
        help = f"give the net that they are of first: nktc convert NET {model} -o OUT"
        raise NktcError(f"{model} has weights, but not the net", help=help)
    files = [Path(name) for name in weights]
    given = files or ([model] if reader.is_binary(model) else [])
    help = f"give them behind it: nktc convert {model} W -o OUT"
    without = NktcError(f"{model} is a net without weights", help=help)
    try:
        graph = models.open_model(model, given, places, shapes, dialect)
    except NktcError as refusal:
        if not given and all(error.code == "data" for error in split(refusal)):
            raise without from None
        _tell_of_shapes(refusal, model, shapes or {}, dialect)
        raise
    if not given and any(name not in graph.arrays and not p.weight.volatile for name, p in graph.parameters.items()):
        raise without
    named = {"net": model} | {f"weights{i or ''}": path for i, path in enumerate(files)}
    return _of_net(graph, named)


def _tell_of_shapes(refusal: NktcError, model: Path, shapes: Mapping[str, Shape], dialect: str) -> None:
    """Where data is not there, raise that alone, with the options that make it needless."""
    absent = [error for error in split(refusal) if error.code == "data"]
    unsaid = models.unsaid(model, shapes, dialect) if absent else []
    for error in absent[:1] if unsaid else []:
        error.help = f"without it: {' '.join(f'--input-shape {blob}=CxHxW' for blob in unsaid)}"
        raise error from None


def _of_net(graph: Graph, files: Mapping[str, Path]) -> Source:
    name = str(files["net"])
    return Source(name, graph, files, lambda: engines.subject_of_graph(f"{name} in torch", graph, []))


def _of_onnx(path: Path, shapes: Mapping[str, Shape], batch: int) -> Source:
    def subject() -> engines.Subject:
        session = engines.engine("onnxruntime").open(path, engines.Options("cpu"))
        outputs = tuple(value.name for value in session.outputs)
        return engines.Subject(f"{path} in onnxruntime", session, outputs, {})

    return Source(str(path), from_onnx(path, shapes, batch), {"model": path}, subject)


def _of_program(path: Path) -> Source:
    program = torch_program.open_program(path)
    graph = from_onnx(torch_program.of_program(program))

    def subject() -> engines.Subject:
        session = torch_program.ProgramSession(program, graph)
        return engines.Subject(f"{path} in torch", session, tuple(v.name for v in graph.outputs), {})

    return Source(str(path), graph, {"model": path}, subject)
