"""nktc agree: what it prints, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from big_nets import random_weights
from click.testing import CliRunner, Result

from nktc import data, export, models, weights
from nktc.cli import nktc
from nktc.errors import NktcError

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 4 } }
layer { name: "p" type: "Softmax" bottom: "a" top: "p" }
"""


@pytest.fixture
def net(tmp_path) -> Path:
    """A net with weights and two ONNX files beside it, one of them right."""
    places = data.Places.from_environment()
    (tmp_path / "net.prototxt").write_text(NET)
    graph = random_weights(models.open_model(tmp_path / "net.prototxt", [], places))
    weights.save(tmp_path / "w.caffemodel", graph, graph.arrays)
    export.save(export.to_onnx(graph), tmp_path / "right.onnx")
    graph.arrays["a.bias"][0] += 1
    export.save(export.to_onnx(graph), tmp_path / "wrong.onnx")
    return tmp_path


def agree(folder: Path, *words: object) -> Result:
    line = ["agree", folder / "net.prototxt", "--weights", folder / "w.caffemodel", "--device", "cpu", *words]
    return CliRunner().invoke(nktc, [str(word) for word in line], prog_name="nktc")


def test_models_that_agree_end_with_0(net):
    done = agree(net, net / "right.onnx", "--records", 3)
    assert done.exit_code == 0, done.exception
    assert done.stdout.startswith(f"{net / 'right.onnx'} in onnxruntime agrees with {net / 'net.prototxt'}")
    assert "2 blobs, 3 records" in done.stdout
    assert "first divergence" not in done.stdout
    assert "\n  a " in agree(net, net / "right.onnx", "--all").stdout


def test_one_that_differs_ends_with_1_and_names_the_first_blob_with_its_line(net):
    done = agree(net, net / "right.onnx", net / "wrong.onnx")
    assert done.exit_code == 1
    right, wrong = done.stdout.split("\n\n")
    assert "agrees with" in right
    assert "DIFFERS from" in wrong
    assert re.search(r"^.*net\.prototxt:3:\d+: first divergence: a \[8 4\]$", wrong, re.MULTILINE)


def test_for_tools_all_of_it_is_one_json_text(net):
    done = agree(net, net / "right.onnx", net / "wrong.onnx", "--json")
    assert done.exit_code == 1
    right, wrong = json.loads(done.stdout)
    assert right["agrees"] is True
    assert [one["blob"] for one in right["blobs"]] == ["a", "p"]
    assert (wrong["agrees"], wrong["first_divergence"], wrong["records"]) == (False, "a", 8)
    assert wrong["blobs"][0]["line"] == 3
    assert wrong["blobs"][0]["absolute"] == pytest.approx(1)
    outputs = json.loads(agree(net, net / "wrong.onnx", "--json", "--outputs-only").stdout)
    assert [one["blob"] for one in outputs[0]["blobs"]] == ["p"]


def test_the_tolerance_and_the_data_are_the_users(net):
    assert agree(net, net / "wrong.onnx", "--tolerance", 10).exit_code == 0
    np.savez(net / "in.npz", x=np.ones((5, 4)))
    assert "5 records" in agree(net, net / "right.onnx", "--data-from", net / "in.npz").stdout


def test_a_model_that_is_not_there_is_an_error_and_no_verdict(net):
    done = agree(net, net / "none.onnx")
    assert isinstance(done.exception, NktcError)
    assert done.exception.message == f"there is no model {net / 'none.onnx'}"
    assert "[BACKEND:]PATH" in done.exception.help


def test_the_first_models_own_test_data_tells_how_many_records_agree(tmp_path):
    net = Path(__file__).parents[2] / "nets/digits_quick/train.prototxt"
    graph = random_weights(models.open_model(net, [], data.Places.from_environment()))
    weights.save(tmp_path / "w.caffemodel", graph, graph.arrays)
    export.save(export.to_onnx(graph), tmp_path / "digits.onnx")

    def run(*words: object) -> Result:
        return CliRunner().invoke(nktc, ["agree", "--test-data", "--records", "40", *map(str, words)])

    done = run(net, tmp_path / "digits.onnx", "--weights", tmp_path / "w.caffemodel")
    assert done.exit_code == 0, done.output
    assert "40 records" in done.stdout
    assert "top-1: 100.00% of the records have the same" in done.stdout
    refused = run(tmp_path / "digits.onnx", tmp_path / "digits.onnx")
    assert isinstance(refused.exception, NktcError)
    assert refused.exception.message == f"{tmp_path / 'digits.onnx'} has no data layers to test with"
