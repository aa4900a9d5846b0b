"""Where engines come from, what they refuse, and how they run."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest

from nktc import engines, export, module
from nktc.engines import Options, engine
from nktc.errors import NktcError
from nktc.ir import Graph, Value

ENGINES = ("onnxruntime", "torch")
MODULE = sys.modules["nktc.engines.engine"]  # the door has a function so named


@pytest.fixture
def graph(read) -> Graph:
    made = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
                convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
        layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
        layer { name: "i" type: "InnerProduct" bottom: "c" top: "i"
                inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
        layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
    """)
    return dataclasses.replace(made, arrays=module.compile(made, seed=1).arrays())


def test_ours_are_registered_as_a_strangers_would_be():
    assert engines.names() == sorted(point.name for point in entry_points(group="nktc.engines"))
    assert set(ENGINES) <= set(engines.names())


@pytest.fixture
def registry(monkeypatch, tmp_path):
    """A folder where packages lie as if installed."""
    MODULE._registered.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    MODULE._registered.cache_clear()


def test_a_strangers_engine_runs_by_its_name(monkeypatch, graph, registry, tmp_path):
    (tmp_path / "stranger.py").write_text(
        "class Session:\n"
        "    device = 'abacus'\n"
        "    def run(self, feeds):\n"
        "        return {'p': 0 * feeds['x'][:, 0, 0, :5]}\n"
        "class Abacus:\n"
        "    why = ''\n"
        "    def missing(self):\n"
        "        return self.why\n"
        "    def build(self, graph, options):\n"
        "        return Session()\n"
    )
    (registry / "stranger-1.dist-info").mkdir()
    (registry / "stranger-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (registry / "stranger-1.dist-info/entry_points.txt").write_text("[nktc.engines]\nabacus = stranger:Abacus\n")
    assert "abacus" in engines.names()
    assert not engine("abacus").build(graph, Options()).run(engines.random_feeds(graph, 2, 0))["p"].any()
    monkeypatch.setattr("stranger.Abacus.why", "pip install beads")
    with pytest.raises(NktcError) as caught:
        engine("abacus")
    assert str(caught.value) == "error: the backend abacus cannot run here\nhelp: pip install beads"


def test_an_unknown_backend_is_refused_with_a_near_name():
    with pytest.raises(NktcError) as caught:
        engine("onnxruntim")
    assert str(caught.value) == 'error: unknown backend "onnxruntim"\nhelp: did you mean "onnxruntime"?'
    with pytest.raises(NktcError) as caught:
        engine("zzz")
    assert caught.value.help == f"the backends are {', '.join(engines.names())}"


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_engines_take_any_batch_and_agree(name, batch, graph):
    feeds = engines.random_feeds(graph, batch, seed=batch)
    found = engine(name).build(graph, Options("cpu")).run(feeds)
    assert list(found) == ["p"]
    assert found["p"].shape == (batch, 5)
    assert found["p"].dtype == np.float32
    np.testing.assert_allclose(found["p"].sum(1), 1, rtol=1e-6)
    assert engines.agree(graph, ["torch", name], feeds)[0].relative <= 1e-5


@pytest.mark.parametrize("name", ENGINES)
def test_the_outputs_are_the_callers(name, graph):
    session = engine(name).build(graph, Options("cpu"))
    assert session.device == "cpu"
    feeds = engines.random_feeds(graph, 2, 0)
    first = session.run(feeds)["p"]
    kept = first.copy()
    first[:] = 9
    np.testing.assert_array_equal(session.run(feeds)["p"], kept)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1", ""])
def test_an_unknown_device_is_refused(name, device, graph):
    with pytest.raises(NktcError) as caught:
        engine(name).build(graph, Options(device))
    assert caught.value.message == f'unknown device "{device}"'


def test_a_gpu_asked_for_by_name_is_had_or_an_error():
    # In a process of its own that sees no GPU, wherever the tests run.
    code = (
        "from nktc import engines, reader\n"
        "from nktc.errors import NktcError\n"
        "from nktc.ir import Phase\n"
        'net = reader.parse_net(\'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }\'\n'
        '    \'layer { name: "r" type: "ReLU" bottom: "x" top: "r" }\')\n'
        f"for name in {ENGINES}:\n"
        "    try:\n"
        "        engines.engine(name).build(reader.build(net, Phase.TEST), engines.Options('cuda'))\n"
        "    except NktcError as error:\n"
        "        print(str(error).replace('\\n', ' '))\n"
    )
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=hidden)
    said = done.stdout.splitlines()
    assert len(said) == len(ENGINES)
    assert all(line.startswith("error: --device cuda cannot be had") and "--device cpu" in line for line in said)
    assert done.stderr == ""


# ONNX files.


@pytest.fixture
def file(graph, tmp_path) -> Path:
    export.save(export.to_onnx(graph), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def opened(path: Path):
    return engine("onnxruntime").open(path, Options("cpu"))


def test_an_onnx_file_tells_what_it_takes_and_gives(file):
    session = opened(file)
    assert (session.inputs, session.outputs) == ((Value("x", (0, 3, 8, 8)),), (Value("p", (0, 5)),))


def test_a_cut_or_changed_onnx_file_is_refused_in_one_sentence(file, capfd):
    whole, generator = file.read_bytes(), np.random.default_rng(0)
    for length in [0, 1, 50, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(NktcError) as caught:
            opened(file)
        assert caught.value.message.startswith(f"ONNX Runtime cannot load {file}: ")
        assert "\n" not in caught.value.message
        assert "ONNXRuntimeError" not in caught.value.message
    for _ in range(40):
        data = bytearray(whole)
        for place in generator.integers(len(data), size=8):
            data[place] = generator.integers(256)
        file.write_bytes(data)
        try:
            opened(file)
        except NktcError:
            continue
    assert capfd.readouterr().err == ""


def test_a_model_that_fails_at_work_is_told(graph, tmp_path):
    model = onnx_ir.to_proto(export.to_onnx(graph))
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.dim_param = f"d{i}"
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(NktcError, match=r"ONNX Runtime cannot run .*net\.onnx: "):
        opened(tmp_path / "net.onnx").run({"x": np.zeros((1, 2, 8, 8), np.float32)})


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"x": 3}', '{"x": {"size": [2, 2]}}', '{"x": {"mean": "!"}}'])
def test_metadata_that_is_not_ours_is_refused(text, file):
    model = onnx.load(file)
    next(p for p in model.metadata_props if p.key == "nktc.preprocessing").value = text
    onnx.save(model, file)
    with pytest.raises(NktcError, match=r"the metadata of .*net\.onnx cannot be read"):
        opened(file)
