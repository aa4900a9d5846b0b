"""The files of a conversion as they run: in every runtime at hand, or in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file, save_file

from nktc import data, engines, models
from nktc.errors import NktcError
from nktc.ir import Graph, Value

DRIVER = """
import importlib.util, sys
sys.modules["nktc"] = None  # the file is to run without it
import torch
from safetensors.torch import load_file, save_file
path, weights, fed, made = sys.argv[1:]
told, sys.stdout = sys.stdout, sys.stderr
spec = importlib.util.spec_from_file_location("model", path)
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
net = next(one for one in vars(model).values() if isinstance(one, type) and issubclass(one, torch.nn.Module))().eval()
net.load_state_dict(load_file(weights))
for line in sys.stdin:
    inputs = load_file(fed)
    with torch.inference_mode():
        found = net(*(inputs[str(i)] for i in range(len(inputs))))
    found = found if isinstance(found, tuple) else (found,)
    save_file({str(i): y.float().contiguous().clone() for i, y in enumerate(found)}, made)
    print("made", file=told, flush=True)
"""

Open = Callable[[], engines.Subject]


def of_onnx(path: Path, graph: Graph) -> dict[str, Open]:
    """An ONNX file in each engine here that reads such files, and in OpenCV."""

    def opened(name: str) -> engines.Subject:
        session = engines.engine(name).open(path, engines.Options("cpu"))
        return engines.Subject(f"{path} in {name}", session, tuple(v.name for v in session.outputs), {})

    here = [name for name in engines.readers(path) if not engines.loaded(name).missing()]
    found: dict[str, Open] = {name: partial(opened, name) for name in here}
    return found | {"opencv": lambda: _subject(f"{path} in opencv", OpenCvSession(path, graph), graph)}


def of_source(files: Sequence[Path], graph: Graph) -> dict[str, Open]:
    """A PyTorch source file in a process of its own, which has no nktc."""
    weights, program = files
    name = f"{program} in a Python without nktc"
    return {"python": lambda: _subject(name, ProcessSession(program, weights, graph), graph)}


def of_caffe(files: Sequence[Path], graph: Graph, places: data.Places) -> dict[str, Open]:
    """A net and weights read back, in torch and by way of ONNX in the engines here."""
    weights, net = files
    given = [weights] if graph.arrays else []  # a net of Softmax alone has none, and such files are refused

    def opened(name: str) -> engines.Subject:
        back = models.open_model(net, given, places)
        outputs = tuple(value.name for value in back.outputs)
        return engines.Subject(
            f"{weights} in {name}", engines.engine(name).build(back, engines.Options("cpu")), outputs, {}
        )

    usable = [name for name in ("torch", "onnxruntime", "openvino") if name in engines.usable()]
    return {name: partial(opened, name) for name in usable}


def _subject(name: str, session: engines.Session, graph: Graph) -> engines.Subject:
    return engines.Subject(name, session, tuple(value.name for value in graph.outputs), {})


class OpenCvSession:
    """An ONNX file in cv2.dnn."""

    device = "cpu"

    def __init__(self, path: Path, graph: Graph) -> None:
        self.inputs: tuple[Value, ...] = graph.inputs
        self.outputs: tuple[Value, ...] = graph.outputs
        self.facts = engines.Facts()
        try:
            self.net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise NktcError(f"OpenCV cannot load {path}: {_line(error)}") from None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [value.name for value in self.outputs]
        try:
            for value in self.inputs:
                self.net.setInput(feeds[value.name], value.name)
            found = self.net.forward(names)
        except cv2.error as error:
            raise NktcError(f"OpenCV cannot run the file: {_line(error)}") from None
        return {name: np.array(y) for name, y in zip(names, found, strict=True)}


class ProcessSession:
    """A PyTorch source file with its weights in a process of its own, which lives as long as the session."""

    device = "cpu"

    def __init__(self, program: Path, weights: Path, graph: Graph) -> None:
        self.program = program
        self.inputs: tuple[Value, ...] = graph.inputs
        self.outputs: tuple[Value, ...] = graph.outputs
        self.facts = engines.Facts()
        folder = tempfile.TemporaryDirectory()
        self.fed, self.made, self.said = (Path(folder.name, name) for name in ("fed", "made", "said"))
        arguments = [str(one) for one in (program, weights, self.fed, self.made)]
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        weakref.finalize(self, _end, self.process, folder)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = {str(i): np.ascontiguousarray(feeds[value.name]) for i, value in enumerate(self.inputs)}
        save_file(given, self.fed)
        if not _answered(self.process):
            code = self.process.wait()
            said = (self.said.read_text().strip() or f"it ended with {code}").splitlines()[-1]
            raise NktcError(f"{self.program} does not run: {said}")
        found = load_file(self.made)
        return {value.name: found[str(i)] for i, value in enumerate(self.outputs)}


def _answered(process: subprocess.Popen[str]) -> bool:
    """Whether a process made something of what it is fed; it has ended where it did not."""
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write("\n")
        process.stdin.flush()
    except BrokenPipeError:
        return False
    return bool(process.stdout.readline())


def _end(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    try:
        process.communicate()  # which tells it that there is no more
    finally:
        folder.cleanup()


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
