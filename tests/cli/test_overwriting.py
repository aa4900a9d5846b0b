"""What commands read stays as it is, also where it is named as what they write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nktc import module, reader, weights
from nktc.cli import nktc
from nktc.errors import NktcError
from nktc.ir import Phase

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 2 kernel_size: 1 } }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net").write_text(NET)
    graph = reader.build(reader.read_net("net"), Phase.TEST)
    weights.save("w.caffemodel", graph, module.compile(graph, seed=1).arrays())
    weights.save("net.safetensors", graph, module.compile(graph, seed=1).arrays())
    weights.save("w.h5", graph, module.compile(graph, seed=1).arrays())
    np.save("x.npy", np.zeros((1, 4, 4, 3)))
    np.savez("x.npz", x=np.zeros((1, 3, 4, 4), np.float32))
    Path("list.txt").write_text("x.npz\n")
    Path("link").symlink_to("w.caffemodel")
    Path("w.csv").write_text("filename,ymin,xmin,ymax,xmax\n")
    Path("db").mkdir()
    Path("db/data.mdb").write_text("records")
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "show --torch -o net net --weights w.caffemodel",
        "show --torch -o net.py net --weights net.safetensors",
        "show --torch -o link net --weights w.caffemodel",
        "show --prototxt -o w.caffemodel w.caffemodel",
        "upgrade w.caffemodel -o ./w.caffemodel",
        "upgrade_net_proto_text w.caffemodel link",
        "export --model net --weights w.caffemodel --onnx net",
        "export --model net --weights w.caffemodel --onnx w.caffemodel",
        "classify x.npy x --model_def net --pretrained_model w.caffemodel --mean_file=",
        "detect w.csv w.csv --model_def net --pretrained_model w.caffemodel --mean_file= --crop_mode list",
        "draw_net net net",
        "infer --model net --weights w.h5 x.npz -o x.npz",
        "infer --model net --weights w.h5 x.np* -o x.npz",
        "infer --model net --weights w.h5 --list list.txt -o list.txt",
        "infer --model net --weights w.h5 x.npz -o w.h5",
        "compute_image_mean db db/data.mdb",
        "data mean db db/data.mdb",
    ],
)
def test_what_is_read_is_not_written_over(here: Path, line: str):
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    refused = CliRunner().invoke(nktc, line.split()).exception
    assert isinstance(refused, NktcError)
    assert refused.message.endswith("is what is read")
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_a_pytorch_file_is_not_written_where_its_weights_go(here: Path):
    done = CliRunner().invoke(nktc, ["show", "--torch", "-o", "new.safetensors", "net", "--weights", "w.caffemodel"])
    assert "-o names the PyTorch file, and the .safetensors goes beside it: give a .py" in done.stderr
    assert not Path("new.safetensors").exists()


def test_a_text_is_upgraded_in_its_place(here: Path):
    Path("net").write_text('layers { name: "r" type: RELU bottom: "x" top: "x" }\n')
    for line in ("upgrade net -o net", "upgrade_net_proto_text net net"):
        assert CliRunner().invoke(nktc, line.split()).exit_code == 0
    assert Path("net").read_text() == 'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }\n'
