"""The plain Caffe way from pictures to answers: an LMDB, its mean, a Data layer, a .caffemodel, a deployed net."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import running

from nktc import data
from nktc.ir import Phase
from nktc.layers import Dataset

NET = """
name: "plain"
layer {{ name: "d" type: "Data" top: "data" top: "label" include {{ phase: TRAIN }}
  data_param {{ source: "train.lmdb" batch_size: 50 backend: LMDB }} transform_param {{ {transform} }} }}
layer {{ name: "d" type: "Data" top: "data" top: "label" include {{ phase: TEST }}
  data_param {{ source: "test.lmdb" batch_size: 40 backend: LMDB }} transform_param {{ {transform} }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param {{ num_output: 10 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include {{ phase: TEST }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""
SOLVER = """
net: "plain.prototxt" test_iter: 9 test_interval: 300 base_lr: 0.1 lr_policy: "fixed" momentum: 0.9
max_iter: 300 random_seed: 3 solver_mode: CPU snapshot_prefix: "saved/plain"
"""


def nktc(folder: Path, *arguments: object) -> str:
    """What the command printed on standard output, else on standard error."""
    done = running.nktc(*arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout or done.stderr


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with trees of PNGs, one folder a digit, and their LMDBs and mean."""
    folder = tmp_path_factory.mktemp("caffe")
    for split in Phase:
        layer = Dataset("digits", 400, split)
        images, labels = data.open_stream(
            layer, data.Opening(places=data.Places.from_environment(), folder=folder, seed=0)
        ).batch(0)
        for i, (image, label) in enumerate(zip(images.numpy(), labels.numpy(), strict=True)):
            path = folder / split.name.lower() / str(int(label)) / f"{i:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image[0].astype(np.uint8))
        nktc(
            folder,
            "data",
            "convert",
            split.name.lower(),
            f"{split.name.lower()}.lmdb",
            "--gray",
            "--shuffle",
            "--seed",
            1,
        )
    nktc(folder, "data", "mean", "train.lmdb", "mean.binaryproto")
    return folder


@pytest.mark.parametrize("transform", ['mean_file: "mean.binaryproto" scale: 0.004', "scale: 0.004 crop_size: 7"])
def test_pictures_to_answers(pictures, transform, tmp_path):
    (pictures / "plain.prototxt").write_text(NET.format(transform=transform))
    (pictures / "solver.prototxt").write_text(SOLVER)
    nktc(pictures, "train", "--solver", "solver.prototxt", "--run-dir", tmp_path / "run")
    log = (tmp_path / "run/train.log").read_text()
    accuracy = [float(line.split(" = ")[1]) for line in log.splitlines() if "output #0: accuracy" in line]
    assert accuracy[-1] >= 0.75
    assert (pictures / "saved/plain_iter_300.caffemodel").exists()

    nktc(pictures, "export", "--onnx", tmp_path / "plain.onnx", "--run", tmp_path / "run")
    right, answers = 0, {}
    for model in (tmp_path / "plain.onnx", tmp_path / "run"):
        found = json.loads(nktc(pictures, "infer", "--model", model, "--json", "--top", 10, "test"))
        answers[model] = {r["path"]: {p["label"]: p["probability"] for p in r["predictions"]} for r in found}
        right = sum(max(a, key=a.get) == Path(path).parent.name for path, a in answers[model].items())
        # The log scored these very pictures, 9 batches of 40 of 400; here it is all of them.
        assert right / len(found) == pytest.approx(accuracy[-1], abs=0.03)
    onnx, run = answers.values()
    assert onnx == run
