"""What a model is converted to: files by the suffix that the user gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nktc import export, files, module, passes, text, weights
from nktc.convert.source import Source
from nktc.convert.to_caffe import to_caffe
from nktc.errors import NktcError, near
from nktc.ir import Graph, definition

UNVERIFIED = ".unverified"


@dataclass(frozen=True)
class Settings:
    """How files are written: `target` and `batch` (None: any where the net goes with it) are for ONNX, as is
    `optimize`, whether the net is simplified first; `dialect` is Caffe's."""

    target: export.Target = export.PORTABLE
    batch: int | None = None
    optimize: bool = True
    dialect: str = "bvlc"


@dataclass(frozen=True)
class Written:
    """The files of a conversion, the one asked for first, the graph in them, and what is to be known of them."""

    files: tuple[Path, ...]
    graph: Graph
    note: str = ""


Write = Callable[[Source, Path, Settings], Written]


def _onnx(source: Source, path: Path, settings: Settings) -> Written:
    graph = passes.run(source.graph).graph if settings.optimize else source.graph
    export.save(export.to_onnx(graph, source.origin(), settings.target, settings.batch), path)
    return Written((path,), graph)


def _torch(source: Source, path: Path, settings: Settings) -> Written:
    made = module.source(source.graph, " and ".join(file.name for file in source.files.values()))
    program, beside = made.write(path.with_suffix(".py"), weights=True)
    return Written((beside, program), source.graph)


def _caffe(source: Source, path: Path, settings: Settings) -> Written:
    graph = to_caffe(source.graph, settings.dialect)
    net = path.with_name(f"{_stem(path)}.prototxt")
    with files.atomic(net) as temporary:
        temporary.write_bytes(text.print_message(definition(graph)).encode())
        weights.save(path, graph, graph.arrays)
    return Written((path, net), graph, "" if kind(path) == ".caffemodel" else _unfound(graph))


def _unfound(graph: Graph) -> str:
    """What is to be known of a net in HDF5, where Caffe takes the first part of a name like conv0/bn for all of it."""
    found = next((p.layer for p in graph.parameters.values() if "/" in p.layer), "")
    return found and f'Caffe finds no layer with / in its name, such as "{found}", in HDF5: give it a .caffemodel'


KINDS: dict[str, tuple[str, Write]] = {
    ".onnx": ("ONNX", _onnx),
    ".safetensors": ("PyTorch source, a .py beside it", _torch),
    ".caffemodel": ("Caffe, its net in a .prototxt beside it", _caffe),
    ".caffemodel.h5": ("the same in HDF5", _caffe),
    ".h5": ("the same in HDF5", _caffe),
}
"""What can be written, by suffix."""


def kind(path: Path) -> str:
    """The suffix of KINDS that a path has. Raises NktcError."""
    found = max((suffix for suffix in KINDS if path.name.lower().endswith(suffix)), key=len, default="")
    if not found or len(path.name) == len(found):
        help = near(path.suffix, KINDS) or f"end it in {', '.join(KINDS)}"
        raise NktcError(f"{path} does not say what to write", help=help)
    return found


def write(source: Source, path: Path, settings: Settings) -> Written:
    """Write a model to a path, with what goes beside it. Raises NktcError."""
    return KINDS[kind(path)][1](source, path, settings)


def beside(path: Path) -> list[Path]:
    """The files that a conversion to a path writes."""
    match kind(path):
        case ".onnx":
            return [path]
        case ".safetensors":
            return [path, path.with_suffix(".py")]
    return [path, path.with_name(f"{_stem(path)}.prototxt")]


def unverified(path: Path) -> Path:
    """What a file is called until it is proved: model.unverified.onnx."""
    return path.with_name(f"{_stem(path)}{UNVERIFIED}{path.name[len(_stem(path)) :]}")


def _stem(path: Path) -> str:
    suffix = next(
        (s for s in sorted([*KINDS, ".py", ".prototxt"], key=len, reverse=True) if path.name.lower().endswith(s)), ""
    )
    return path.name[: len(path.name) - len(suffix)]
