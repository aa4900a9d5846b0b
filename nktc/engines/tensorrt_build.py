"""ONNX to a TensorRT plan. Imported by `tensorrt` alone, and only where TensorRT is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorrt as trt

from nktc.engines.tensorrt_run import Log, had
from nktc.engines.tensorrt_settings import TensorRtSettings
from nktc.errors import NktcError, Span, raise_all
from nktc.files import read_bytes, write_bytes

COMPATIBILITIES = {
    "none": trt.HardwareCompatibilityLevel.NONE,
    "ampere+": trt.HardwareCompatibilityLevel.AMPERE_PLUS,
    "same-capability": trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY,
}


def plan(model: bytes, name: str, settings: TensorRtSettings, locate: Callable[[str], Span | None]) -> bytes:
    """The engine of an ONNX model for the GPU that is torch's now; may take minutes.

    `locate` finds the place of a layer in the prototxt by its name. Raises NktcError with TensorRT's reason where it
    refuses the model or a setting.
    """
    log = Log()
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # what its factories throw where they give nothing
        raise NktcError(f"TensorRT does not start: {log.reason(str(error))}", help="look at nvidia-smi") from None
    network = had(builder.create_network(0), "a network", log)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise_all([_refused(parser.get_error(i), name, locate) for i in range(parser.num_errors)])
        raise NktcError(f"TensorRT does not take {name}: {log.reason('it does not say why')}")
    config = had(builder.create_builder_config(), "a configuration", log)
    _configure(config, settings)
    _bound(builder, config, network, settings, log)
    if settings.timing_cache:
        _recall(config, Path(settings.timing_cache), log)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise NktcError(f"TensorRT cannot build {name}: {log.reason('it does not say why')}")
    if settings.timing_cache:
        cache = had(config.get_timing_cache(), "its timing cache", log)
        write_bytes(settings.timing_cache, bytes(memoryview(cache.serialize())))
    return bytes(memoryview(built))


def _refused(error: trt.ParserError, name: str, locate: Callable[[str], Span | None]) -> NktcError:
    """What the parser says of a node; nodes are called as their layers, further ones of a layer LAYER:1 and so on."""
    node, operator = error.node_name(), error.node_operator()
    layer, _, number = node.rpartition(":")
    at = locate(node) or (locate(layer) if number.isdigit() else None)
    said = error.desc().strip().splitlines()[0].rstrip(".") if error.desc().strip() else "it does not say why"
    where = f'layer "{node}" ({operator}) of {name}' if node else name
    return NktcError(f"TensorRT does not take {where}: {said}", at=at)


def _configure(config: trt.IBuilderConfig, settings: TensorRtSettings) -> None:
    # With fewer details the engine does not tell what it computes in.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = settings.builder_level
    config.hardware_compatibility_level = COMPATIBILITIES[settings.hardware_compatibility]
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default
    if settings.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace)
        # A limit that it does not like changes nothing, in silence.
        if (taken := config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)) != settings.workspace:
            raise NktcError(f"TensorRT does not take a workspace of {settings.workspace} bytes, it keeps {taken}")


def _bound(
    builder: trt.Builder,
    config: trt.IBuilderConfig,
    network: trt.INetworkDefinition,
    settings: TensorRtSettings,
    log: Log,
) -> None:
    """One optimisation profile with the bounds of every input that has open axes."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    names = [tensor.name for tensor in inputs]
    for name in settings.profiles:
        if name and name not in names:
            raise NktcError(f'the setting profiles names "{name}", no input', help=f"the inputs are {', '.join(names)}")
    shapes = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    # Bounds that are given for an input of fixed shape are refused where they do not fit it.
    wanted = [name for name, shape in shapes.items() if -1 in shape or name in settings.profiles]
    if not wanted:
        return
    profile = had(builder.create_optimization_profile(), "an optimisation profile", log)
    for name in wanted:
        low, usual, high = settings.bounds(name, shapes[name])
        try:
            profile.set_shape(name, low, usual, high)
        except ValueError as error:
            raise NktcError(f"TensorRT does not take the bounds of {name}: {log.reason(str(error))}") from None
    if config.add_optimization_profile(profile) < 0:
        raise NktcError(f"TensorRT does not take the profiles: {log.reason('it does not say why')}")


def _recall(config: trt.IBuilderConfig, file: Path, log: Log) -> None:
    """Have the builder use what it timed before, if anything."""
    known = read_bytes(file, "the timing cache") if file.exists() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        raise NktcError(
            f"TensorRT cannot use the timing cache {file}: {log.reason('another GPU or TensorRT wrote it')}",
            help="name another file, which is made where it is not there, or remove this one",
        )
