"""What the tests of optimisation share: a small trained net, a way to optimise it in a moment, and no time spent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from big_nets import random_weights

from nktc import data, models, weights
from nktc.optimize import Outcome, Wanted, optimize

NET = """
name: "small"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "n" type: "BatchNorm" bottom: "a" top: "n" }
layer { name: "r" type: "ReLU" bottom: "n" top: "n" }
layer { name: "b" type: "Convolution" bottom: "n" top: "b" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "i" type: "InnerProduct" bottom: "b" top: "i" inner_product_param { num_output: 5 } }
layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
"""


@pytest.fixture(autouse=True)
def _no_time(monkeypatch):
    monkeypatch.setattr("nktc.engines.timing.BLOCK", 0)
    monkeypatch.setattr("nktc.engines.timing.REST", 0)


@pytest.fixture
def small() -> str:
    """The net that `trained` makes where it is given none."""
    return NET


@pytest.fixture
def places() -> data.Places:
    return data.Places.from_environment()


@pytest.fixture
def trained(tmp_path, places) -> Callable[..., tuple[Path, str]]:
    """A net in a file, with random weights in another; `change` may alter them."""

    def make(text: str = NET, change: Callable | None = None) -> tuple[Path, str]:
        net = tmp_path / "net.prototxt"
        net.write_text(text)
        graph = random_weights(models.open_model(net, [], places))
        if change:
            change(graph.arrays)
        weights.save(tmp_path / "w.caffemodel", graph, graph.arrays)
        return net, str(tmp_path / "w.caffemodel")

    return make


@pytest.fixture
def records(tmp_path) -> Path:
    """40 prepared inputs of the small net."""
    np.savez(tmp_path / "in.npz", x=np.random.default_rng(0).standard_normal((40, 3, 8, 8), np.float32))
    return tmp_path / "in.npz"


@pytest.fixture
def quick(tmp_path, places) -> Callable[..., Outcome]:
    """Optimise a net for ONNX Runtime on one thread into out/net.onnx."""

    def run(net: tuple[Path, str] | Path, output: Path | str = "out/net.onnx", **more) -> Outcome:
        model, files = (net, []) if isinstance(net, Path) else (net[0], [net[1]])
        wanted = Wanted(**{"backend": "onnxruntime", "device": "cpu", "threads": 1, "seconds": 0.0, **more})
        return optimize(model, files, tmp_path / output, wanted, places)

    return run
