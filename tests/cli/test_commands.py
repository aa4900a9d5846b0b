"""Commands as a user runs them: what they print, where, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from nktc.cli import nktc
from nktc.errors import NktcError
from nktc.schema import NetParameter

ROOT = Path(__file__).parents[2]
MLP = ROOT / "nets/mlp/train.prototxt"
HOLDS_A_NET = ("show", "export")
"""Commands that take the net in a .caffemodel for a net."""


def run(*line: object) -> Result:
    """In this process; an NktcError comes up as it would in main()."""
    return CliRunner().invoke(nktc, [str(word) for word in line], prog_name="nktc")


def refused(*line: object) -> str:
    """The error that a command ends with."""
    error = run(*line).exception
    assert isinstance(error, NktcError), error
    return str(error)


def process(*line: object, **more) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "nktc", *map(str, line)]
    return subprocess.run(command, **{"capture_output": True, "text": True, "check": False, **more})


@pytest.fixture(scope="module")
def mlp(tmp_path_factory) -> Path:
    """A run of ten iterations."""
    folder = tmp_path_factory.mktemp("run") / "mlp"
    done = run("train", "--solver", ROOT / "solvers/mlp.prototxt", "--max-iter", 10, "--run-dir", folder)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"Done after 10 iterations: {folder}\n"
    return folder


@pytest.fixture(scope="module")
def caffemodel(mlp) -> Path:
    return mlp / "snapshots/mlp_iter_10.caffemodel"


@pytest.fixture
def picture(tmp_path) -> Path:
    cv2.imwrite(str(tmp_path / "picture.png"), np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8))
    return tmp_path / "picture.png"


# check


def test_check_ends_with_the_worst_of_its_files(tmp_path):
    wrong = tmp_path / "wrong.prototxt"
    wrong.write_text('layer { name: "r" type: "ReLU" bottom: "x" top: "y" }\n')
    well, worse = run("check", MLP), run("check", MLP, wrong, MLP)
    worst = run("check", tmp_path / "none", wrong, MLP)
    assert (well.exit_code, worse.exit_code, worst.exit_code) == (0, 1, 2)
    assert well.stdout == f"{MLP}: ok: TRAIN 5 layers, TEST 6 layers, 2,410 weights\n"
    assert well.stderr == ""
    assert worse.stdout == 2 * well.stdout
    assert worse.stderr.startswith(f'{wrong}:1:32: error: ReLU "r": its bottom "x" is made by no layer before it  [')
    assert worst.stderr.startswith(f"error: {tmp_path / 'none'} does not exist  [file-missing]\n{wrong}:1:32: error: ")


def test_check_prints_warnings_and_fails_for_them_where_it_is_strict(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text('input: "x" input_dim: [1, 3, 4, 4]\nlayer { name: "r" type: "ReLU" bottom: "x" top: "r" }\n')
    done, strict = run("check", file), run("check", "--strict", file)
    assert (done.exit_code, strict.exit_code) == (0, 1)
    assert done.stdout == strict.stdout == f"{file}: ok: TRAIN 2 layers, TEST 2 layers, 0 weights\n"
    assert done.stderr.startswith(f"{file}:1:1: warning: input is an old spelling of an Input layer  [old-spelling]\n")
    assert done.stderr == strict.stderr


def test_check_for_tools_prints_one_json_text(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text('layer { name: "r" type: "ReLU" bottom: "x" top: "r" }\n')
    done = run("check", "--json", MLP, file)
    assert (done.exit_code, done.stderr) == (1, "")
    well, wrong = json.loads(done.stdout)
    assert (well["file"], well["ok"], well["diagnostics"]) == (str(MLP), True, [])
    (error,) = wrong["diagnostics"]
    assert (wrong["ok"], error["severity"], error["code"]) == (False, "error", "unknown-bottom")
    assert (error["file"], error["line"], error["column"], error["width"]) == (str(file), 1, 32, 11)


def test_explain_lists_the_codes_and_tells_of_one():
    assert "  unknown-bottom " in run("explain").stdout
    assert run("explain", "unknown-bottom").stdout.startswith("unknown-bottom (error): ")
    assert refused("explain", "unknown-botom") == 'error: no code "unknown-botom"\nhelp: did you mean "unknown-bottom"?'


# show and layers


def test_show_lists_each_phase_once():
    both = run("show", MLP).stdout
    assert [line for line in both.splitlines() if line.startswith("net ")] == ["net mlp TRAIN", "net mlp TEST"]
    assert run("show", "--phase", "test", MLP).stdout == both[both.index("net mlp TEST") :]


def test_layers_lists_and_explains():
    table = run("layers").stdout.splitlines()
    assert "Convolution" in [line.split()[0] for line in table]
    assert table == sorted(table)
    told = run("layers", "Pooling").stdout
    assert "pooling_param {" in told
    assert "kernel_size: uint32" in told
    assert (
        refused("layers", "Poling")
        == 'error: unknown layer type "Poling"  [unknown-type]\nhelp: did you mean "Pooling"?'
    )


# export


def test_a_run_and_its_net_with_weights_export_the_same_model(mlp, caffemodel, tmp_path):
    by_run = run("export", "--onnx", tmp_path / "run.onnx", "--run", mlp)
    by_net = run("export", "--onnx", tmp_path / "net.onnx", "--model", MLP, "--weights", caffemodel)
    assert by_run.stdout == f"mlp: 5 layers, 4 weights: {tmp_path / 'run.onnx'}\n"
    assert by_net.stdout == f"mlp: 5 layers, 4 weights: {tmp_path / 'net.onnx'}\n"
    first, second = onnx.load(tmp_path / "run.onnx"), onnx.load(tmp_path / "net.onnx")
    assert first.graph == second.graph
    facts = [{p.key: p.value for p in model.metadata_props} for model in (first, second)]
    assert {k: v for k, v in facts[0].items() if "origin.net" not in k} == {
        k: v for k, v in facts[1].items() if "origin.net" not in k
    }
    assert facts[1]["nktc.origin.weights"].startswith("mlp_iter_10.caffemodel sha256:")


def test_export_wants_one_trained_net(mlp, caffemodel, tmp_path):
    out = ("export", "--onnx", tmp_path / "x.onnx")
    assert refused(*out) == "error: no trained net is given\nhelp: give --run DIR, or --model NET and --weights W"
    assert refused(*out, "--model", MLP).startswith("error: no trained net is given")
    assert refused(*out, "--model", MLP, "--weights", ",") == "error: --weights names no file"
    assert refused(*out, "--run", mlp, "--model", MLP).startswith("error: --run and --model exclude each other")
    assert refused(*out, "--model", ROOT / "nets/lenet/train.prototxt", "--weights", caffemodel).startswith(
        f"error: {caffemodel} has weights for no layer of the net; it has hidden, score"
    )
    assert not (tmp_path / "x.onnx").exists()


def test_weights_in_several_files_complete_each_other(caffemodel, tmp_path):
    halves = [tmp_path / "hidden.caffemodel", tmp_path / "score.caffemodel"]
    for half in halves:
        net = NetParameter.FromString(caffemodel.read_bytes())
        kept = [layer for layer in net.layer if layer.name == half.stem]
        half.write_bytes(NetParameter(layer=kept).SerializeToString())
    out = ("export", "--onnx", tmp_path / "x.onnx", "--model", MLP, "--weights")
    assert run(*out, f"{halves[0]},{halves[1]}").exit_code == 0
    assert refused(*out, halves[0]).startswith(f"error: {halves[0]} has no weights for score\n")


# infer


def test_infer_prints_a_table(mlp, picture):
    done = run("infer", "--model", mlp, "--top", 3, picture)
    lines = done.stdout.splitlines()
    assert (done.exit_code, done.stderr, lines[0]) == (0, "", str(picture))
    assert len(lines) == 4
    shares = [float(line.split("%")[0]) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True)
    assert all(line.split()[1] in "0123456789" for line in lines[1:])


def test_infers_json_has_the_shape_that_scripts_read(mlp, picture, tmp_path):
    (tmp_path / "words.png").write_text("words")
    done = run("infer", "--model", mlp, "--json", "--top", 2, tmp_path)
    assert done.exit_code == 1
    well, bad = json.loads(done.stdout)
    assert set(well) == {"path", "predictions", "error"}
    assert (well["path"], well["error"], len(well["predictions"])) == (str(picture), "", 2)
    assert set(well["predictions"][0]) == {"index", "label", "probability"}
    assert well["predictions"][0]["label"] == str(well["predictions"][0]["index"])
    assert 1 >= well["predictions"][0]["probability"] >= well["predictions"][1]["probability"] >= 0
    assert bad == {
        "path": str(tmp_path / "words.png"),
        "predictions": [],
        "error": f"{tmp_path / 'words.png'} is not an image that can be decoded",
    }


def test_every_form_of_a_model_answers_alike(mlp, caffemodel, picture, tmp_path):
    run("export", "--onnx", tmp_path / "mlp.onnx", "--run", mlp)
    lines = [
        ("--model", mlp),
        ("--model", mlp, "--backend", "torch"),
        ("--model", tmp_path / "mlp.onnx"),
        ("--model", MLP, "--weights", caffemodel),
    ]
    answers = [json.loads(run("infer", "--json", "--top", 10, *line, picture).stdout) for line in lines]
    for answer in answers[1:]:
        for found, expected in zip(answer[0]["predictions"], answers[0][0]["predictions"], strict=True):
            assert found["index"] == expected["index"]
            assert found["probability"] == pytest.approx(expected["probability"], rel=1e-4)


def test_what_was_assumed_is_said_beside_the_answer(picture, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } } }
        layer { name: "f" type: "Flatten" bottom: "x" top: "f" }
        layer { name: "p" type: "Softmax" bottom: "f" top: "p" }
    """)
    done = run("infer", "--model", net, picture)
    assert done.exit_code == 0
    assert done.stderr.startswith("note: the model does not say how its pictures are prepared: resized to 2x2, GRAY")


# What users hand over by mistake: every file in every option ends in one error, never a traceback.

WRONG = ("empty", "junk", "picture.png", "folder", "none", "net.caffemodel", "net.onnx", "comment.prototxt", "runless")


@pytest.fixture
def wrong(tmp_path, monkeypatch, picture, mlp, caffemodel) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    Path("junk").write_bytes(np.random.default_rng(0).bytes(5000))
    solver = (ROOT / "solvers/mlp.prototxt").read_text()
    Path("solver.prototxt").write_text(solver.replace("nets/mlp/train.prototxt", str(MLP)))
    Path("comment.prototxt").write_text("# nothing\n")
    Path("net.onnx").write_bytes(b"\x08\x08\x12")
    shutil.copy(caffemodel, "net.caffemodel")
    for name in ("folder", "runless"):
        Path(name).mkdir()
    shutil.copy(mlp / "deploy.prototxt", "runless")


@pytest.mark.parametrize(
    "line",
    [
        ["show", "?"],
        ["infer", "--model", "?", "picture.png"],
        ["infer", "--model", str(MLP), "--weights", "?", "picture.png"],
        ["export", "--onnx", "out.onnx", "--run", "?"],
        ["export", "--onnx", "out.onnx", "--model", "?", "--weights", "net.caffemodel"],
        ["export", "--onnx", "out.onnx", "--model", str(MLP), "--weights", "?"],
        ["train", "--solver", "?"],
        ["train", "--solver", "solver.prototxt", "--max-iter", "1", "--snapshot", "?"],
        ["train", "--solver", "solver.prototxt", "--max-iter", "1", "--weights", "?"],
        ["test", "--model", str(MLP), "--iterations", "1", "--weights", "?"],
    ],
    ids=lambda line: " ".join(word for word in line if not word.startswith("/")),
)
def test_a_wrong_file_is_an_error_in_one_sentence(line, wrong):
    for name in WRONG:
        if name == "net.caffemodel" and line[-2:] == ["--weights", "?"]:
            continue  # the right one
        if name == "net.caffemodel" and (
            line[:4] == ["infer", "--model", str(MLP), "--weights"] or line[0] in HOLDS_A_NET
        ):
            continue
        done = run(*[name if word == "?" else word for word in line])
        if isinstance(done.exception, NktcError):
            said = str(done.exception)
            assert "error: " in said.splitlines()[0]
            assert name.split(".")[0] in said
        else:
            assert done.exit_code == 2, (name, done.output, done.exception)
            assert f"'{name}'" in done.stderr
    assert not Path("out.onnx").exists()


# In a process of its own.


def test_errors_go_to_standard_error_without_a_traceback(tmp_path):
    done = process("infer", "--model", tmp_path, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {tmp_path} is not the folder of a run: it has no deploy.prototxt\nhelp: nktc train makes one\n"
    )


def test_a_reader_that_leaves_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        done = process("layers", capture_output=False, stdout=gone, stderr=subprocess.PIPE)
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_told():
    with open("/dev/full", "w") as full:
        done = process("layers", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "error: cannot write the output: No space left on device\n")


def test_names_that_are_no_text_are_shown_as_well_as_can_be(tmp_path):
    name = os.fsdecode(b"caf\xe9.prototxt")
    (tmp_path / name).write_text(MLP.read_text())
    done = process("check", name, os.fsdecode(b"gone\xe9"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == "caf\\udce9.prototxt: ok: TRAIN 5 layers, TEST 6 layers, 2,410 weights\n"
    assert done.stderr == "error: gone\\udce9 does not exist  [file-missing]\n"
