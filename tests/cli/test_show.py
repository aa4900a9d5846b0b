"""nktc show: one net as a listing, as prototxt, as a drawing and as PyTorch source."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from nktc import models, module, weights
from nktc.cli import nktc
from nktc.data import Places
from nktc.errors import NktcError

ROOT = Path(__file__).parents[2]
MLP = ROOT / "nets/mlp/train.prototxt"


def run(*line: object) -> Result:
    return CliRunner().invoke(nktc, [str(word) for word in ("show", *line)], prog_name="nktc")


def test_prototxt_is_todays_syntax_with_its_comments(tmp_path):
    old = tmp_path / "old.prototxt"
    old.write_text(
        'layers { name: "d" type: DUMMY_DATA top: "x"\n  dummy_data_param { num: 1 channels: 2 height: 3 width: 4 } }\n'
        'layers { bottom: "x" top: "y" name: "r" type: RELU  # positive\n  include { phase: TRAIN } }\n'
    )
    done = run(old, "--prototxt")
    assert done.exit_code == 0, done.output
    assert 'type: "ReLU"  # positive\n' in done.stdout
    assert "layers" not in done.stdout
    assert run(old, "--prototxt", "--phase", "train").stdout == done.stdout
    assert "ReLU" not in run(old, "--prototxt", "--phase", "test").stdout
    assert run(old, "--prototxt", "-o", tmp_path / "new.prototxt").stdout == ""
    assert (tmp_path / "new.prototxt").read_text() == done.stdout
    assert run(tmp_path / "new.prototxt", "--prototxt").stdout == done.stdout


def test_a_drawing_goes_to_the_screen_or_to_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    done = run(MLP, "--dot", "--rankdir", "lr")
    assert done.stdout.startswith('digraph "mlp" {\n  rankdir=LR;')
    assert "Accuracy" in done.stdout
    assert "Accuracy" not in run(MLP, "--dot", "--phase", "train").stdout
    assert run(MLP, "-o", tmp_path / "net.dot", "--rankdir", "LR").exit_code == 0
    assert (tmp_path / "net.dot").read_text() == done.stdout
    assert run(MLP, "-o", tmp_path / "net.svg").exit_code == 0
    assert (tmp_path / "net.svg").read_text().startswith("<svg ")
    assert str(run(MLP, "-o", tmp_path / "net.png").exception) == (
        f"error: cannot draw {tmp_path / 'net.png'} without Graphviz\nhelp: install graphviz, or draw to a .svg"
    )


def test_torch_source_with_its_weights_answers_as_the_net_does(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="the file imports safetensors, which is not here")
    plain = models.open_model(MLP, [], Places.from_environment(()))
    net = module.compile(plain, seed=3)
    weights.save(tmp_path / "w.caffemodel", net.graph, net.arrays())
    done = run(MLP, "--torch", "--weights", tmp_path / "w.caffemodel", "-o", tmp_path / "net.py")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"mlp: {tmp_path / 'net.py'} and {tmp_path / 'net.safetensors'}\n"
    source = (tmp_path / "net.py").read_text()
    assert source.startswith('"""mlp, written by nktc ')
    assert " from train.prototxt and w.caffemodel." in source
    assert "data: a picture of 8x8, GRAY, 0 to 255, times 0.003921569\n" in source
    given = torch.rand(5, 1, 8, 8)
    safetensors.save_file({"data": given}, tmp_path / "given.safetensors")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import net, safetensors.torch as s\n"
        "m = net.Mlp().eval()\n"
        f"m.load_state_dict(s.load_file({str(tmp_path / 'net.safetensors')!r}))\n"
        f"y = m(s.load_file({str(tmp_path / 'given.safetensors')!r})['data'])\n"
        f"s.save_file({{'y': y.detach()}}, {str(tmp_path / 'y.safetensors')!r})\n"
        "assert 'nktc' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    expected = net(given)["prob"].detach()
    torch.testing.assert_close(safetensors.load_file(tmp_path / "y.safetensors")["y"], expected)


def test_torch_source_of_a_net_alone_goes_to_the_screen():
    done = run(MLP, "--torch")
    assert done.exit_code == 0, done.output
    assert "self.hidden = nn.Linear(64, 32)\n" in done.stdout
    assert "label" not in done.stdout


def test_a_solver_is_no_net():
    refusal = run(ROOT / "solvers/mlp.prototxt", "--prototxt").exception
    assert isinstance(refusal, NktcError)
    assert "is a solver, not a net" in str(refusal)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--dot", "--torch"], "only one can be given"),
        (["--torch", "--weights", "w.caffemodel"], "--weights goes with --torch and -o"),
        (["--weights", "w.caffemodel", "-o", "net.py"], "--weights goes with --torch and -o"),
        (["--rankdir", "UP"], "'UP' is not one of"),
    ],
)
def test_options_that_do_not_go_together_are_refused(line, said):
    done = run(MLP, *line)
    assert done.exit_code == 2
    assert said in done.stderr
