"""The engine that runs a graph, or an ONNX file, in ONNX Runtime."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import torch

from nktc import export
from nktc.engines.engine import Options
from nktc.errors import NktcError
from nktc.ir import Graph, Preprocessing, Shape

# What it has to say on standard error comes as exceptions too.
onnxruntime.set_default_logger_severity(4)


class OnnxRuntime:
    """ONNX Runtime; the provider asked for is the provider used."""

    def missing(self) -> str:
        return ""

    def build(self, graph: Graph, options: Options) -> OnnxSession:
        model = onnx_ir.to_proto(export.to_onnx(graph))
        return OnnxSession(model.SerializeToString(), options, graph.name)

    def open(self, path: Path, options: Options) -> OnnxSession:
        """A session of an ONNX file. Raises NktcError where ONNX Runtime refuses it."""
        return OnnxSession(str(path), options, str(path))


class OnnxSession:
    """An InferenceSession on one provider, the CPU's or the GPU's."""

    def __init__(self, model: bytes | str, options: Options, name: str) -> None:
        wanted = options.device.partition(":")[0]
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        settings.intra_op_num_threads = options.threads
        providers = _providers(options.device)
        try:
            self.session = onnxruntime.InferenceSession(model, settings, providers=providers)
        except Exception as error:  # its errors share no base class but Exception
            help = "give a whole ONNX file of operators that ONNX Runtime has"
            raise NktcError(f"ONNX Runtime cannot load {name}: {_reason(error)}", help=help) from None
        self.name = name
        used = self.session.get_providers()[0]
        # It falls back to the CPU in silence; a GPU that was asked for by name is an error instead.
        if wanted == "cuda" and used != "CUDAExecutionProvider":
            help = "install its CUDA libraries with: pip install nktc[gpu], or use --device cpu"
            raise NktcError(
                f"--device {options.device} cannot be had in ONNX Runtime, which fell back to {used}",
                help=help,
            )
        self.device = "cpu" if used == "CPUExecutionProvider" else "cuda"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self.session.get_outputs()]
        try:
            return dict(zip(names, self.session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise NktcError(f"ONNX Runtime cannot run {self.name}: {_reason(error)}") from None

    def facts(self) -> Facts:
        """What the file says of itself. Raises NktcError where its metadata cannot be read."""
        try:
            found = self.session.get_modelmeta().custom_metadata_map
            packed = json.loads(found.get("nktc.preprocessing", "{}"))
            preprocessing = {name: export.unpack(p) for name, p in packed.items()}
            labels = tuple(map(str, json.loads(found.get("nktc.labels", "[]"))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NktcError(f"the metadata of {self.name} cannot be read: {error}", help="export it again") from None
        return Facts(
            tuple((x.name, _shape(x.shape)) for x in self.session.get_inputs()),
            tuple((x.name, _shape(x.shape)) for x in self.session.get_outputs()),
            tuple(x.type for x in self.session.get_inputs()),
            preprocessing,
            labels,
        )


@dataclass(frozen=True)
class Facts:
    """What an ONNX file says of itself: names and shapes (0 where open), the inputs' types as ONNX Runtime writes them,
    and what nktc wrote into its metadata."""

    inputs: tuple[tuple[str, Shape], ...]
    outputs: tuple[tuple[str, Shape], ...]
    types: tuple[str, ...]
    preprocessing: dict[str, Preprocessing]
    labels: tuple[str, ...]


def _reason(error: Exception) -> str:
    """Its first line, "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from FILE failed:...", without the codes
    and the file."""
    line = str(error).splitlines()[0]
    said = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?", "", line)
    return said.rstrip(". ")


def _shape(dims: Sequence[Any]) -> Shape:
    return tuple(dim if isinstance(dim, int) else 0 for dim in dims)


def _providers(device: str) -> list[Any]:
    """The providers for a device, the wanted one first; auto takes the GPU where torch finds one."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise NktcError(f'unknown device "{device}"', help="the devices are auto, cpu, cuda and cuda:N")
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return ["CPUExecutionProvider"]
    if torch.cuda.is_available():
        onnxruntime.preload_dlls()  # the CUDA libraries that came with torch
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
