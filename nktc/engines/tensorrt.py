"""The engine that runs a graph, an ONNX file or an engine file of its own in TensorRT 11.

TensorRT is imported when it is asked for: what speaks to it is in `tensorrt_build` and `tensorrt_run`. An engine file
is good for one kind of GPU and one version of TensorRT; its sidecar says which, and is asked before the file is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import onnx_ir
import torch

from nktc import export
from nktc.engines import onnx_file, sidecar
from nktc.engines.engine import Facts, Options, Session
from nktc.engines.sidecar import Sidecar
from nktc.engines.tensorrt_gpu import Gpu
from nktc.engines.tensorrt_settings import CONSENTS, TensorRtSettings
from nktc.errors import NktcError, Span
from nktc.files import read_bytes
from nktc.ir import DType, Graph
from nktc.module import choose, why_no_gpu

MAJOR = "11"
REBUILD = "rebuild it with: nktc optimize … --backend tensorrt"
HALVES = {onnx.TensorProto.FLOAT16: DType.F16.value, onnx.TensorProto.BFLOAT16: DType.BF16.value}


class TensorRt:
    """TensorRT; strongly typed, so that an engine computes in the types the graph says."""

    reads: tuple[str, ...] = (".engine", ".plan", ".onnx")
    target = "tensorrt"

    def missing(self) -> str:
        if problem := _absent():
            return problem
        problem = why_no_gpu(torch.cuda.current_device() if torch.cuda.is_available() else 0)
        return f"it needs an NVIDIA GPU: {problem}" if problem else ""

    def version(self) -> str:
        return str(importlib.import_module("tensorrt").__version__)

    def build(self, graph: Graph, options: Options) -> Session:
        """A `TensorRtSession`; may take minutes."""

        def locate(layer: str) -> Span | None:
            return next((node.at for node in graph if node.name == layer), None)

        model = export.to_onnx(graph, target=export.target(self.target), batch=options.batch or None)
        facts = Facts(graph.preprocessing, graph.labels)
        return self._build(onnx_ir.to_proto(model), graph.name, facts, options, locate)

    def open(self, path: Path, options: Options, blobs: Sequence[str] = ()) -> Session:
        """A `TensorRtSession` of an engine file, or built from an ONNX file. Raises NktcError for an engine that is
        stale, damaged or made for another GPU or TensorRT."""
        if path.suffix.lower() == ".onnx":
            model = onnx.ModelProto.FromString(onnx_file.with_outputs(path, blobs)) if blobs else export.load(path)
            facts = onnx_file.facts({entry.key: entry.value for entry in model.metadata_props}, str(path))
            return self._build(model, str(path), facts, options, lambda layer: None)
        settings = TensorRtSettings.read(options.settings)
        gpu = _gpu(options.device)
        plan = read_bytes(path, "the engine")
        about = sidecar.read(path)
        if about:
            sidecar.check_file(path, about)
            self._check(path, about, gpu, settings)
        elif not settings.allow_foreign:
            raise NktcError(
                f"{path} is an engine without its sidecar {sidecar.place(path)}: nothing tells which GPU and"
                " TensorRT it was made for",
                help=f"{REBUILD}, or open it all the same with the setting allow_foreign",
            )
        known = about or Sidecar("tensorrt", self.version(), device=gpu.name, capability=gpu.capability)
        session: Session = self._session(plan, str(path), gpu, known, settings, settings.allow_host_code)
        for blob in blobs:
            if blob not in (names := [value.name for value in session.outputs]):
                raise onnx_file.no_blob(str(path), blob, names)
        return session

    def _build(
        self,
        model: onnx.ModelProto,
        name: str,
        facts: Facts,
        options: Options,
        locate: Callable[[str], Span | None],
    ) -> Any:
        settings = TensorRtSettings.read(options.settings)
        gpu = _gpu(options.device)
        with gpu.working():
            plan = _load("build").plan(model.SerializeToString(), name, settings, locate)
        about = Sidecar(
            engine="tensorrt",
            runtime=self.version(),
            device=gpu.name,
            capability=gpu.capability,
            driver=gpu.driver,
            asked=_asked(model),
            batch=options.batch,
            threads=options.threads,
            settings=settings.plain(),
            facts=facts,
        )
        session = self._session(plan, name, gpu, about, settings, settings.version_compatible)
        # An engine in other numbers than were asked for is as long or as large as nobody expects, and says nothing.
        lost = [kind for kind in about.asked if kind not in session.found]
        if session.found and lost:
            found = ", ".join(f"{share:.0%} {kind}" for kind, share in session.found.items())
            raise NktcError(f"{name} asks for {lost[0]}, and TensorRT made an engine without: {found}")
        return session

    def _session(
        self, plan: bytes, name: str, gpu: Gpu, about: Sidecar, settings: TensorRtSettings, host_code: bool
    ) -> Any:
        return _load("run").TensorRtSession(plan, name, gpu, about, settings.cuda_graph, host_code)

    def _check(self, path: Path, about: Sidecar, gpu: Gpu, settings: TensorRtSettings) -> None:
        """Raises NktcError where a sidecar tells of an engine that is not for here and now."""
        if about.engine != "tensorrt":
            raise NktcError(f"{path} was made by the backend {about.engine}, not by tensorrt")
        if consents := [name for name in CONSENTS if name in about.settings]:
            raise NktcError(f"the sidecar of {path} says {consents[0]}, which only you can say", help=REBUILD)
        made = TensorRtSettings.read(about.settings)
        if made.version_compatible and not settings.allow_host_code:
            raise NktcError(
                f"{path} is version compatible: it carries code of its own, which runs when it is loaded",
                help="if you trust it, open it with the setting allow_host_code",
            )
        if settings.allow_foreign:
            return
        here = self.version()
        older = _numbers(about.runtime) <= _numbers(here) and about.runtime.split(".")[0] == here.split(".")[0]
        if here != about.runtime and not (made.version_compatible and older):
            raise NktcError(f"{path} was made by TensorRT {about.runtime}, and this is {here}", help=REBUILD)
        same = {
            "none": (about.device, about.capability) == (gpu.name, gpu.capability),
            "same-capability": about.capability == gpu.capability,
            "ampere+": _numbers(gpu.capability) >= (8,),
        }[made.hardware_compatibility]
        if not same:
            there = f"{about.device} (compute capability {about.capability})"
            raise NktcError(f"{path} was made for {there}, and this is {gpu.name} ({gpu.capability})", help=REBUILD)
        sidecar.check_sources(path, about)


def _absent() -> str:
    """Why TensorRT cannot be imported, or is none that nktc knows; "" where it can be used."""
    help = "pip install 'nktc[tensorrt]'"
    try:
        found = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        if not isinstance(error, ModuleNotFoundError):
            return f"TensorRT is installed, but its libraries are absent: {_line(error)}"
    else:
        if found.__version__.split(".")[0] == MAJOR:
            return ""
        return f"nktc works with TensorRT {MAJOR}, and {found.__version__} is installed; {help}"
    try:
        importlib.import_module("tensorrt_bindings")
    except ModuleNotFoundError:
        return help
    except (ImportError, OSError) as error:
        return f"TensorRT's Python bindings are installed, but its libraries are absent: {_line(error)}; {help}"
    return f"TensorRT's bindings and libraries are installed, but not its package tensorrt-cu13; {help}"


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _load(part: str) -> ModuleType:
    """What speaks to TensorRT."""
    return importlib.import_module(f"nktc.engines.tensorrt_{part}")


def _gpu(device: str) -> Gpu:
    """Raises NktcError where the device is no GPU that can be had."""
    found, problem = choose(device, gpu_wanted=True)
    if found.type != "cuda":
        raise NktcError(f"TensorRT runs on NVIDIA GPUs, not on {device}" + (f": {problem}" if problem else ""))
    return Gpu(found)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _asked(model: onnx.ModelProto) -> tuple[str, ...]:
    """The number types other than f32 that an ONNX model computes in."""
    tensors = {tensor.data_type for tensor in model.graph.initializer}
    tensors |= {value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    found = [name for kind, name in HALVES.items() if kind in tensors]
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        found.append(DType.S8.value)
    return tuple(found)
