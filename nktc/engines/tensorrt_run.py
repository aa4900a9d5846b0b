"""A TensorRT plan at work. Imported by `tensorrt` and `tensorrt_build` alone, and only where TensorRT is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorrt as trt
import torch
from torch import Tensor

from nktc.engines import sidecar
from nktc.engines.sidecar import Sidecar
from nktc.engines.tensorrt_gpu import Gpu
from nktc.errors import NktcError
from nktc.files import write_bytes
from nktc.ir import DType, Shape, Value, times
from nktc.module import out_of_memory

TYPES = {
    trt.DataType.FLOAT: (DType.F32, torch.float32),
    trt.DataType.HALF: (DType.F16, torch.float16),
    trt.DataType.BF16: (DType.BF16, torch.bfloat16),
    trt.DataType.INT8: (DType.S8, torch.int8),
    trt.DataType.UINT8: (DType.U8, torch.uint8),
    trt.DataType.INT64: (DType.I64, torch.int64),
}
# What a tensor's type is called in the inspector's JSON, or is in its format's description.
WORDS = {
    "bf16": "bf16",
    "bfloat16": "bf16",
    "half": "f16",
    "fp16": "f16",
    "float": "f32",
    "fp32": "f32",
    "int8": "s8",
    "fp8": "f8",
    "int64": "i64",
    "int32": "i32",
    "bool": "bool",
}
GRAPHS = 8
"""How many shapes a session keeps a CUDA graph of; each has memory of its own."""

Had = TypeVar("Had")


class Log(trt.ILogger):
    """Keeps TensorRT's errors, which say why its functions gave nothing."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(msg)

    def reason(self, otherwise: str) -> str:
        """The first error since the last was asked for, as one line, or `otherwise`."""
        said, self.errors = (self.errors or [otherwise])[0].strip(), []
        return (said.splitlines() or [otherwise])[0].rstrip(". ")


def had(made: Had | None, what: str, log: Log) -> Had:
    """What TensorRT made. Raises NktcError where it gave nothing."""
    if made is None:
        raise NktcError(f"TensorRT gives no {what.removeprefix('a ')}: {log.reason('it does not say why')}")
    return made


@dataclass
class _Work:
    """An execution context with memory of its own, and in a CUDA graph the tensors that it reads and writes."""

    context: trt.IExecutionContext
    memory: Tensor
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    again: Callable[[], None]


class TensorRtSession:
    """An engine on one GPU. All memory and the stream are torch's.

    `plan` is what an engine file holds and `about` what its sidecar says, but for the file's hash; `found` is the share
    of the engine's layers that give each number type, empty where it does not tell.
    """

    def __init__(self, plan: bytes, name: str, gpu: Gpu, about: Sidecar, cuda_graph: bool, host_code: bool) -> None:
        self.plan, self.name, self.gpu, self.facts = plan, name, gpu, about.facts
        self.device = str(gpu.device)
        self.cuda_graph = cuda_graph
        self._log = Log()
        with gpu.working():
            try:
                self._runtime = trt.Runtime(self._log)
            except TypeError as error:
                help = "look at nvidia-smi"
                raise NktcError(f"TensorRT does not start: {self._log.reason(str(error))}", help=help) from None
            if host_code:
                self._runtime.engine_host_code_allowed = True
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                reason = self._log.reason("it does not say why")
                raise NktcError(f"TensorRT cannot load {name}: {reason}", help="make it again with nktc optimize")
            self._read_tensors(self._engine)
            self._context, self._memory = self._new_context()
            self.found = self._precision(self._engine)
        self._graphs: dict[tuple[Shape, ...], _Work] = {}
        self.about = replace(about, found=self.found)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch above the largest that the engine takes is run in parts. Raises NktcError for feeds that do not
        fit."""
        arrays = {value.name: self._array(value, feeds) for value in self.inputs}
        size, most = self._batch(arrays)
        parts = []
        for start in range(0, max(size, 1), most):
            part = {n: a[start : start + most] if size > most else a for n, a in arrays.items()}
            with self._told(), self.gpu.working():
                given = {n: self.gpu.upload(a, self._types[n]) for n, a in part.items()}
                parts.append({n: self.gpu.download(y) for n, y in self._run(given).items()})
        if len(parts) == 1:
            return parts[0]
        return {value.name: np.concatenate([part[value.name] for part in parts]) for value in self.outputs}

    def run_torch(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors on the session's GPU by name, in the types that `inputs` tells -> the outputs by name, in theirs.
        Goes on while the GPU works; the caller's stream waits for it. Raises NktcError for feeds that do not fit."""
        given = {}
        for value in self.inputs:
            tensor = feeds.get(value.name)
            if tensor is None or tensor.device != self.gpu.device or tensor.dtype != self._types[value.name]:
                said = f"{tensor.dtype} on {tensor.device}" if tensor is not None else "nothing"
                raise NktcError(f"{self.name} takes {value} on {self.device} and is given {said}")
            given[value.name] = tensor.detach()
        with self._told(), self.gpu.working():
            found = self._run({name: tensor.contiguous() for name, tensor in given.items()})
        for tensor in (*given.values(), *found.values()):
            self.gpu.lend(tensor)
        return found

    def save(
        self, path: Path, origin: Mapping[str, str] | None = None, measured: Mapping[str, Any] | None = None
    ) -> Sidecar:
        """Write the engine and its sidecar, which is given back. `origin` has names and hashes of the sources."""
        about = replace(self.about, measured=measured or self.about.measured)
        if origin is not None:
            about = replace(about, facts=replace(about.facts, origin=origin))
        # The engine first: with a sidecar that is not its own it is refused, and that is right.
        write_bytes(path, self.plan)
        return sidecar.write(path, about)

    def _read_tensors(self, engine: trt.ICudaEngine) -> None:
        inputs, outputs = [], []
        self._types: dict[str, torch.dtype] = {}
        self._bounds: dict[str, tuple[Shape, ...]] = {}
        for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
            dtype, location = engine.get_tensor_dtype(name), engine.get_tensor_location(name)
            if dtype not in TYPES or location != trt.TensorLocation.DEVICE:
                what = dtype.name if dtype not in TYPES else "a shape"
                raise NktcError(f"{self.name}: {name} is {what}, which nktc does not handle")
            self._types[name] = TYPES[dtype][1]
            shape = tuple(engine.get_tensor_shape(name))
            value = Value(name, tuple(max(n, 0) for n in shape), TYPES[dtype][0])
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                inputs.append(value)
                profile = engine.get_tensor_profile_shape(name, 0) if -1 in shape else [shape] * 3
                self._bounds[name] = tuple(tuple(one) for one in profile)
            else:
                outputs.append(value)
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    def _array(self, value: Value, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """The array for an input. Raises NktcError where there is none of its type."""
        array = feeds.get(value.name)
        if array is None or array.dtype != value.dtype.numpy:
            given = "nothing" if array is None else f"{array.dtype} {times(array.shape)}"
            raise NktcError(f"{self.name} takes {value} and is given {given}")
        return array

    def _batch(self, arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
        """The batch that is given and the most that runs at once; they are the same unless all that goes in and comes
        out has the batch in axis 0, open."""
        sizes = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
        size = max(sizes, default=1)
        opened = all(value.shape and value.shape[0] == 0 for value in (*self.inputs, *self.outputs))
        if len(sizes) != 1 or not opened:
            return size, max(size, 1)
        return size, min(self._bounds[value.name][2][0] for value in self.inputs)

    def _check(self, given: Mapping[str, Tensor]) -> None:
        """Raises NktcError for a shape outside the engine's bounds."""
        for name, tensor in given.items():
            low, _, high = self._bounds[name]
            shape = tuple(tensor.shape)
            fits = len(shape) == len(low)
            if not fits or any(not a <= n <= b for n, a, b in zip(shape, low, high, strict=True)):
                taken = times(low) if low == high else f"{times(low)} to {times(high)}"
                help = "" if low == high else 'optimize it again with other bounds, as in profiles = "1,8,32"'
                raise NktcError(f"{self.name} takes {name} as {taken}, not {times(shape)}", help=help)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What torch or TensorRT raise at work comes out as an NktcError."""
        try:
            yield
        except RuntimeError as error:
            if out_of_memory(error):
                raise NktcError(f"the GPU has no memory left to run {self.name}", help="run smaller batches") from None
            raise NktcError(f"TensorRT cannot run {self.name}: {self._log.reason(str(error))}") from None

    def _run(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Inside `working`."""
        self._check(given)
        return self._replayed(given) if self.cuda_graph else self._enqueued(self._context, given)

    def _enqueued(self, context: trt.IExecutionContext, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Set a context's inputs, make its outputs, and run it once."""
        self._set_shapes(context, {name: tuple(tensor.shape) for name, tensor in given.items()})
        self._set_addresses(context, given)
        if unknown := context.infer_shapes():
            raise NktcError(f"{self.name}: TensorRT does not know the shape of {unknown[0]}")
        found = {v.name: self.gpu.empty(self._shape(context, v), self._types[v.name]) for v in self.outputs}
        self._set_addresses(context, found)
        self._ask(context.execute_async_v3(self.gpu.handle), "does not run")
        return found

    def _set_addresses(self, context: trt.IExecutionContext, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self._ask(context.set_tensor_address(name, tensor.data_ptr()), f"does not take memory for {name}")

    def _set_shapes(self, context: trt.IExecutionContext, shapes: Mapping[str, Shape]) -> None:
        for name, shape in shapes.items():
            self._ask(context.set_input_shape(name, shape), f"does not take {name} as {times(shape)}")

    def _shape(self, context: trt.IExecutionContext, value: Value) -> Shape:
        shape = tuple(context.get_tensor_shape(value.name))
        if -1 in shape:
            help = "end the net before what finds so many things, such as NonMaxSuppression"
            raise NktcError(f"{self.name}: how large {value.name} is depends on what is in it", help=help)
        return shape

    def _replayed(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same through the CUDA graph for these shapes, which is made where there is none yet."""
        key = tuple(tuple(given[value.name].shape) for value in self.inputs)
        work = self._graphs.get(key) or self._capture(key, given)
        for name, tensor in given.items():
            work.inputs[name].copy_(tensor)
        work.again()
        # The next run writes into these.
        return {name: tensor.clone() for name, tensor in work.outputs.items()}

    def _capture(self, key: tuple[Shape, ...], given: Mapping[str, Tensor]) -> _Work:
        # A graph holds on to its context, which a run in other shapes would change under it.
        context, memory = self._new_context()
        inputs = {name: tensor.clone() for name, tensor in given.items()}
        outputs = self._enqueued(context, inputs)  # what a context does at its first run cannot be captured
        self.gpu.wait()

        def once() -> None:
            self._ask(context.execute_async_v3(self.gpu.handle), "does not run")

        try:
            again = self.gpu.captured(once)
        except RuntimeError as error:
            reason = self._log.reason(str(error))
            help = "leave cuda_graph out"
            raise NktcError(f"{self.name} cannot be captured as a CUDA graph: {reason}", help=help) from None
        if len(self._graphs) >= GRAPHS:
            self.gpu.wait()  # the oldest may be at work
            del self._graphs[next(iter(self._graphs))]
        self._graphs[key] = _Work(context, memory, inputs, outputs, again)
        return self._graphs[key]

    def _new_context(self) -> tuple[trt.IExecutionContext, Tensor]:
        """An execution context, and the memory it works in, which must live as long."""
        assert self._engine is not None
        context = had(
            self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED),
            "an execution context",
            self._log,
        )
        size = self._engine.device_memory_size_v2
        try:
            memory = self.gpu.empty((max(size, 1),), torch.uint8)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise NktcError(f"the GPU has no {size >> 20} MiB left for {self.name}") from None
        context.set_device_memory(memory.data_ptr(), size)
        return context, memory

    def _precision(self, engine: trt.ICudaEngine) -> dict[str, float]:
        """The share of layers' outputs in each number type, as the engine inspector tells."""
        inspector = had(engine.create_engine_inspector(), "an engine inspector", self._log)
        # Without shapes it gives no types.
        self._set_shapes(self._context, {name: bounds[1] for name, bounds in self._bounds.items()})
        inspector.execution_context = self._context
        return shares(inspector.get_engine_information(trt.LayerInformationFormat.JSON))

    def _ask(self, done: bool, refusal: str) -> None:
        if not done:
            reason = self._log.reason("it does not say why")
            raise NktcError(f"TensorRT {refusal} in {self.name}: {reason}")


def shares(told: str) -> dict[str, float]:
    """The share of layers' outputs in each number type, the most frequent first, from an engine inspector's JSON; empty
    where that does not tell. TensorRT 11 has the type apart from the format, earlier ones in one field."""
    try:
        layers = json.loads(told).get("Layers", [])
    except (ValueError, AttributeError):
        return {}
    found = Counter(
        kind
        for layer in layers
        if isinstance(layer, dict)
        for output in layer.get("Outputs", [])
        if isinstance(output, dict) and (kind := _type(output))
    )
    return {kind: round(count / found.total(), 4) for kind, count in found.most_common()}


def _type(tensor: Mapping[str, Any]) -> str:
    said = {key.lower(): str(value).lower() for key, value in tensor.items()}
    for key in ("datatype", "format/datatype", "format"):
        for word in said.get(key, "").replace(".", " ").split():
            if word in WORDS:
                return WORDS[word]
    return ""
