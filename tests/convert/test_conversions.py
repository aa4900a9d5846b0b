"""nktc convert from end to end: every kind of file, proved, and what is said where the proof fails."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from onnx_models import model

from nktc import module, reader, weights
from nktc.cli import nktc
from nktc.convert import target
from nktc.ir import Phase

NET = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "r" type: "ReLU6" bottom: "c" top: "c" }
layer { name: "i" type: "InnerProduct" bottom: "c" top: "i"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
"""
KINDS = [".onnx", ".safetensors", ".caffemodel", ".caffemodel.h5"]


def run(*line: object) -> Result:
    return CliRunner().invoke(nktc, ["convert", *map(str, line)], prog_name="nktc", catch_exceptions=True)


def said(result: Result) -> str:
    return str(result.exception) if result.exception and result.exit_code == 1 else result.output


@pytest.fixture
def net(tmp_path) -> list[Path]:
    """A net and its weights."""
    (tmp_path / "net.prototxt").write_text(NET)
    graph = reader.build(reader.read_net(tmp_path / "net.prototxt"), Phase.TEST)
    weights.save(tmp_path / "net.caffemodel", graph, module.compile(graph, seed=1).arrays())
    return [tmp_path / "net.prototxt", tmp_path / "net.caffemodel"]


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_of_file_is_written_and_proved(net, tmp_path, suffix):
    made = tmp_path / f"made{suffix}"
    done = run(*net, "-o", made, "--verify", "--records", 2)
    assert done.exit_code == 0, said(done)
    assert done.output.startswith("verified: ")
    told = json.loads(Path(f"{made}.proof.json").read_text())
    assert told["verified"]
    assert told["sha256"]["result"].keys() == {str(file) for file in target.beside(made)}
    outputs = [one["outputs"] for one in told["runtimes"]]
    assert outputs
    assert all(blob["relative"] < 1e-4 for blobs in outputs for blob in blobs)
    assert Path(f"{made}.proof.txt").read_text().startswith("verified: ")
    assert all(file.exists() for file in target.beside(made))
    assert not [*tmp_path.glob("*unverified*")]


@pytest.mark.parametrize("suffix", [".onnx", ".caffemodel", ".caffemodel.h5"])
def test_a_model_without_weights_is_proved_too(tmp_path, suffix):
    made = model([("Softmax", ["x"], ["y"], {"axis": 1})], {"x": [1, 3, 4, 5]}, ["y"])
    (tmp_path / "softmax.onnx").write_bytes(made.SerializeToString())
    done = run(tmp_path / "softmax.onnx", "-o", tmp_path / f"made{suffix}", "--verify", "--records", 1)
    assert done.exit_code == 0, said(done)
    assert done.output.startswith("verified: ")


@pytest.mark.parametrize("suffix", KINDS)
def test_a_net_that_has_no_weights_needs_none(tmp_path, suffix):
    (tmp_path / "net.prototxt").write_text(
        """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }
        layer { name: "p" type: "Softmax" bottom: "x" top: "p" }"""
    )
    made = tmp_path / f"made{suffix}"
    done = run(tmp_path / "net.prototxt", "-o", made, "--verify", "--records", 1)
    assert done.exit_code == 0, said(done)
    assert all(file.exists() for file in target.beside(made))


@pytest.mark.parametrize("suffix", [".safetensors", ".caffemodel", ".caffemodel.h5"])
def test_a_full_disk_leaves_all_files_as_they_were(net, tmp_path, monkeypatch, suffix):
    made = tmp_path / f"made{suffix}"
    for file in target.beside(made):
        file.write_text("old")
    before = sorted(tmp_path.iterdir())
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: full() if str(new) == str(made) else replace(old, new))
    assert said(run(*net, "-o", made)) == f"error: cannot write {made}: No space left on device"
    assert sorted(tmp_path.iterdir()) == before
    assert {file.read_text() for file in target.beside(made)} == {"old"}


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_without_a_proof_it_says_so(net, tmp_path):
    done = run(*net, "-o", tmp_path / "made.onnx")
    assert done.exit_code == 0
    assert done.output.endswith("not verified: --verify runs source and result on the same inputs\n")


def test_a_net_that_is_inside_its_weights_needs_no_other(net, tmp_path):
    assert run(*net, "-o", tmp_path / "today.caffemodel").exit_code == 0
    done = run(tmp_path / "today.caffemodel", "-o", tmp_path / "made.onnx", "--verify", "--json")
    assert done.exit_code == 0, said(done)
    assert json.loads(done.output)["proof"]["verified"]


def test_layers_that_caffe_does_not_find_in_hdf5_are_told(net, tmp_path):
    assert "note: " not in run(*net, "-o", tmp_path / "made.h5").output
    net[0].write_text(NET.replace('name: "c"', 'name: "a/c"'))
    graph = reader.build(reader.read_net(net[0]), Phase.TEST)
    weights.save(net[1], graph, module.compile(graph, seed=1).arrays())
    done = run(*net, "-o", tmp_path / "made.h5")
    assert 'note: Caffe finds no layer with / in its name, such as "a/c", in HDF5: give it a .caffemodel' in done.output
    assert "note: " not in run(*net, "-o", tmp_path / "made.caffemodel").output


def test_what_differs_is_not_verified_and_keeps_the_file_that_was_there(net, tmp_path, monkeypatch):
    made = tmp_path / "made.onnx"
    made.write_bytes(b"before")
    write = target.KINDS[".onnx"][1]

    def wrong(source, path, settings):
        arrays = {name: array * 1.01 for name, array in source.graph.arrays.items()}
        return write(
            dataclasses.replace(source, graph=dataclasses.replace(source.graph, arrays=arrays)), path, settings
        )

    monkeypatch.setitem(target.KINDS, ".onnx", ("ONNX", wrong))
    done = run(*net, "-o", made, "--verify")
    assert done.exit_code == 1
    assert done.output.startswith("NOT VERIFIED: ")
    assert "onnxruntime" in done.output
    assert "DIFFERS" in done.output
    assert made.read_bytes() == b"before"
    assert (tmp_path / "made.unverified.onnx").exists()
    assert not json.loads((tmp_path / "made.onnx.proof.json").read_text())["verified"]


def test_an_onnx_file_goes_back_to_caffe(tmp_path):
    draw = np.random.default_rng(0)
    made = model(
        [
            ("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]}),
            ("HardSwish", ["c"], ["h"], {}),
            ("GlobalAveragePool", ["h"], ["y"], {}),
        ],
        {"x": ["N", 3, 6, 6]},
        ["y"],
        {"w": draw.standard_normal((4, 3, 3, 3)).astype(np.float32)},
    )
    (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
    done = run(tmp_path / "a.onnx", "-o", tmp_path / "b.caffemodel", "--verify", "--caffe", "ssd")
    assert done.exit_code == 0, said(done)
    assert f"reference: {tmp_path / 'a.onnx'} in onnxruntime" in done.output
    assert 'type: "Convolution"' in (tmp_path / "b.prototxt").read_text()
    assert "Clip" not in (tmp_path / "b.prototxt").read_text()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (["net.prototxt", "-o", "a.onnx"], "net.prototxt is a net without weights"),
        (["net.caffemodel", "net.caffemodel", "-o", "net.caffemodel"], "net.caffemodel is what is read"),
        (["net.prototxt", "net.caffemodel", "-o", "a.tflite"], "a.tflite does not say what to write"),
        (["net.prototxt", "net.caffemodel", "-o", ".onnx"], ".onnx does not say what to write"),
        (["net.prototxt", "absent.caffemodel", "-o", "a.onnx"], "absent.caffemodel does not exist"),
        (["net.h5", "-o", "a.onnx"], "net.h5 has weights, but not the net"),
        (
            ["net.py", "-o", "a.onnx"],
            "it is a program in Python: if it writes a net, run it with python -m nktc.pycaffe",
        ),
        (["net.prototxt", "net.onnx", "-o", "a.caffemodel"], "it is an ONNX model, which has its own weights"),
    ],
)
def test_what_cannot_be_converted_is_refused(net, tmp_path, monkeypatch, line, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.h5").write_bytes(b"")
    (tmp_path / "net.py").write_text("from caffe import layers as L\n")
    (tmp_path / "net.onnx").write_bytes(
        model([("Relu", ["x"], ["y"], {})], {"x": [1, 3]}, ["y"], {}).SerializeToString()
    )
    done = run(*line)
    assert done.exit_code == 1
    assert reason in said(done)
    assert not [*tmp_path.glob("a.*")]


def test_the_source_that_is_written_runs_without_nktc(net, tmp_path):
    assert run(*net, "-o", tmp_path / "made.safetensors").exit_code == 0
    code = "import sys, runpy; sys.modules['nktc'] = None; runpy.run_path(sys.argv.pop(), run_name='__main__')"
    line = [sys.executable, "-c", code, str(tmp_path / "made.py")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "p (1, 5)\n"


LENET = """name: "LeNet"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 28 dim: 28 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 20 kernel_size: 5 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 50 kernel_size: 5 } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1" inner_product_param { num_output: 500 } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "Softmax" bottom: "ip2" top: "loss" }
"""


@pytest.mark.parametrize("name", ["lenet_mnist", "ultraface_slim320", "wechat_qrcode_detect"])
def test_trained_models_give_caffes_answers_in_onnx_runtime_and_opencv(shared, tmp_path, name):
    folder = shared / "models" / name
    trained = next(folder.glob("*.caffemodel"))
    (tmp_path / "lenet.prototxt").write_text(LENET)
    source = [tmp_path / "lenet.prototxt", trained] if name == "lenet_mnist" else [trained]
    done = run(*source, "-o", tmp_path / "made.onnx")
    assert done.exit_code == 0, said(done)
    with np.load(folder / "golden.npz") as golden:
        given = {key.removeprefix("real/in/"): golden[key] for key in golden.files if key.startswith("real/in/")}
        expected = {key.removeprefix("real/out/"): golden[key] for key in golden.files if key.startswith("real/out/")}
    session = onnxruntime.InferenceSession(str(tmp_path / "made.onnx"), providers=["CPUExecutionProvider"])
    found = dict(zip(expected, session.run([*expected], given), strict=True))
    net = cv2.dnn.readNetFromONNX(str(tmp_path / "made.onnx"))
    for blob, values in given.items():
        net.setInput(values, blob)
    seen = dict(zip(expected, net.forward([*expected]), strict=True))
    for blob, values in expected.items():
        np.testing.assert_allclose(found[blob], values, atol=1e-4)
        np.testing.assert_allclose(seen[blob].reshape(values.shape), values, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape", "scores"), [("lenet_mnist", "1x28x28", "loss"), ("mtcnn_det2", "3x24x24", "prob1")]
)
def test_a_snapshot_of_training_gives_caffes_answers_by_the_shape_of_its_data_alone(
    shared, tmp_path, name, shape, scores
):
    trained = next((shared / "models" / name).glob("*.caffemodel"))
    done = run(trained, "-o", tmp_path / "made.onnx", "--input-shape", shape)
    assert done.exit_code == 0, said(done)
    session = onnxruntime.InferenceSession(tmp_path / "made.onnx", providers=["CPUExecutionProvider"])
    net = cv2.dnn.readNetFromONNX(str(tmp_path / "made.onnx"))
    (fed,) = (value.name for value in session.get_inputs())
    with np.load(trained.with_name("golden.npz")) as arrays:
        golden = {key: arrays[key] for key in arrays.files}
    for way in ("real", "rand"):
        expected = {key.split("/")[2]: values for key, values in golden.items() if key.startswith(f"{way}/out/")}
        names = ["prob" if blob == scores else blob for blob in expected]  # a loss leaves its Softmax, with this name
        net.setInput(golden[f"{way}/in/data"], fed)
        for found in (session.run(names, {fed: golden[f"{way}/in/data"]}), net.forward(names)):
            for values, wanted in zip(found, expected.values(), strict=True):
                np.testing.assert_allclose(values, wanted, atol=1e-4)


def test_a_net_without_its_training_data_is_refused_with_the_option_that_makes_it_needless(shared, tmp_path):
    trained = shared / "models/mtcnn_det1/det1.caffemodel"
    done = run(trained, "-o", tmp_path / "made.onnx")
    assert "help: without it: --input-shape data12face=CxHxW" in said(done)
    assert "hard_ratio" not in said(done)  # it matters in training alone
    done = run(trained, "-o", tmp_path / "made.onnx", "--input-shape", "data12face=3x30x41")
    assert done.exit_code == 0, said(done)
    with np.load(trained.with_name("golden.npz")) as golden:
        given, expected = golden["rand/in/data"], [golden["rand/out/prob1"], golden["rand/out/conv4-2"]]
    session = onnxruntime.InferenceSession(tmp_path / "made.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["prob", "conv4-2"], {"data12face": given})
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-4)
