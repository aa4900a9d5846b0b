"""Loads ONNX Runtime and tells its providers; with the name of one, runs a net of one convolution on it."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import suppress

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

SETTINGS = onnxruntime.SessionOptions()
SETTINGS.log_severity_level = 2  # warnings tell why a provider does not start


def net() -> bytes:
    """y[1 1 2 2] of x[1 1 4 4]: sums of 3x3."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2, 2])
    kernel = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 3, 3], [1.0] * 9)
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "one", [x], [y], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def main(provider: str = "") -> None:
    if not provider:
        found = {
            "version": onnxruntime.__version__,
            "path": onnxruntime.__file__,
            "providers": onnxruntime.get_available_providers(),
        }
        print(json.dumps(found))
        return
    if provider == "CUDAExecutionProvider":
        # As the engine does it: torch brings CUDA libraries, and so may packages beside it.
        with suppress(ImportError, OSError):
            importlib.import_module("torch")
        with suppress(AttributeError):
            onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(net(), SETTINGS, providers=[provider])
    result = session.run(None, {"x": np.ones((1, 1, 4, 4), np.float32)})[0]
    print(json.dumps({"started": session.get_providers()[0], "right": bool((result == 9).all())}))


if __name__ == "__main__":
    main(*sys.argv[1:])
