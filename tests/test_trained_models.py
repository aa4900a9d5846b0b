"""Trained public detectors, from the nets inside their own files, against what Caffe answered."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch

from nktc import export, inference, module, passes, reader, weights
from nktc.ir import Graph, Phase

MODELS = Path(__file__).parents[2] / "shared" / "models"
RUNS = [(name, run) for name in ("ultraface_slim320", "wechat_qrcode_detect") for run in ("real", "rand")]

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="needs ../shared/models, which is not here")


class Model:
    """A model for pictures of the size of a run, its inputs by name and Caffe's outputs by name."""

    def __init__(self, name: str, run: str) -> None:
        (path,) = (MODELS / name).glob("*.caffemodel")
        with np.load(MODELS / name / "golden.npz") as arrays:
            held = {key: arrays[key] for key in arrays.files}
        found = {key.split("/")[2]: a for key, a in held.items() if key.startswith(f"{run}/in/")}
        self.outputs = {key.split("/")[2]: a for key, a in held.items() if key.startswith(f"{run}/out/")}
        net = reader.read_net(path)
        for layer in net.message.layer:
            if layer.type == "Input" and layer.top[0] in found:
                layer.input_param.shape[0].dim[:] = found[layer.top[0]].shape
        self.graph: Graph = weights.attach(reader.build(net, Phase.TEST), path)[0]
        self.inputs = {value.name: found[value.name] for value in self.graph.inputs}

    def check(self, found: dict[str, np.ndarray]) -> None:
        for name, expected in self.outputs.items():
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("name", "run"), RUNS)
def test_answers_are_caffes_in_every_runtime(name: str, run: str) -> None:
    model = Model(name, run)
    made = module.compile(model.graph)(*map(torch.from_numpy, model.inputs.values()))
    model.check({output: made[output].detach().numpy() for output in model.outputs})
    file = onnx_ir.to_proto(export.to_onnx(passes.run(model.graph).graph)).SerializeToString()
    session = onnxruntime.InferenceSession(file)
    model.check(dict(zip(model.outputs, session.run([*model.outputs], model.inputs), strict=True)))
    net = cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8))
    for input, array in model.inputs.items():
        net.setInput(array, input)
    model.check({output: net.forward(output) for output in model.outputs})


@pytest.mark.parametrize("nms", ["inside", "outside"])
def test_a_detector_is_asked_for_caffes_boxes(tmp_path: Path, nms: str) -> None:
    model = Model("wechat_qrcode_detect", "real")
    graph = passes.nms_outside(model.graph) if nms == "outside" else model.graph
    export.save(export.to_onnx(graph), tmp_path / "detect.onnx")
    rows = model.outputs["detection_output"].reshape(-1, 7).tolist()
    found = inference.load(tmp_path / "detect.onnx", device="cpu")(model.inputs["data"])
    assert [(one.index, one.label) for one in found] == [(row[1], str(int(row[1]))) for row in rows]
    given = [(one.probability, *one.box) for one in found if isinstance(one, inference.Detection)]
    np.testing.assert_allclose(given, [row[2:] for row in rows], rtol=0, atol=1e-4)
