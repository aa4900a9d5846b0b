"""The engine that runs a graph, an ONNX file or a file of its own kind in OpenVINO, on the CPU."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import onnx_ir

from nktc import export
from nktc.engines.engine import Options
from nktc.engines.onnx_file import facts, no_blob, with_outputs
from nktc.errors import NktcError, near
from nktc.ir import DType, Graph, Value

TYPES = {
    "f32": DType.F32,
    "f16": DType.F16,
    "bf16": DType.BF16,
    "u8": DType.U8,
    "i8": DType.S8,
    "i64": DType.I64,
}
HALVES = (DType.F16, DType.BF16)
HINTS = ("latency", "throughput")
PRECISIONS = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
"""What a CPU may compute in, and its name for being able to."""


class OpenVino:
    """OpenVINO; it runs on the CPU, and computes in f32 unless the model is in halves that the CPU has."""

    reads: tuple[str, ...] = (".onnx", ".xml")
    target = "openvino"

    def missing(self) -> str:
        if importlib.util.find_spec("openvino") is None:
            return "pip install nktc[openvino]"
        try:
            _api()
        except (ImportError, OSError) as error:
            return f"openvino is installed but cannot be loaded: {_reason(error)}"
        return ""

    def version(self) -> str:
        return str(_api().__version__).partition("-")[0]

    def build(self, graph: Graph, options: Options) -> OpenVinoSession:
        settings = Settings.read(options)
        made = export.to_onnx(graph, target=export.target(self.target), batch=options.batch or None)
        model: onnx.ModelProto = onnx_ir.to_proto(made)
        return OpenVinoSession(_loaded(model.SerializeToString(), graph.name), settings, graph.name, model)

    def open(self, path: Path, options: Options, blobs: Sequence[str] = ()) -> OpenVinoSession:
        settings = Settings.read(options)
        if path.suffix.lower() != ".onnx":
            _check_xml(path)
            return OpenVinoSession(_with_outputs(_loaded(path, str(path)), blobs, path), settings, str(path))
        if blobs:
            given = with_outputs(path, blobs)
            return OpenVinoSession(_loaded(given, str(path)), settings, str(path), onnx.ModelProto.FromString(given))
        # A file that is none is tried as those of other frameworks too, which print what they miss in it.
        declared = export.load(path)
        return OpenVinoSession(_loaded(path, str(path)), settings, str(path), declared)


@dataclass(frozen=True)
class Settings:
    """The settings of `Options`, each also as a text.

    `hint` is latency, one picture as soon as may be, or throughput, many at a time from several callers; `streams`
    how many run side by side, 0 for what the hint says; `precision` what is computed in: f32, bf16 or f16, "" for f32
    but for a model in halves that the CPU has.
    """

    threads: int = 0
    hint: str = "latency"
    streams: int = 0
    precision: str = ""

    @classmethod
    def read(cls, options: Options) -> Settings:
        """Raises NktcError for an unknown name, for a value that is none and for a device that is no CPU."""
        kind, _, number = options.device.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
            raise NktcError(f'unknown device "{options.device}"', help="the devices are auto, cpu, cuda and cuda:N")
        if kind == "cuda":
            help = "use --device cpu, or the backend onnxruntime or tensorrt"
            raise NktcError(f"--device {options.device} cannot be had in OpenVINO, which runs on the CPU", help=help)
        known: dict[str, tuple[str, ...]] = {"hint": HINTS, "precision": tuple(PRECISIONS), "streams": ()}
        for name, value in options.settings.items():
            if name not in known:
                help = near(name, known) or f"its settings are {', '.join(sorted(known))}"
                raise NktcError(f'the backend openvino has no setting "{name}"', help=help)
            if known[name] and value not in known[name]:
                raise NktcError(f'{name} is "{value}"', help=f"{name} is one of {', '.join(known[name])}")
        given = dict(options.settings)
        streams = str(given.pop("streams", 0))
        if not streams.isdecimal():
            raise NktcError(f'streams is "{streams}"', help="streams is a number from 0 on")
        return cls(options.threads, streams=int(streams), **given)

    def properties(self, precision: str) -> dict[str, Any]:
        """As OpenVINO has them."""
        found = {"PERFORMANCE_HINT": self.hint.upper(), "INFERENCE_PRECISION_HINT": precision}
        if self.threads:
            found["INFERENCE_NUM_THREADS"] = str(self.threads)
        if self.streams:
            found["NUM_STREAMS"] = str(self.streams)
        return found


class OpenVinoSession:
    """A compiled model. It may be run from several threads at once."""

    device = "cpu"

    def __init__(self, model: Any, settings: Settings, name: str, declared: onnx.ModelProto | None = None) -> None:
        self.name = name
        told = {str(key): any.astype(str) for key, any in _told(model).items()}
        self.facts = facts(told, name)
        self.inputs, self.outputs = _values(model, name, declared)
        self._dropped = {value.name for value in self.inputs} - {n for port in model.inputs for n in port.get_names()}
        try:
            self.compiled = _core().compile_model(
                _in_floats(model), "CPU", settings.properties(_precision(settings, told.get("nktc.precision", "")))
            )
        except Exception as error:  # its errors share no base class but Exception
            help = "export it with --target openvino"
            raise NktcError(f"OpenVINO cannot run {name}: {_reason(error)}", help=help) from None
        self._idle: list[Any] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        known = [value.name for value in self.inputs]
        if wrong := [*(n for n in known if n not in feeds), *(n for n in feeds if n not in known)]:
            how = "is not fed" if wrong[0] in known else "is no input"
            help = f"its inputs are {', '.join(known)}"
            raise NktcError(f"OpenVINO cannot run {self.name}: {wrong[0]} {how}", help=help)
        given = {n: x.astype(np.float32) if x.dtype.kind == "V" else x for n, x in feeds.items()}
        request = self._idle.pop() if self._idle else self.compiled.create_infer_request()
        try:
            found = request.infer({n: x for n, x in given.items() if n not in self._dropped}, share_inputs=False)
        except Exception as error:
            raise NktcError(f"OpenVINO cannot run {self.name}: {_reason(error)}") from None
        arrays = {value.name: found[i] for i, value in enumerate(self.outputs)}
        self._idle.append(request)
        return arrays


def _api() -> Any:
    if "openvino" not in sys.modules:
        # Its tools make an id of the user's when they are imported, for telling of what they do.
        with _without("openvino_telemetry"):
            importlib.import_module("openvino")
    return sys.modules["openvino"]


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Imports find no such package meanwhile."""
    held = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
        if held is not None:
            sys.modules[package] = held


def _core() -> Any:
    return _api().Core()


def _loaded(given: Path | bytes, name: str) -> Any:
    """The model of a file or of an ONNX file's bytes. Raises NktcError."""
    try:
        return _core().read_model(given, b"") if isinstance(given, bytes) else _core().read_model(str(given))
    except Exception as error:
        help = "give a whole file of operators that OpenVINO has"
        raise NktcError(f"OpenVINO cannot load {name}: {_reason(error)}", help=help) from None


def _check_xml(path: Path) -> None:
    """Raises NktcError for what is no model of OpenVINO's."""
    try:
        root = ElementTree.parse(path).getroot().tag
    except (OSError, ElementTree.ParseError) as error:
        help = "give a whole .xml, with its .bin beside it"
        raise NktcError(f"OpenVINO cannot load {path}: {error}", help=help) from None
    if root != "net":
        raise NktcError(
            f"OpenVINO cannot load {path}: it holds <{root}> and no <net>", help="give an .xml of OpenVINO's"
        )


def _with_outputs(model: Any, blobs: Sequence[str], path: Path) -> Any:
    """The model of an .xml with these inner values as outputs behind its own. Raises NktcError."""
    made = {name for node in model.get_ordered_ops() for port in node.outputs() for name in port.get_names()}
    have = {name for port in model.outputs for name in port.get_names()}
    for name in dict.fromkeys(blobs):
        if name not in made:
            raise no_blob(str(path), name, sorted(made))
        if name not in have:
            model.add_outputs(name)
    return model


def _told(model: Any) -> Mapping[str, Any]:
    """What was written into the ONNX file that a model comes from."""
    return model.get_rt_info(["framework"]).astype(dict) if model.has_rt_info(["framework"]) else {}


def _values(model: Any, name: str, declared: onnx.ModelProto | None) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """The inputs and outputs, as an ONNX file declares them: OpenVINO drops inputs that nobody reads, and a value of
    its has many names."""
    inputs = {n: port for port in model.inputs for n in port.get_names()}
    if declared is None:
        pairs = [[(port.get_any_name(), port) for port in ports] for ports in (model.inputs, model.outputs)]
        first, last = (tuple(_value(n, port, name) for n, port in ports) for ports in pairs)
        return first, last
    held = {tensor.name for tensor in declared.graph.initializer}
    fed = [value for value in declared.graph.input if value.name not in held]
    return (
        tuple(_value(v.name, inputs[v.name], name) if v.name in inputs else _unread(v) for v in fed),
        tuple(_value(v.name, port, name) for v, port in zip(declared.graph.output, model.outputs, strict=True)),
    )


def _value(name: str, port: Any, model: str) -> Value:
    """Raises NktcError for a type that is none of ours."""
    said = port.get_element_type().get_type_name()
    if said not in TYPES:
        help = "export it with inputs and outputs that are tensors of numbers"
        raise NktcError(f"{model}: {name} is {said}, which nktc does not handle", help=help)
    dims = port.get_partial_shape()
    if dims.rank.is_dynamic:
        return Value(name, (), TYPES[said])
    return Value(name, tuple(0 if dim.is_dynamic else dim.get_length() for dim in dims), TYPES[said])


def _unread(value: onnx.ValueInfoProto) -> Value:
    return Value(value.name, tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim))


def _in_floats(model: Any) -> Any:
    """The model with outputs of halves, and inputs that NumPy has no type for, as f32."""
    steps = _api().preprocess.PrePostProcessor(model)
    changed = False
    for at, ports, types in ((steps.input, model.inputs, ("bf16",)), (steps.output, model.outputs, ("f16", "bf16"))):
        for i, port in enumerate(ports):
            if port.get_element_type().get_type_name() in types:
                at(i).tensor().set_element_type(_api().Type.f32)
                changed = True
    return steps.build() if changed else model


def _precision(settings: Settings, said: str) -> str:
    """What the CPU is to compute in. Raises NktcError where it has not what was asked for."""
    able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if settings.precision:
        if PRECISIONS[settings.precision] not in able:
            raise NktcError(f"this CPU does not compute in {settings.precision}", help="leave precision at f32")
        return settings.precision
    for ours, precision in (("bf16", "bf16"), ("fp16", "f16")):
        if ours in said.split("+") and PRECISIONS[precision] in able:
            return precision
    return "f32"


def _reason(error: Exception) -> str:
    """What its error says, without the places in its source: operators it has not, else the last cause."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '", "FrontEnd API"))]
    summary = [line for line in told if line.startswith(("No conversion rule", "Conversion is failed"))]
    return (summary or told or [type(error).__name__])[0].rstrip(". :")
