"""torch's models: a module gives the graph that answers as it does, and a file runs no code."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_models import answers
from torch import nn

from nktc import convert
from nktc.convert import torch_program
from nktc.errors import NktcError


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        y = self.pool(self.stem(x))
        return self.head(y.mean((2, 3))).softmax(1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "small.pt2"
    torch.manual_seed(0)
    program = torch.export.export(Small().eval(), (torch.randn(2, 3, 12, 10),))
    torch.export.save(program, path)
    return path


def changed(saved: Path, folder: Path, **entries: bytes | None) -> Path:
    """The archive with entries (dots for slashes are not used: names are given whole) changed or added."""
    path = folder / "changed.pt2"
    with zipfile.ZipFile(saved) as before, zipfile.ZipFile(path, "w") as after:
        for entry in before.infolist():
            inner = entry.filename.partition("/")[2]
            content = entries.pop(inner, before.read(entry))
            after.writestr(entry.filename, content)
        for inner, content in entries.items():
            after.writestr(f"small/{inner}", content)
    return path


def graph_of(saved: Path) -> dict:
    with zipfile.ZipFile(saved) as archive:
        return json.loads(archive.read("small/models/model.json"))


def test_a_saved_program_is_converted_and_answers_as_before(saved):
    pytest.importorskip("onnxscript")
    program = torch_program.open_program(saved)
    graph = convert.from_onnx(torch_program.of_program(program))
    assert {"stem.0", "head"} <= {node.name for node in graph}
    x = {graph.inputs[0].name: np.random.default_rng(0).random((2, 3, 12, 10), np.float32)}
    expected = torch_program.ProgramSession(program, graph).run(x)
    for made in (graph, convert.to_caffe(graph)):
        for name, values in answers(made, x).items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


def test_a_function_that_is_no_operator_is_refused_before_torch_sees_it(saved, tmp_path):
    tree = graph_of(saved)
    tree["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"
    path = changed(saved, tmp_path, **{"models/model.json": json.dumps(tree).encode()})
    with pytest.raises(NktcError, match=r'it calls "torch\.os\.system", which is no operator of torch'):
        torch_program.open_program(path)


@pytest.mark.parametrize("size", ["__import__('os').getcwd()", "Symbol('s0').__class__", "exec('1')"])
def test_a_size_that_is_more_than_arithmetic_is_refused(saved, tmp_path, size):
    tree = graph_of(saved) | {"range": {"expr_str": size}}
    path = changed(saved, tmp_path, **{"models/model.json": json.dumps(tree).encode()})
    with pytest.raises(NktcError, match="a size in it is"):
        torch_program.open_program(path)


class Bad:
    def __reduce__(self):
        return (print, ("ran",))


def test_pickles_are_refused_unread(saved, tmp_path, capsys):
    config = b'{"config": {"c": {"path_name": "custom_obj_0", "use_pickle": true}}}'
    for entries in (
        {"data/constants/model_constants_config.json": config},
        {"data/constants/custom_obj_0": pickle.dumps(Bad())},
        {"data/sample_inputs/model.pt": pickle.dumps(Bad())},
        {"data/aotinductor/model/model.so": b"\x7fELF"},
    ):
        with pytest.raises(NktcError, match="is no program that can be opened safely"):
            torch_program.open_program(changed(saved, tmp_path, **entries))
    assert "ran" not in capsys.readouterr().out


def test_files_of_torch_that_are_no_programs_are_refused_with_what_to_do(tmp_path):
    torch.save({"w": torch.zeros(2)}, tmp_path / "weights.pt")
    (tmp_path / "text.pt2").write_text("x")
    for name, reason in {"weights.pt": "it is pickled", "text.pt2": "it is no zip archive"}.items():
        with pytest.raises(NktcError, match=reason) as raised:
            torch_program.open_program(tmp_path / name)
        assert "torch.export.save" in raised.value.help


def test_an_archive_that_is_cut_off_is_refused(saved, tmp_path):
    whole = saved.read_bytes()
    for part in (len(whole) // 2, len(whole) - 40):
        (tmp_path / "cut.pt2").write_bytes(io.BytesIO(whole).read(part))
        with pytest.raises(NktcError):
            torch_program.open_program(tmp_path / "cut.pt2")
