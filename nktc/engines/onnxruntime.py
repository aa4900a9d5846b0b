"""The engine that runs a graph, or an ONNX file, in ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir
import onnxruntime
import torch

from nktc import export
from nktc.engines.engine import Options
from nktc.engines.onnx_file import facts, with_outputs
from nktc.errors import NktcError, near
from nktc.ir import DType, Graph, Shape, Value

# What it has to say on standard error comes as exceptions too.
onnxruntime.set_default_logger_severity(4)

TYPES = {
    "tensor(float)": DType.F32,
    "tensor(float16)": DType.F16,
    "tensor(bfloat16)": DType.BF16,
    "tensor(uint8)": DType.U8,
    "tensor(int8)": DType.S8,
    "tensor(int64)": DType.I64,
}


class OnnxRuntime:
    """ONNX Runtime; the provider asked for is the provider used."""

    reads: tuple[str, ...] = (".onnx", ".ort")
    target = "onnxruntime"

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return str(onnxruntime.__version__)

    def build(self, graph: Graph, options: Options) -> OnnxSession:
        model = export.to_onnx(graph, target=export.target(self.target), batch=options.batch or None)
        return OnnxSession(onnx_ir.to_proto(model).SerializeToString(), options, graph.name)

    def build_plain(self, graph: Graph, options: Options) -> OnnxSession:
        """A session of the file that any runtime would be given, to compare with."""
        model = export.to_onnx(graph, batch=options.batch or None)
        return OnnxSession(onnx_ir.to_proto(model).SerializeToString(), options, graph.name)

    def open(self, path: Path, options: Options, blobs: Sequence[str] = ()) -> OnnxSession:
        """A session of an ONNX file. Raises NktcError where ONNX Runtime refuses it."""
        return OnnxSession(with_outputs(path, blobs) if blobs else str(path), options, str(path))


class OnnxSession:
    """An InferenceSession on one provider, the CPU's or the GPU's."""

    def __init__(self, model: bytes | str, options: Options, name: str) -> None:
        wanted = options.device.partition(":")[0]
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        settings.intra_op_num_threads = options.threads
        # Threads that wait for more work turn, and slow down whatever else runs.
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        providers = _providers(options.device, _layout(options.settings))
        try:
            self.session = onnxruntime.InferenceSession(model, settings, providers=providers)
            if "int8" in self.session.get_modelmeta().custom_metadata_map.get("nktc.precision", ""):
                # What we leave in f32 between layers in 8 bits is meant so: it is slower in 8.
                self.session = onnxruntime.InferenceSession(
                    model, settings, providers=providers, disabled_optimizers=["QDQPropagationTransformer"]
                )
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
        self.inputs = tuple(self._value(x) for x in self.session.get_inputs())
        self.outputs = tuple(self._value(x) for x in self.session.get_outputs())
        self.facts = facts(self.session.get_modelmeta().custom_metadata_map, name)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self.outputs]
        try:
            found = self.session.run(names, dict(feeds))
        except Exception as error:
            raise NktcError(f"ONNX Runtime cannot run {self.name}: {_reason(error)}") from None
        halves = (np.float16, ml_dtypes.bfloat16)
        return {n: y.astype(np.float32) if y.dtype in halves else y for n, y in zip(names, found, strict=True)}

    def _value(self, x: Any) -> Value:
        """An input or output. Raises NktcError for a type that is no tensor of ours."""
        if x.type not in TYPES:
            help = "export it with tensors of numbers as inputs and outputs"
            raise NktcError(f"{self.name}: {x.name} is {x.type}, which nktc does not handle", help=help)
        return Value(x.name, _shape(x.shape), TYPES[x.type])


def _reason(error: Exception) -> str:
    """Its first line, "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from FILE failed:...", without the codes
    and the file."""
    line = str(error).splitlines()[0]
    said = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?", "", line)
    return said.rstrip(". ")


def _shape(dims: Sequence[Any]) -> Shape:
    return tuple(dim if isinstance(dim, int) else 0 for dim in dims)


def _layout(settings: Mapping[str, Any]) -> str:
    """The layout of pictures that the CUDA provider is to prefer. Raises NktcError for settings that there are not."""
    for name in settings:
        if name != "layout":
            help = near(name, ["layout"]) or "it has one: layout"
            raise NktcError(f'the backend onnxruntime has no setting "{name}"', help=help)
    layout = str(settings.get("layout", "NCHW"))
    if layout not in ("NCHW", "NHWC"):
        raise NktcError(f"layout is {layout}", help="NCHW or NHWC; on the CPU ONNX Runtime chooses for itself")
    return layout


def _providers(device: str, layout: str = "NCHW") -> list[Any]:
    """The providers for a device, the wanted one first; auto takes the GPU where torch finds one."""
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise NktcError(f'unknown device "{device}"', help="the devices are auto, cpu, cuda and cuda:N")
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return ["CPUExecutionProvider"]
    if torch.cuda.is_available():
        onnxruntime.preload_dlls()  # the CUDA libraries that came with torch
    cuda = {"device_id": int(number or 0), "prefer_nhwc": int(layout == "NHWC")}
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
