"""nktc infer as a user runs it: every source, every form of output, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from nktc import export, models, reader, weights
from nktc.cli import nktc
from nktc.data import Places
from nktc.errors import NktcError
from nktc.ir import Phase

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } }
        transform_param { crop_size: 4 resize_height: 6 resize_width: 6 } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 4 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch) -> None:
    """A model that is sure of class i for a picture of gray i, as a net with weights and as an ONNX file; and a folder
    of such pictures."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    graph = reader.build(reader.read_net("net.prototxt"), Phase.TEST)
    line = np.float32([0, 1, 2, 3])
    arrays = {"ip.weight": np.repeat(line[:, None] * 10 / 16, 16, 1), "ip.bias": -5 * line * line}
    weights.save("w.caffemodel", graph, {name: torch.from_numpy(array) for name, array in arrays.items()})
    places = Places.from_environment()
    export.save(export.to_onnx(models.open_model("net.prototxt", ["w.caffemodel"], places)), "net.onnx")
    Path("p").mkdir()
    for i, shade in enumerate((0, 3, 1, 2)):
        cv2.imwrite(f"p/{i}.png", np.full((6, 6), shade, np.uint8))


def run(*line: object) -> Result:
    return CliRunner().invoke(nktc, ["infer", "--model", "net.onnx", *map(str, line)], prog_name="nktc")


def classes(*line: object) -> list[tuple[str, int]]:
    """The best class of each thing."""
    done = run("--jsonl", "--top", 1, *line)
    assert done.exit_code == 0, (done.output, done.exception)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(one["path"], one["predictions"][0]["index"]) for one in found]


EXPECTED = [("p/0.png", 0), ("p/1.png", 3), ("p/2.png", 1), ("p/3.png", 2)]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_folder_a_pattern_and_a_list_give_the_same_in_the_same_order(batch):
    Path("list.txt").write_text("".join(f"p/{i}.png\n" for i in range(4)))
    for what in (["p"], ["p/*.png"], ["--list", "list.txt"], [f"p/{i}.png" for i in range(4)]):
        assert classes("--batch", batch, *what) == EXPECTED
    assert classes("--oversample", "--batch", batch, "p") == EXPECTED


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_every_backend_gives_the_same(backend):
    line = ["infer", "--model", "net.prototxt", "--weights", "w.caffemodel", "--backend", backend, "--threads", "1"]
    done = CliRunner().invoke(nktc, [*line, "--jsonl", "--top", "1", "p"], prog_name="nktc")
    assert [json.loads(one)["predictions"][0]["index"] for one in done.stdout.splitlines()] == [0, 3, 1, 2]


def test_arrays_and_videos_are_inferred_row_by_row_and_frame_by_frame():
    np.save("a.npy", np.uint8([3, 1])[:, None, None] * np.ones((1, 6, 6), np.uint8))
    np.savez("b.npz", x=np.full((1, 1, 4, 4), 2.0), y=np.ones(3))
    writer = cv2.VideoWriter("v.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32))
    for _ in range(5):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.release()
    assert classes("a.npy", "b.npz") == [("a.npy#0", 3), ("a.npy#1", 1), ("b.npz#0", 2)]
    assert [name for name, _ in classes("--every", 2, "v.avi")] == ["v.avi#0", "v.avi#2", "v.avi#4"]


def test_one_bad_image_never_stops_the_rest_and_is_the_exit_code():
    Path("p/1a.png").write_text("words")
    done = run("--top", 1, "p")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[4:6] == ["p/1a.png", "  error: p/1a.png is not an image that can be decoded"]
    assert len(lines) == 10
    assert done.stderr == "1 of 5 could not be inferred\n"


def test_raw_outputs_and_blobs_are_told_in_text():
    done = run("--raw", "--jsonl", "p/1.png")
    assert json.loads(done.stdout)["outputs"]["prob"][3] == pytest.approx(1, abs=0.01)
    done = run("--blob", "ip", "--blob", "x", "--json", "p/1.png")
    (found,) = json.loads(done.stdout)
    assert found["outputs"] == {"ip": [0.0, 25.0, 40.0, 45.0], "x": [[[3.0] * 4] * 4]}
    rows = list(csv.DictReader(io.StringIO(run("--blob", "ip", "--csv", "p").stdout)))
    assert [float(row["ip[3]"]) for row in rows] == [-45, 45, -15, 15]
    assert "  prob 4  " in run("--raw", "p/0.png").stdout


@pytest.mark.parametrize("name", ["out.json", "out.jsonl", "out.csv", "out.txt", "out.npz", "out.h5", "out.lmdb"])
def test_the_name_of_the_output_says_its_form(name):
    Path("p/bad.png").write_text("words")
    done = run("-o", name, "p")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith(f"1 of 5 could not be inferred\n4 of 5 results: {name}\n")
    told = "p/bad.png is not an image that can be decoded\n"
    assert done.stderr.startswith(told) == (name[4:] in ("npz", "h5", "lmdb"))
    assert Path(name).exists()
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_extracted_features_are_the_blobs():
    run("--blob", "ip", "--raw", "-o", "f.npz", "p")
    run("--blob", "ip", "--raw", "-o", "f.h5", "p")
    expected = [[10 * shade * i - 5 * i * i for i in range(4)] for shade in (0, 3, 1, 2)]
    with np.load("f.npz") as found, h5py.File("f.h5") as other:
        np.testing.assert_allclose(found["ip"], expected, atol=1e-4)
        np.testing.assert_array_equal(found["ip"], other["ip"])
        np.testing.assert_array_equal(found["prob"], other["prob"])
        assert found["names"].tolist() == [name for name, _ in EXPECTED]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["none.png"], "error: none.png is not there"),
        (["p/*.gif"], "error: nothing matches p/*.gif\nhelp: ** stands for any number of folders"),
        (
            ["--list", "none.txt"],
            "error: there is no list none.txt\nhelp: give a text file of paths, one a line, or - for",
        ),
        (["--blob", "ipp", "p"], 'error: net.onnx has no blob "ipp"\nhelp: did you mean "ip"?'),
        (["--json", "-o", "a.csv", "p"], "error: a.csv is called as csv is, and json is asked for"),
        (["-o", "a.xls", "p"], "error: the name of a.xls does not say what it is to hold"),
        (["--backend", "torch", "p"], "error: the backend torch does not read .onnx files"),
        (["--weights", "w.caffemodel", "p"], "error: net.onnx has its own weights\nhelp: leave --weights out"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(line, said):
    error = run(*line).exception
    assert isinstance(error, NktcError), error
    assert str(error).startswith(said)
    assert sorted(path.name for path in Path().iterdir()) == ["net.onnx", "net.prototxt", "p", "w.caffemodel"]


def test_standard_input_is_an_image_or_a_list():
    line = ["infer", "--model", "net.onnx", "--jsonl", "--top", "1"]
    process = [sys.executable, "-m", "nktc", *line, "-"]
    done = subprocess.run(process, input=Path("p/1.png").read_bytes(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["predictions"][0]["index"] == 3
    done = CliRunner().invoke(nktc, [*line, "--list", "-"], input=b"p/3.png\nnone.png\n")
    assert (done.exit_code, done.stderr) == (1, "1 of 2 could not be inferred\n")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["predictions"][0]["index"], second["error"]) == (2, "none.png is not there")
