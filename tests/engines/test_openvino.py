"""OpenVINO on the CPU: agreement with torch, its settings, inner blobs, files that are damaged or from elsewhere."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from big_nets import BIG_NETS, random_inputs, random_weights

from nktc import export, module, passes, reader
from nktc.engines import Options, engine, loaded
from nktc.errors import NktcError
from nktc.ir import DType, Graph, Phase, Preprocessing, Value

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino, which is not installed")
CPU = Options("cpu")


@pytest.fixture
def graph(read) -> Graph:
    return random_weights(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
                convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
        layer { name: "i" type: "InnerProduct" bottom: "c" top: "i" inner_product_param { num_output: 5 } }
        layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
    """)
    )


@pytest.fixture
def file(graph, tmp_path):
    export.save(export.to_onnx(graph, {"net": "x"}, export.target("openvino")), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def by_torch(graph: Graph, given) -> dict[str, np.ndarray]:
    return {name: y.detach().numpy() for name, y in module.compile(graph)(*given).items()}


@pytest.mark.parametrize("name", sorted(BIG_NETS))
def test_it_agrees_with_torch_on_well_known_nets(name):
    graph = random_weights(reader.build(reader.parse_net(BIG_NETS[name]()), Phase.TEST), seed=3)
    given = random_inputs(graph)
    found = engine("openvino").build(graph, CPU).run({"data": given[0].numpy()})
    for blob, expected in by_torch(graph, given).items():
        np.testing.assert_allclose(found[blob], expected, atol=1e-5 * max(1, np.abs(expected).max()), err_msg=blob)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_any_batch_goes_through(graph, batch):
    session = engine("openvino").build(graph, CPU)
    assert (session.inputs, session.outputs) == ((Value("x", (0, 3, 8, 8)),), (Value("p", (0, 5)),))
    x = np.random.default_rng(batch).standard_normal((batch, 3, 8, 8), np.float32)
    found = session.run({"x": x})["p"]
    np.testing.assert_allclose(found, by_torch(graph, [torch.from_numpy(x)])["p"], atol=1e-6)


def test_a_batch_that_is_asked_for_is_the_only_one(graph):
    session = engine("openvino").build(graph, dataclasses.replace(CPU, batch=3))
    assert session.inputs[0].shape == (3, 3, 8, 8)
    assert session.run({"x": np.zeros((3, 3, 8, 8), np.float32)})["p"].shape == (3, 5)
    with pytest.raises(NktcError, match="OpenVINO cannot run"):
        session.run({"x": np.zeros((2, 3, 8, 8), np.float32)})


def test_the_outputs_are_the_callers(graph):
    session = engine("openvino").build(graph, CPU)
    x = np.ones((1, 3, 8, 8), np.float32)
    first = session.run({"x": x})["p"]
    kept = first.copy()
    first[:] = 9
    np.testing.assert_array_equal(session.run({"x": x})["p"], kept)


def test_inner_blobs_are_those_of_torch(graph, file):
    session = engine("openvino").open(file, CPU, ["c", "i"])
    x = random_inputs(graph)[0]
    values = module.compile(graph).values(x)
    found = session.run({"x": x.numpy()})
    assert list(found) == ["p", "c", "i"]
    for name in ("c", "i"):
        np.testing.assert_allclose(found[name], values[name].detach(), atol=1e-5)
    with pytest.raises(NktcError, match='has no blob "cc"'):
        engine("openvino").open(file, CPU, ["cc"])


def test_a_file_tells_its_facts(graph, tmp_path):
    said = dataclasses.replace(graph, labels=("a", "b"), preprocessing={"x": Preprocessing((8, 8), "RGB")})
    export.save(export.to_onnx(said, {"net": "n.prototxt"}), tmp_path / "net.onnx")
    found = engine("openvino").open(tmp_path / "net.onnx", CPU).facts
    assert (found.labels, found.preprocessing["x"].order) == (("a", "b"), "RGB")
    assert found.origin["origin.net"] == "n.prototxt"


def test_a_file_of_its_own_kind_is_opened_with_facts_and_blobs(graph, tmp_path):
    openvino = pytest.importorskip("openvino")
    made = export.to_onnx(dataclasses.replace(graph, labels=("a",)))
    model = openvino.Core().read_model(onnx_ir.to_proto(made).SerializeToString(), b"")
    openvino.save_model(model, tmp_path / "net.xml", compress_to_fp16=False)
    session = engine("openvino").open(tmp_path / "net.xml", CPU, ["i"])
    assert session.facts.labels == ("a",)
    x = random_inputs(graph)[0]
    found = session.run({"x": x.numpy()})
    values = module.compile(graph).values(x)
    np.testing.assert_allclose(found["i"], values["i"].detach(), atol=1e-5)
    with pytest.raises(NktcError, match='has no blob "zz"'):
        engine("openvino").open(tmp_path / "net.xml", CPU, ["zz"])


def test_an_input_that_nobody_reads_is_fed_all_the_same(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }
        layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
        layer { name: "c" type: "Crop" bottom: "x" bottom: "l" top: "c" crop_param { offset: 1 } }
    """)
    session = engine("openvino").build(graph, CPU)
    assert [value.name for value in session.inputs] == ["x", "l"]
    x = np.arange(72, dtype=np.float32).reshape(1, 2, 6, 6)
    found = session.run({"x": x, "l": np.zeros((1, 1, 4, 4), np.float32)})
    np.testing.assert_array_equal(found["c"], x[:, :, 1:5, 1:5])


def test_a_net_that_copies_its_input_gives_it(read):
    graph = read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "d" type: "Dropout" bottom: "x" top: "y" }
    """)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(engine("openvino").build(graph, CPU).run({"x": x})["y"], x)


@pytest.mark.parametrize(
    ("feeds", "said"), [({}, "x is not fed"), ({"x": 0, "y": 0}, "y is no input"), ({"y": 0}, "x is not fed")]
)
def test_wrong_names_are_refused(graph, feeds, said):
    arrays = {name: np.zeros((1, 3, 8, 8), np.float32) for name in feeds}
    with pytest.raises(NktcError, match=said):
        engine("openvino").build(graph, CPU).run(arrays)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hnt": "latency"}, 'the backend openvino has no setting "hnt"\nhelp: did you mean "hint"?'),
        ({"hint": "fast"}, 'hint is "fast"\nhelp: hint is one of latency, throughput'),
        ({"streams": "two"}, 'streams is "two"\nhelp: streams is a number from 0 on'),
        ({"precision": "int8"}, 'precision is "int8"\nhelp: precision is one of f32, bf16, f16'),
    ],
)
def test_settings_that_are_none_are_refused(graph, settings, said):
    with pytest.raises(NktcError) as caught:
        engine("openvino").build(graph, dataclasses.replace(CPU, settings=settings))
    assert str(caught.value) == f"error: {said}"


def test_settings_reach_it(graph):
    settings = {"hint": "throughput", "streams": "2", "precision": "f32"}
    session = engine("openvino").build(graph, Options("auto", threads=2, settings=settings))
    found = {name: session.compiled.get_property(name) for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS")}
    assert found == {"INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 2}
    assert str(session.compiled.get_property("PERFORMANCE_HINT")).endswith("THROUGHPUT")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1", ""])
def test_an_unknown_device_is_refused(graph, device):
    with pytest.raises(NktcError, match=f'unknown device "{device}"'):
        engine("openvino").build(graph, Options(device))


def test_a_gpu_cannot_be_had(graph):
    with pytest.raises(NktcError, match="--device cuda:0 cannot be had in OpenVINO, which runs on the CPU"):
        engine("openvino").build(graph, Options("cuda:0"))


def test_damaged_files_are_refused_in_one_sentence(file, tmp_path, capfd):
    whole = file.read_bytes()
    for length in [0, 1, 50, len(whole) // 2]:
        file.write_bytes(whole[:length])
        with pytest.raises(NktcError) as caught:
            engine("openvino").open(file, CPU)
        assert "\n" not in caught.value.message
        assert ".cpp" not in caught.value.message
    strange = '<net version="11"><layers><layer id="0" name="x" type="No"/></layers></net>'
    for text in ("", "<net", "<html></html>", strange):
        (tmp_path / "net.xml").write_text(text)
        with pytest.raises(NktcError, match=r"OpenVINO cannot load .*net\.xml: ") as caught:
            engine("openvino").open(tmp_path / "net.xml", CPU)
        assert "\n" not in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_it_has_not_is_named(tmp_path):
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [1, 2, 2]) for name in "xy")
    node = onnx.helper.make_node("Det", ["x"], ["y"])
    y = onnx.helper.make_tensor_value_info("y", 1, [1])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [x], [y]), opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(NktcError, match=r"OpenVINO cannot load .*Det"):
        engine("openvino").open(tmp_path / "net.onnx", CPU)


def test_halves_are_computed_and_given_as_floats(graph):
    half = passes.assign_precision(graph, DType.F16)
    x = random_inputs(graph)[0]
    found = engine("openvino").build(half, CPU).run({"x": x.numpy()})["p"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_torch(graph, [x])["p"], atol=5e-3)


def test_it_says_how_to_have_it(monkeypatch):
    monkeypatch.setattr(f"{type(loaded('openvino')).__module__}.importlib.util.find_spec", lambda name: None)
    assert loaded("openvino").missing() == "pip install nktc[openvino]"


def test_it_prints_writes_and_sends_nothing(file, tmp_path):
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('a connection')\n"
        "socket.socket.connect = refuse\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from nktc.engines import Options, engine\n"
        f"session = engine('openvino').open(Path({str(file)!r}), Options('cpu'))\n"
        "session.run({'x': np.zeros((1, 3, 8, 8), np.float32)})\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "HOME": str(home)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not [path for path in home.rglob("*") if "openvino" in path.name.lower() or path.name == "intel"]


def test_means_over_a_padded_border_of_numbers_in_8_bits_are_those_of_zeros(read):
    graph = random_weights(
        read("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 8 dim: 8 } } }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
                convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: "p" type: "Pooling" bottom: "c" top: "p"
                pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 1 } }
        layer { name: "i" type: "InnerProduct" bottom: "p" top: "i" inner_product_param { num_output: 5 } }
    """)
    )
    lowered = passes.quantize(graph, dict.fromkeys(graph.values, (-3.0, 4.0)), most=63)
    x = random_inputs(graph)[0]
    for each in (graph, lowered):
        with torch.no_grad():
            expected = module.compile(each)(x)["i"].numpy()
        found = engine("openvino").build(each, CPU).run({"x": x.numpy()})["i"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.06 if each.grids else 1e-5)
