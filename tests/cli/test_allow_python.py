"""--allow-python: nets whose layers are the user's own code, through every command that takes them."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from nktc import layers, module, reader, weights
from nktc.cli import nktc
from nktc.errors import NktcError
from nktc.ir import Phase

CODE = """
    import json

    import caffe
    import numpy as np
    from torch import nn


    class Line(nn.Linear):
        pass


    class Distance(caffe.Layer):
        def setup(self, bottom, top):
            self.factor = json.loads(self.param_str)["factor"]

        def reshape(self, bottom, top):
            top[0].reshape(1)

        def forward(self, bottom, top):
            self.difference = bottom[0].data - 1
            top[0].data[...] = self.factor * np.square(self.difference).sum()

        def backward(self, top, propagate_down, bottom):
            bottom[0].diff[...] = 2 * self.factor * top[0].diff[0] * self.difference
    """
NET = """
    layer { name: "data" type: "DummyData" top: "data" include { phase: TRAIN }
      dummy_data_param { shape { dim: 4 dim: 3 } data_filler { value: 1 } } }
    layer { name: "data" type: "DummyData" top: "data" include { phase: TEST }
      dummy_data_param { shape { dim: 4 dim: 3 } data_filler { value: 1 } } }
    layer { name: "line" type: "Python" bottom: "data" top: "line"
      python_param { module: "mine" layer: "Line" param_str: "{'in_features': 3, 'out_features': 2}" } }
    layer { name: "loss" type: "Python" bottom: "line" top: "loss" loss_weight: 1
      python_param { module: "mine" layer: "Distance" param_str: '{"factor": 0.5}' } }
    """
SOLVER = """
    net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" max_iter: 20 test_iter: 1 test_interval: 20
    snapshot_prefix: "it"
    """


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A net and its code in the working directory; the permission that a command is given ends with the test."""
    monkeypatch.setattr("nktc.layers.python._allowed", False)
    monkeypatch.chdir(tmp_path)
    for name, text in (("mine.py", CODE), ("net.prototxt", NET), ("solver.prototxt", SOLVER)):
        Path(name).write_text(textwrap.dedent(text))


def run(*line: object) -> Result:
    return CliRunner().invoke(nktc, [str(word) for word in line], prog_name="nktc")


def test_a_net_of_python_layers_is_trained_tested_and_looked_at() -> None:
    done = run("train", "--allow-python", "--solver", "solver.prototxt", "--seed", 1, "--run-dir", "run")
    assert done.exit_code == 0, done.output
    found = weights.read("it_iter_20.caffemodel")
    assert [blob.shape for blob in found["line"]] == [(2, 3), (2,)]
    # Every step divides what is missing from 1 by a number: the loss is its square.
    assert np.abs(found["line"][0].sum(1) + found["line"][1] - 1).max() < 0.01
    line = ("--allow-python", "--model", "net.prototxt", "--weights", "it_iter_20.caffemodel")
    done = run("test", "--iterations", 1, *line)
    assert done.exit_code == 0, done.output
    assert float(done.stdout.split("loss = ")[1].split()[0]) < 1e-3
    for command in ("check", "show", "cost"):
        done = run(command, "net.prototxt", "--allow-python")
        assert done.exit_code == 0, done.output
    assert "line f32[4 2] = Python(module=mine layer=Line" in run("show", "net.prototxt", "--allow-python").stdout


@pytest.mark.parametrize(
    "line",
    [
        ("train", "--solver", "solver.prototxt"),
        ("test", "--model", "net.prototxt", "--weights", "w.caffemodel"),
        ("export", "--model", "net.prototxt", "--weights", "w.caffemodel", "--onnx", "out.onnx"),
        ("infer", "--model", "net.prototxt", "--weights", "w.caffemodel", "mine.py"),
        ("show", "net.prototxt"),
        ("show", "--torch", "net.prototxt"),
        ("cost", "net.prototxt"),
    ],
    ids=" ".join,
)
def test_no_command_runs_code_without_being_told_to(line: tuple[str, ...]) -> None:
    Path("mine.py").write_text("raise Exception('ran')")
    error = run(*line).exception
    assert isinstance(error, NktcError), error
    said = 'Python "line": runs code of yours (module "mine"), which needs your permission  [python-code]\n'
    assert said in str(error)
    assert "help: add --allow-python" in str(error)


def test_check_tells_of_code_that_it_may_not_run() -> None:
    Path("mine.py").write_text("raise Exception('ran')")
    done = run("check", "--json", "net.prototxt")
    assert done.exit_code == 1
    (found,) = json.loads(done.stdout)[0]["diagnostics"]
    assert (found["code"], found["line"], found["column"]) == ("python-code", 7, 18)
    assert found["help"] == "add --allow-python"


def test_infer_runs_it_in_torch_and_no_other_form_is_written() -> None:
    net = Path("net.prototxt")
    net.write_text("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } } }
        layer { name: "flat" type: "Python" bottom: "data" top: "flat"
          python_param { module: "torch.nn" layer: "Flatten" } }
        layer { name: "ip" type: "InnerProduct" bottom: "flat" top: "ip" inner_product_param { num_output: 2 } }
        layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
    """)
    cv2.imwrite("one.png", np.zeros((2, 2), np.uint8))
    layers.allow_python()
    graph = reader.build(reader.read_net(net), Phase.TEST)
    weights.save("it.caffemodel", graph, module.compile(graph).arrays())
    model = ("--allow-python", "--model", net, "--weights", "it.caffemodel")
    done = run("infer", *model, "--backend", "torch", "one.png")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("50.00%") == 2
    for line in (("infer", *model, "one.png"), ("export", *model, "--onnx", "it.onnx")):
        assert 'Python "flat": runs code of yours, which has no ONNX form' in str(run(*line).exception)
    shown = run("show", "--torch", "--allow-python", net)
    assert 'Python "flat": runs Python code of your own, which has no PyTorch source' in str(shown.exception)
