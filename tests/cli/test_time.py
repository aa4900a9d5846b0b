"""nktc time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from nktc import models, reader, weights
from nktc.cli import nktc
from nktc.errors import NktcError
from nktc.ir import Phase

NET = """name: "small"
layer { name: "digits" type: "Dataset" top: "data" top: "label" include { phase: TRAIN }
        dataset_param { name: "digits" batch_size: 4 } }
layer { name: "digits" type: "Dataset" top: "data" top: "label" include { phase: TEST }
        dataset_param { name: "digits" batch_size: 8 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 10 } }
layer { name: "extra" type: "TanH" bottom: "ip" top: "ip" include { stage: "more" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 5 iter_size: 3 train_state { stage: "more" }'


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)


def run(*line: object) -> Result:
    return CliRunner().invoke(nktc, ["time", "--iterations", "2", *map(str, line)], prog_name="nktc")


def told(*line: object) -> dict[str, Any]:
    done = run("--json", *line)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_table_goes_to_the_screen_and_the_log_beside_it() -> None:
    done = run("--model", "net.prototxt")
    assert done.exit_code == 0, done.output
    rows = [line.split()[0] for line in done.stdout.splitlines()[2:] if line.startswith("  ")]
    assert rows == ["digits", "ip", "loss", "all", "the", "forward"]
    assert "caffe.cpp" not in done.stdout
    assert len(re.findall(r"\] Iteration: \d forward-backward time: ", done.stderr)) == 2
    assert done.stderr.rstrip().endswith("] *** Benchmark ends ***")


def test_a_net_is_timed_in_its_phase_and_stage() -> None:
    train, test = told("--model", "net.prototxt"), told("--model", "net.prototxt", "--phase", "test", "--stage", "more")
    assert (train["phase"], train["batch"], train["step"]) == ("TRAIN", 4, None)
    assert (test["phase"], test["batch"], test["backward"]) == ("TEST", 8, 0)
    assert [layer["name"] for layer in test["layers"]] == ["digits", "ip", "extra", "loss"]


def test_a_solver_s_net_is_timed_and_its_step() -> None:
    found = told("--solver", "solver.prototxt")
    assert [layer["name"] for layer in found["layers"]] == ["digits", "ip", "extra", "loss"]
    assert (found["phase"], found["batch"], found["step_batch"]) == ("TRAIN", 4, 12)
    assert found["step_items_per_second"] == pytest.approx(12000 / found["step"])
    assert "\n  training step         " in run("--solver", "solver.prototxt").stdout


def test_the_weights_are_those_of_the_file() -> None:
    Path("net.prototxt").write_text(NET.replace('name: "digits" batch', 'name: "mnist" batch'))
    net = reader.read_net("net.prototxt")
    graph = reader.build(net, Phase.TRAIN, feeds=models.feeds(net))
    bias = np.zeros(10, np.float32)
    bias[0] = np.log(9)  # so class 0, which random labels are of, is as likely as all others together
    weights.save("w.caffemodel", graph, {"ip.weight": np.zeros((10, 784), np.float32), "ip.bias": bias})
    done = run("--model", "net.prototxt", "--weights", "w.caffemodel")
    assert f"] Initial loss: {np.log(2):g}\n" in done.stderr
    assert "digits is fed random numbers: " in done.stdout


def test_a_shape_can_be_given_for_what_the_net_is_fed() -> None:
    found = told("--model", "net.prototxt", "--input-shape", "data=16x1x5x5")
    assert found["batch"] == 16
    assert found["notes"] == ["digits is fed random numbers: its data is of another shape"]


def test_a_place_of_data_that_is_not_there_is_told() -> None:
    error = run("--model", "net.prototxt", "--data", "nowhere").exception
    assert isinstance(error, NktcError)
    assert error.message == "nowhere is not there"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ((), "give one of --model and --solver"),
        (("--model", "net.prototxt", "--solver", "solver.prototxt"), "give one of --model and --solver"),
        (("--solver", "solver.prototxt", "--phase", "TEST"), "--phase, --level and --stage go with --model"),
        (("--solver", "solver.prototxt", "--level", "0"), "--phase, --level and --stage go with --model"),
        (("--solver", "solver.prototxt", "--stage", "more"), "--phase, --level and --stage go with --model"),
        (("--model", "net.prototxt", "--iterations", "0"), "0 is not in the range x>=1"),
    ],
)
def test_options_that_disagree_are_refused(line: tuple[str, ...], said: str) -> None:
    done = run(*line)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--model", "solver.prototxt"), "solver.prototxt is a solver, not a net"),
        (("--solver", "net.prototxt"), "net.prototxt is a net, not a solver"),
        (("--model", "net.prototxt", "--device", "tpu"), 'unknown device "tpu"'),
        (("--model", "net.prototxt", "--weights", "none"), "weights none does not exist"),
        (("--model", "net.prototxt", "--weights", ","), "--weights names no file"),
    ],
)
def test_what_cannot_be_timed_is_said(line: tuple[str, ...], said: str) -> None:
    error = run(*line).exception
    assert isinstance(error, NktcError)
    assert error.message == said
