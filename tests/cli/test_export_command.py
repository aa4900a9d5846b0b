"""nktc export and nktc lint: what they write, say and end with."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result

from nktc import module, reader, weights
from nktc.cli import nktc
from nktc.errors import NktcError
from nktc.ir import Phase

NET = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" SECOND pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "i" type: "InnerProduct" bottom: "p" top: "i"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""


def run(*line: object) -> Result:
    return CliRunner().invoke(nktc, [str(word) for word in line], prog_name="nktc")


@pytest.fixture
def given(tmp_path) -> list[object]:
    """The options for a net with its weights."""
    return made(tmp_path, "")


def made(folder, second: str) -> list[object]:
    (folder / "net.prototxt").write_text(NET.replace("SECOND", second))
    graph = reader.build(reader.read_net(folder / "net.prototxt"), Phase.TEST)
    weights.save(folder / "net.caffemodel", graph, module.compile(graph, seed=1).arrays())
    return ["--model", folder / "net.prototxt", "--weights", folder / "net.caffemodel", "--onnx", folder / "net.onnx"]


def answer(path, rows: int = 2) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((rows, 3, 8, 8), np.float32)
    return session.run(["i"], {"data": x})[0]


def test_a_simplified_net_answers_as_the_whole_one(given, tmp_path):
    assert run("export", *given, "--no-optimize").exit_code == 0
    whole = answer(tmp_path / "net.onnx")
    assert "BatchNormalization" in [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    done = run("export", *given)
    assert done.exit_code == 0
    assert "BatchNormalization" not in [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    np.testing.assert_allclose(answer(tmp_path / "net.onnx"), whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())


def test_the_batch_is_open_or_what_is_asked_for(given, tmp_path):
    for option, expected in ([], "N"), (["--batch", "any"], "N"), (["--batch", 3], 3):
        assert run("export", *given, *option).exit_code == 0
        dim = onnx.load(tmp_path / "net.onnx").graph.input[0].type.tensor_type.shape.dim[0]
        assert (dim.dim_param or dim.dim_value) == expected
    wrong = run("export", *given, "--batch", "all")
    assert wrong.exit_code == 2
    assert '"all" is neither any nor a number from 1 on' in wrong.stderr


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_halves_are_in_the_file(given, tmp_path, precision):
    target = {"fp16": "onnxruntime", "bf16": "openvino"}[precision]
    assert run("export", *given, "--no-optimize").exit_code == 0
    whole = answer(tmp_path / "net.onnx")
    assert run("export", *given, "--precision", precision, "--target", target).exit_code == 0
    model = onnx.load(tmp_path / "net.onnx")
    assert {p.value for p in model.metadata_props if p.key == "nktc.precision"} == {precision}
    if precision == "fp16":
        np.testing.assert_allclose(answer(tmp_path / "net.onnx"), whole, atol=0.02 * np.abs(whole).max())


def test_a_precision_that_the_target_does_not_take_leaves_no_file(given, tmp_path):
    done = run("export", *given, "--precision", "bf16", "--target", "onnxruntime")
    assert isinstance(done.exception, NktcError)
    assert done.exception.message.endswith("runs in bf16, which the target onnxruntime does not take")
    assert done.exception.help == "openvino and tensorrt take it"
    assert not (tmp_path / "net.onnx").exists()


def test_findings_are_warnings_at_the_layers_line_and_the_verdict_comes_last(tmp_path):
    given = made(tmp_path, 'top: "places"')
    done = run("export", *given)
    assert done.exit_code == 0
    assert f'{tmp_path}/net.prototxt:6:19: warning: "p": MaxPool gives no places of the largest values' in done.stderr
    assert done.stderr.splitlines()[-1].endswith("no runtime has loaded the file")
    refused = run("export", *given, "--target", "tensorrt")
    assert isinstance(refused.exception, NktcError)
    assert refused.exception.at.line == 6


def test_lint_ends_with_1_where_something_is_refused(tmp_path):
    assert run("export", *made(tmp_path, 'top: "places"')).exit_code == 0
    file = tmp_path / "net.onnx"
    assert run("lint", "--target", "onnxruntime", file).exit_code == 0
    done = run("lint", "--target", "tensorrt", file)
    assert done.exit_code == 1
    assert done.stderr.startswith('warning: "p": MaxPool gives no places of the largest values')
    assert done.stdout.startswith("tensorrt: 1 node is refused by NVIDIA's published table for 10.15")
    (one,) = json.loads(run("lint", "--target", "tensorrt", "--json", file).stdout)
    assert (one["op"], one["node"], one["refused"], one["target"]) == ("MaxPool", "p", True, "tensorrt")


def test_an_unknown_target_is_refused_with_a_near_name(given):
    done = run("export", *given, "--target", "tensorr")
    assert str(done.exception) == 'error: unknown target "tensorr"\nhelp: did you mean "tensorrt"?'
