"""The choice among boxes that a file leaves to us is made as Caffe makes it, whatever runs the rest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from nktc import data, export, models, module, passes, reader, weights
from nktc.engines import Facts, Options, open_model, sidecar
from nktc.ir import Graph, Phase
from nktc.layers import Choice

PLACES = data.Places.from_environment()
CPU = Options("cpu")
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
layer { name: "x" type: "Convolution" bottom: "data" top: "x"
        convolution_param { num_output: 8 kernel_size: 3 stride: 4 weight_filler { type: "xavier" } } }
layer { name: "loc" type: "Permute" bottom: "x" top: "loc" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 6 kernel_size: 3 stride: 4 weight_filler { type: "xavier" } } }
layer { name: "conf" type: "Permute" bottom: "c" top: "conf" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "r" type: "Reshape" bottom: "conf" top: "r" reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "s" type: "Softmax" bottom: "r" top: "s" softmax_param { axis: 2 } }
layer { name: "prior" type: "PriorBox" bottom: "x" bottom: "data" top: "prior"
        prior_box_param { min_size: 8 max_size: 12 variance: 0.1 } }
layer { name: "det" type: "DetectionOutput" bottom: "loc" bottom: "s" bottom: "prior" top: "det"
        detection_output_param { num_classes: 3 code_type: CENTER_SIZE nms_param { nms_threshold: 0.6 eta: 0.9 }
                                 keep_top_k: 9 confidence_threshold: 0.3 } }
"""


@pytest.fixture
def graph() -> Graph:
    found = reader.build(reader.parse_net(NET), Phase.TEST)
    return dataclasses.replace(found, arrays=module.compile(found, seed=1).arrays())


def expected(graph: Graph, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = module.compile(graph)(torch.from_numpy(x))["det"].numpy()
    return found


X = np.random.default_rng(0).standard_normal((2, 3, 24, 24), np.float32)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_that_ends_at_boxes_takes_any_batch_and_gives_rows(graph: Graph, backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    path = tmp_path / "net.onnx"
    export.save(export.to_onnx(passes.run(passes.nms_outside(graph)).graph), path)
    session = open_model(path, [], backend, CPU, PLACES).session
    assert [(value.name, value.shape) for value in session.outputs] == [("det", (1, 1, 0, 7))]
    assert session.facts.detections == {"det": graph.node("det").layer.choice}
    for x in (X[:1], X[1:], X):
        np.testing.assert_allclose(session.run({"data": x})["det"], expected(graph, x), atol=1e-5)


@pytest.mark.parametrize("backend", ["", "torch"])
def test_a_net_with_its_weights_chooses_so_too(graph: Graph, backend: str, tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    weights.save(tmp_path / "w.caffemodel", graph, graph.arrays)
    opened = open_model(tmp_path / "net.prototxt", [str(tmp_path / "w.caffemodel")], backend, CPU, PLACES, ["s"])
    assert {value.name: value.shape for value in opened.session.outputs}["det"] == (1, 1, 0, 7)
    found = opened.session.run({"data": X[:1]})
    assert set(found) == {"det", "s"}
    np.testing.assert_allclose(
        found["det"],
        expected(models.open_model(tmp_path / "net.prototxt", [str(tmp_path / "w.caffemodel")], PLACES), X[:1]),
        atol=1e-5,
    )


def test_a_sidecar_keeps_what_is_left_to_choose(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"file")
    facts = Facts(detections={"det": Choice(0, 0.5, 0.25, 1.0, 400, 200)})
    sidecar.write(tmp_path / "m.onnx", sidecar.Sidecar("onnxruntime", "1", facts=facts))
    known = sidecar.read(tmp_path / "m.onnx")
    assert known is not None
    assert known.facts == facts
