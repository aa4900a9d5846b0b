"""torch's own models on their way to ONNX: a module with example inputs, or a program that torch.export saved.

A saved program is a zip archive of JSON and numbers, but torch's loader also takes pickles, compiled code and names of
any function of torch from it. So it is looked through first, and what is more than data is refused.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch.utils import _pytree as pytree

from nktc import engines
from nktc.errors import NktcError
from nktc.ir import Graph, Value

SUFFIXES = (".pt2", ".pt", ".pth")
PLAIN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|models/model\.json|extra/.*"
    r"|data/(weights/weight_\d+|constants/tensor_\d+|weights/model_weights_config\.json"
    r"|constants/model_constants_config\.json|sample_inputs/model\.pt)"
)
TARGETS = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|ge|gt|le|lt|and_|or_|not_)"
)
SYMBOLS = re.compile(
    r"[su]\d+|zuf?\d+|\d+|int_oo|Symbol|Integer|Rational|Float|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv"
    r"|Eq|Ne|Ge|Gt|Le|Lt|True|False|integer|positive|nonnegative|negative|real|finite|precision"
)
MOST_JSON = 1 << 28  # bytes


def of_module(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor], names: Sequence[str] | None = None
) -> onnx.ModelProto:
    """The ONNX model of a module in eval mode, traced with these inputs. Raises NktcError where torch cannot."""
    _ready()
    with _reason("torch cannot export the module"):
        program = torch.export.export(module.eval(), tuple(inputs))
        return _onnx(program, names)


def of_program(program: torch.export.ExportedProgram) -> onnx.ModelProto:
    """The ONNX model of a saved program. Raises NktcError where torch cannot."""
    _ready()
    with _reason("torch cannot export the program"):
        return _onnx(program, None)


def open_program(path: Path) -> torch.export.ExportedProgram:
    """A program that torch.export saved, which runs no code of the file. Raises NktcError."""
    try:
        with zipfile.ZipFile(path) as archive:
            _look_through(path, archive)
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        raise _refused(path, "it is no zip archive") from None
    with _reason(f"torch cannot load {path}"), path.open("rb") as file:
        return torch.export.load(file)


class ProgramSession:
    """A program as it runs in torch; inputs and outputs are called as those of the graph made of it."""

    device = "cpu"

    def __init__(self, program: torch.export.ExportedProgram, graph: Graph) -> None:
        self.module: Any = program.module()
        self.inputs: tuple[Value, ...] = graph.inputs
        self.outputs: tuple[Value, ...] = graph.outputs
        self.facts = engines.Facts()

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self.module(*(torch.from_numpy(feeds[value.name]) for value in self.inputs))
        leaves = [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, torch.Tensor)]
        return {value.name: leaf.float().numpy() for value, leaf in zip(self.outputs, leaves, strict=True)}


def _onnx(program: torch.export.ExportedProgram, names: Sequence[str] | None) -> onnx.ModelProto:
    made = torch.onnx.export(program, dynamo=True, verbose=False, input_names=names)
    assert made is not None
    return made.model_proto


def _ready() -> None:
    """Raises NktcError where torch's exporter lacks what it needs."""
    if find_spec("onnxscript") is None:
        raise NktcError("torch's ONNX exporter needs onnxscript", help="pip install nktc[torch-import]")


def _look_through(path: Path, archive: zipfile.ZipFile) -> None:
    """Raises NktcError where an archive holds more than a graph of operators and numbers."""
    inner = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
    if "models/model.json" not in inner:
        if any(name.endswith("data.pkl") for name in inner):
            raise _refused(path, "it is pickled: weights alone, or a module that only its own code can open")
        raise _refused(path, "it holds no models/model.json")
    for name, entry in inner.items():
        if not PLAIN.fullmatch(name):
            raise _refused(path, f"it holds {name}, which is no plain data")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise _refused(path, f"{name} in it is compressed")
    for name in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
        if name in inner:
            for key, said in _json(path, archive, inner[name]).get("config", {}).items():
                if said.get("use_pickle", True):
                    raise _refused(path, f'its "{key}" is pickled')
    for key, value in _words(_json(path, archive, inner["models/model.json"])):
        if key == "target" and not TARGETS.fullmatch(value):
            raise _refused(path, f'it calls "{value}", which is no operator of torch')
        if key == "expr_str" and not _size(value):
            raise _refused(path, f'a size in it is "{value}"')
    if "data/sample_inputs/model.pt" in inner:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickles that it then refuses
                torch.load(io.BytesIO(archive.read(inner["data/sample_inputs/model.pt"])), weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError):
            raise _refused(path, "its sample inputs are more than tensors") from None


def _size(text: str) -> bool:
    """Whether a text is arithmetic of sizes, and no other Python: the loader evaluates it."""
    return all(map(SYMBOLS.fullmatch, re.findall(r"\w+", text))) and not re.search(r"[^\w\s()+\-*/,.='<>]", text)


def _json(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    if entry.file_size > MOST_JSON:
        raise _refused(path, f"{entry.filename} in it is {entry.file_size} bytes long")
    try:
        found = json.loads(archive.read(entry))
    except (ValueError, zipfile.BadZipFile, RecursionError, EOFError):
        raise _refused(path, f"{entry.filename} in it is damaged") from None
    if not isinstance(found, dict):
        raise _refused(path, f"{entry.filename} in it is damaged")
    return found


def _words(tree: Any) -> Iterator[tuple[str, str]]:
    """Every text in JSON with the key that it has."""
    todo = [tree]
    while todo:
        here = todo.pop()
        pairs = here.items() if isinstance(here, dict) else [("", one) for one in here]
        for key, value in pairs:
            if isinstance(value, str):
                yield key, value
            elif isinstance(value, dict | list):
                todo.append(value)


def _refused(path: Path, reason: str) -> NktcError:
    help = "save the model with torch.export.save(torch.export.export(model.eval(), inputs), FILE.pt2), or as ONNX"
    return NktcError(f"{path} is no program that can be opened safely: {reason}", help=help)


@contextmanager
def _reason(what: str) -> Iterator[None]:
    """What torch raises inside, which is of many kinds, as an NktcError; its warnings are of its own working."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except NktcError:
        raise
    except Exception as error:
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise NktcError(f"{what}: {said}", help="torch.onnx.export says more") from None
    finally:
        logger.setLevel(level)
