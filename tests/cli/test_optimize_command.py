"""nktc optimize as a user runs it, and nktc infer with what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from big_nets import random_weights
from click.testing import CliRunner, Result

from nktc import data, models, weights
from nktc.cli import nktc
from nktc.errors import NktcError

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "n" type: "BatchNorm" bottom: "a" top: "n" }
layer { name: "b" type: "Convolution" bottom: "n" top: "b" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "i" type: "InnerProduct" bottom: "b" top: "i" inner_product_param { num_output: 5 } }
layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
"""


@pytest.fixture(autouse=True)
def _no_time(monkeypatch):
    monkeypatch.setattr("nktc.engines.timing.BLOCK", 0)
    monkeypatch.setattr("nktc.engines.timing.REST", 0)


@pytest.fixture
def net(tmp_path) -> Path:
    """A folder with a net, its weights, large ones too, and inputs."""
    (tmp_path / "net.prototxt").write_text(NET)
    graph = random_weights(models.open_model(tmp_path / "net.prototxt", [], data.Places.from_environment()))
    weights.save(tmp_path / "w.caffemodel", graph, graph.arrays)
    graph.arrays["b.weight"][...] *= 1e5
    weights.save(tmp_path / "large.caffemodel", graph, graph.arrays)
    np.savez(tmp_path / "in.npz", x=np.random.default_rng(0).standard_normal((8, 3, 8, 8), np.float32))
    return tmp_path


def run(*words: object) -> Result:
    return CliRunner().invoke(nktc, [str(word) for word in words], prog_name="nktc")


def optimize(folder: Path, *words: object, weights: str = "w.caffemodel") -> Result:
    line = ["optimize", folder / "net.prototxt", "--weights", folder / weights, "-o", folder / "net.onnx"]
    return run(*line, "--backend", "onnxruntime", "--device", "cpu", "--threads", 1, "--seconds", 0.1, *words)


def test_infer_runs_what_was_written_and_answers_as_the_net(net):
    done = optimize(net)
    assert done.exit_code == 0, done.exception
    assert done.stdout.endswith(f"{net / 'net.onnx'}: onnxruntime, fp32, any batch, 1 thread\n")
    assert "--report lists them" in done.stdout
    answers = []
    for model in (["net.onnx"], ["net.prototxt", "--weights", net / "w.caffemodel"]):
        found = run("infer", "--model", net / model[0], *model[1:], "--json", "--raw", net / "in.npz")
        assert found.exit_code == 0, found.exception
        answers.append(json.loads(found.stdout))
    assert len(answers[0]) == len(answers[1]) == 8
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one["outputs"]["p"], other["outputs"]["p"], atol=1e-5)


def test_the_report_lists_every_rewrite_with_its_lines_and_every_blob(net):
    done = optimize(net, "--report")
    assert f"fold_batch_norm  {net / 'net.prototxt'}:3 a + :4 n -> " in done.stdout
    assert "blob    max abs   relative" in done.stdout
    assert (net / "net.onnx.report.txt").read_text() == done.stdout


def test_for_tools_all_of_it_is_one_json_text(net):
    done = optimize(net, "--json", "--precision", "int8", "--calibrate", net / "in.npz", "--max-drop", 100)
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert (found["file"], found["backend"], found["precision"]) == (str(net / "net.onnx"), "onnxruntime", "int8")
    assert found["proof"]["agrees"] is True
    assert [one["pass"] for one in found["passes"]["rewrites"]] == ["fold_batch_norm"]
    assert {one["layer"] for one in found["sensitivity"]} == {"a", "b", "i"}
    assert found["scores"]["labelled"] is False


def test_overflow_in_fp16_is_loud(net):
    done = optimize(net, "--precision", "fp16", "--calibrate", net / "in.npz", weights="large.caffemodel")
    assert done.exit_code == 0, done.exception
    loud = [line for line in done.stdout.splitlines() if line.startswith("  note: OVERFLOW")]
    assert len(loud) == 3
    assert "net.prototxt:5:" in loud[0]
    assert '"b" stays in fp32: its blob "b" reaches' in loud[0]
    assert "fp16 ends at 65504" in loud[0]


def test_options_reach_what_they_are_for(net):
    table = net / "table.json"
    words = ["--precision", "int8", "--calibrate", net / "in.npz", "--calibration", "minmax", "--keep", "i"]
    done = optimize(net, *words, "--save-calibration", table, "--batch", 2, "--pass", "drop_identities", "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert found["batch"] == 2
    assert "i" in found["kept"]
    assert found["passes"]["rewrites"] == []
    assert json.loads(table.read_text())["method"] == "minmax"
    sizes = onnx.load(net / "net.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in sizes] == [2, 3, 8, 8]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "layout=NCHW"], ""),
        (["--set", "layout=7"], "layout is 7"),
        (["--set", "layuot=NHWC"], 'has no setting "layuot"'),
    ],
)
def test_settings_are_the_engines_own(net, words, told):
    done = optimize(net, *words)
    if not told:
        assert "onnxruntime, 1 thread, layout NCHW" in done.stdout
        return
    assert isinstance(done.exception, NktcError)
    assert told in done.exception.message
    assert not (net / "net.onnx").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "layout"], '"layout" is no setting: write workspace=4GB'),
        (["--set", "=1"], '"=1" is no setting'),
        (["--precision", "fp8"], "'fp8' is not one of"),
        (["--calibration", "kl"], "'kl' is not one of"),
        (["--batch", 0], "0 is not in the range x>=1"),
        (["--max-drop", -1], "-1.0 is not in the range x>=0"),
    ],
)
def test_a_wrong_option_is_2_and_named(net, words, told):
    done = optimize(net, *words)
    assert done.exit_code == 2
    assert told in done.stderr
