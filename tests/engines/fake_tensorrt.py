"""A fake of the TensorRT bindings with the surface of typings/tensorrt, and nothing of TensorRT itself.

Its engines hold the ONNX model and run it with ONNX Runtime, at addresses in the host's memory. It is strict where
TensorRT is said to be: factories give None and log why, shapes must lie in the profile, and nothing runs before all
addresses are set. What passes here is tested against this fake, not on TensorRT.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math

import ml_dtypes
import numpy as np
import onnx
import onnxruntime

__version__ = "11.4.0.106"
_MAGIC = b"fake TensorRT plan\n"
_TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 7: "INT64", 10: "HALF", 16: "BF16", 6: "INT32"}
_ARRAYS = {"FLOAT": np.float32, "HALF": np.float16, "BF16": ml_dtypes.bfloat16, "INT64": np.int64, "INT8": np.int8}
_SAID = {"FLOAT": "Float", "HALF": "Half", "BF16": "BFloat16", "INT8": "Int8", "INT64": "Int64", "UINT8": "UInt8"}


class _Faults:
    """What a test has go wrong."""

    def __init__(self):
        self.driver = True
        self.unsupported: set[str] = set()  # operators
        self.builds = True
        self.workspace = 1 << 40
        self.all_float = False  # what the inspector says, whatever the types
        self.silent = False  # the inspector says nothing of types
        self.device = "fake"  # whose timing caches are taken
        self.calls: list[str] = []


_faults = _Faults()


class Dims(tuple):
    pass


class _Enum:
    def __init__(self, name):
        self._name = name

    @property
    def _value(self):
        return self._name


class DataType(_Enum):
    @property
    def name(self):
        return self._name


def _members(cls, *names):
    for name in names:
        setattr(cls, name, cls(name))


_members(DataType, "FLOAT", "HALF", "BF16", "INT8", "UINT8", "INT64")
_INT32 = DataType("INT32")


class TensorIOMode(_Enum): ...


class TensorLocation(_Enum): ...


class BuilderFlag(_Enum): ...


class MemoryPoolType(_Enum): ...


class HardwareCompatibilityLevel(_Enum): ...


class ProfilingVerbosity(_Enum): ...


class LayerInformationFormat(_Enum): ...


class ExecutionContextAllocationStrategy(_Enum): ...


_members(TensorIOMode, "INPUT", "OUTPUT")
_members(TensorLocation, "DEVICE")
_members(BuilderFlag, "TF32", "VERSION_COMPATIBLE")
_members(MemoryPoolType, "WORKSPACE")
_members(HardwareCompatibilityLevel, "NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY")
_members(ProfilingVerbosity, "DETAILED")
_members(LayerInformationFormat, "JSON")
_members(ExecutionContextAllocationStrategy, "USER_MANAGED")


class ILogger:
    class Severity(_Enum): ...

    def __init__(self):
        pass

    def log(self, severity, msg):
        raise NotImplementedError


_members(ILogger.Severity, "INTERNAL_ERROR", "ERROR")


def _error(logger, text):
    logger.log(ILogger.Severity.ERROR, text)


class IHostMemory(bytes): ...


class ITensor:
    def __init__(self, info):
        self._info = info

    @property
    def name(self):
        return self._info.name

    @property
    def shape(self):
        return Dims(d.dim_value or -1 for d in self._info.type.tensor_type.shape.dim)


class INetworkDefinition:
    def __init__(self):
        self._model = None

    @property
    def num_inputs(self):
        return len(self._model.graph.input)

    def get_input(self, index):
        return ITensor(self._model.graph.input[index])


class ITimingCache:
    def __init__(self, held):
        self._held = held

    def serialize(self):
        return IHostMemory(json.dumps(self._held).encode())


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise ValueError("min <= opt <= max does not hold")
        self._shapes[input] = [list(min), list(opt), list(max)]


class IBuilderConfig:
    builder_optimization_level = 3
    hardware_compatibility_level = HardwareCompatibilityLevel.NONE
    profiling_verbosity = None

    def __init__(self, logger):
        self._logger = logger
        self._flags = {BuilderFlag.TF32}
        self._pool = _faults.workspace
        self._cache = None
        self._profiles = []

    def set_flag(self, flag):
        self._flags.add(flag)

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool, pool_size):
        assert pool is MemoryPoolType.WORKSPACE
        if pool_size <= _faults.workspace:
            self._pool = pool_size

    def get_memory_pool_limit(self, pool):
        return self._pool

    def create_timing_cache(self, serialized_timing_cache):
        try:
            text = bytes(serialized_timing_cache) or b'{"device": "%s", "timed": 0}' % _faults.device.encode()
            return ITimingCache(json.loads(text))
        except ValueError:
            _error(self._logger, "timing cache header mismatch")
            return None

    def set_timing_cache(self, cache, ignore_mismatch):
        if cache._held["device"] != _faults.device and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1


class Builder:
    def __init__(self, logger):
        if not _faults.driver:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags=0):
        assert flags == 0
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig(self._logger)

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        profiles = config._profiles[0]._shapes if config._profiles else {}
        inputs = [network.get_input(i) for i in range(network.num_inputs)]
        if any(-1 in tensor.shape and tensor.name not in profiles for tensor in inputs):
            _error(self._logger, "Network has dynamic or shape inputs, but no optimization profile has been defined.")
            return None
        if not _faults.builds:
            _error(self._logger, "Could not find any implementation for node c.\nmore of that")
            return None
        if config._cache:
            config._cache._held["timed"] += 1
        head = {
            "profiles": profiles,
            "level": config.builder_optimization_level,
            "compatibility": config.hardware_compatibility_level._name,
            "flags": sorted(flag._name for flag in config._flags),
            "workspace": config._pool,
            "detailed": config.profiling_verbosity is ProfilingVerbosity.DETAILED,
        }
        body = json.dumps(head).encode() + b"\n" + network._model.SerializeToString()
        return IHostMemory(_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


class ParserError:
    def __init__(self, desc, node_name="", node_operator=""):
        self._said = (desc, node_name, node_operator)

    def desc(self):
        return self._said[0]

    def node_name(self):
        return self._said[1]

    def node_operator(self):
        return self._said[2]


class OnnxParser:
    def __init__(self, network, logger):
        self._network, self._errors = network, []

    @property
    def num_errors(self):
        return len(self._errors)

    def parse(self, model, path=None):
        self._network._model = found = onnx.ModelProto.FromString(bytes(model))
        for node in found.graph.node:
            if node.op_type in _faults.unsupported:
                self._errors.append(ParserError(f"no importer for {node.op_type}.\n  stack", node.name, node.op_type))
        return not self._errors

    def get_error(self, index):
        return self._errors[index]


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        data = bytes(serialized_engine)
        _faults.calls.append("deserialize")
        digest, body = data[len(_MAGIC) : len(_MAGIC) + 64], data[len(_MAGIC) + 65 :]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).hexdigest().encode() != digest:
            _error(self._logger, "Serialization assertion stdVersionRead == serializationVersion failed.")
            return None
        head, _, model = body.partition(b"\n")
        if "VERSION_COMPATIBLE" in json.loads(head)["flags"] and not self.engine_host_code_allowed:
            _error(self._logger, "host code is not allowed")
            return None
        return ICudaEngine(json.loads(head), model, self._logger)


class ICudaEngine:
    def __init__(self, head, model, logger):
        self._head, self._logger = head, logger
        self._model = onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(model))
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._tensors = {value.name: value for value in (*self._model.graph.input, *self._model.graph.output)}

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    @property
    def device_memory_size_v2(self):
        return 4096

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_mode(self, name):
        fed = [value.name for value in self._model.graph.input]
        return TensorIOMode.INPUT if name in fed else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        said = _TYPES[self._tensors[name].type.tensor_type.elem_type]
        return getattr(DataType, said, _INT32)

    def get_tensor_shape(self, name):
        return ITensor(self._tensors[name]).shape

    def get_tensor_location(self, name):
        return TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile_index):
        assert profile_index == 0
        return [Dims(s) for s in self._head["profiles"].get(name, [self.get_tensor_shape(name)] * 3)]

    def create_execution_context(self, strategy=None):
        _faults.calls.append("context")
        return IExecutionContext(self, strategy)

    def create_engine_inspector(self):
        return EngineInspector(self)


class IExecutionContext:
    def __init__(self, engine, strategy):
        self._engine, self._strategy = engine, strategy
        self._shapes, self._addresses, self._memory = {}, {}, None

    def set_device_memory(self, memory, size):
        assert self._strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        assert size >= self._engine.device_memory_size_v2
        self._memory = memory

    def set_input_shape(self, name, shape):
        assert type(shape) is tuple
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        if len(shape) != len(low) or not all(a <= n <= b for n, a, b in zip(shape, low, high, strict=True)):
            _error(self._engine._logger, f"setInputShape: {name} is outside its profile")
            return False
        self._shapes[name] = shape
        return True

    def infer_shapes(self):
        return [value.name for value in self._engine._model.graph.input if value.name not in self._shapes]

    def get_tensor_shape(self, name):
        if name in self._shapes:
            return Dims(self._shapes[name])
        zeros = {n: np.zeros(s, _ARRAYS[self._engine.get_tensor_dtype(n).name]) for n, s in self._shapes.items()}
        return Dims(self._engine._session.run([name], zeros)[0].shape)

    def set_tensor_address(self, name, memory):
        assert memory % 2 == 0
        assert memory
        self._addresses[name] = memory
        return name in self._engine._tensors

    def execute_async_v3(self, stream_handle):
        _faults.calls.append("execute")
        assert stream_handle != 0, "the default stream"
        if self._memory is None or self._addresses.keys() != self._engine._tensors.keys():
            _error(self._engine._logger, "an address is missing")
            return False
        feeds = {value.name: self._at(value.name) for value in self._engine._model.graph.input}
        names = [value.name for value in self._engine._model.graph.output]
        for name, found in zip(names, self._engine._session.run(names, feeds), strict=True):
            self._at(name)[...] = found
        return True

    def _at(self, name):
        """The array at a tensor's address."""
        shape, dtype = self.get_tensor_shape(name), np.dtype(_ARRAYS[self._engine.get_tensor_dtype(name).name])
        held = (ctypes.c_byte * (math.prod(shape) * dtype.itemsize)).from_address(self._addresses[name])
        return np.frombuffer(held, dtype).reshape(shape)


class EngineInspector:
    execution_context = None

    def __init__(self, engine):
        self._engine = engine

    def get_engine_information(self, format):
        """As NVIDIA's migration page to TensorRT 11 shows it for inputs and outputs."""
        graph = self._engine._model.graph
        known = {v.name: v for v in (*graph.value_info, *graph.output)}
        if not self._engine._head["detailed"]:
            return json.dumps({"Layers": [node.name for node in graph.node]})
        hidden = _faults.silent or (self._engine._head["profiles"] and not self.execution_context)
        layers = []
        for node in graph.node:
            outputs = []
            for name in node.output:
                kind = _SAID.get(_TYPES[known[name].type.tensor_type.elem_type], "Int32") if name in known else "Float"
                said = {"DataType": "Float" if _faults.all_float else kind, "Format": "Row major linear (kLINEAR)"}
                outputs.append({"Name": name, **({"Format": "N/A due to dynamic shapes"} if hidden else said)})
            layers.append({"Name": node.name, "LayerType": node.op_type, "Outputs": outputs})
        return json.dumps({"Layers": layers, "I/O Tensors": []})
