"""The TensorRT backend against a fake of TensorRT (fake_tensorrt.py): settings, engine files, refusals, memory, graphs.

Nothing here runs on TensorRT but the last test, which is skipped where there is none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import sys

import fake_tensorrt
import numpy as np
import onnx
import onnx_ir
import pytest
import torch

from nktc import engines, export, module
from nktc.engines import Options, sidecar
from nktc.engines import tensorrt as backend
from nktc.errors import NktcError, split
from nktc.ir import DType, Graph, Preprocessing, Value, rewrite

NET = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "c" type: "Convolution" bottom: "x" top: "c"
            convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
    layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
    layer { name: "i" type: "InnerProduct" bottom: "c" top: "i"
            inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
    layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
"""
HALF = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "h" type: "Cast" bottom: "x" top: "h" cast_param { type: FLOAT16 } }
    layer { name: "i" type: "InnerProduct" bottom: "h" top: "i"
            inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
    layer { name: "f" type: "Cast" bottom: "i" top: "f" cast_param { type: FLOAT } }
"""


class HostGpu:
    """What a Gpu gives, in the host's memory."""

    name, capability, driver, handle = "Fake GPU 1", "9.0", "580.1", 0x5EED
    device = torch.device("cpu")
    inside = False

    def __init__(self, device):
        self.asked = device
        self.lent = []
        self.captures = 0

    @contextlib.contextmanager
    def working(self):
        assert not self.inside
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def empty(self, shape, dtype):
        assert self.inside
        return torch.full(shape, 77, dtype=dtype)

    def upload(self, array, dtype):
        assert self.inside
        return torch.from_numpy(np.array(array)).to(dtype)

    def download(self, tensor):
        return (tensor.float() if tensor.dtype is torch.float16 else tensor).numpy()

    def lend(self, tensor):
        assert not self.inside
        self.lent.append(tensor)

    def wait(self):
        pass

    def captured(self, work):
        self.captures += 1
        return work


@pytest.fixture
def faults(monkeypatch):
    """The fake in TensorRT's place, and a GPU that is the host; gives what can go wrong."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    monkeypatch.setattr(fake_tensorrt, "_faults", fake_tensorrt._Faults())
    monkeypatch.setattr(backend, "why_no_gpu", lambda index: "")
    monkeypatch.setattr(backend, "choose", lambda device, gpu_wanted: (torch.device("cuda", 0), ""))
    monkeypatch.setattr(backend, "Gpu", HostGpu)
    parts = ("nktc.engines.tensorrt_build", "nktc.engines.tensorrt_run")
    for part in parts:
        monkeypatch.delitem(sys.modules, part, raising=False)
    yield fake_tensorrt._faults
    for part in parts:
        sys.modules.pop(part, None)


def trained(graph: Graph) -> Graph:
    return dataclasses.replace(graph, arrays=module.compile(graph, seed=1).arrays())


@pytest.fixture
def graph(read) -> Graph:
    return trained(read(NET))


def build(graph, **settings):
    return backend.TensorRt().build(graph, Options("auto", settings=settings))


def opened(path, **settings):
    return backend.TensorRt().open(path, Options("auto", settings=settings))


def reference(graph, feeds):
    return engines.engine("torch").build(graph, Options("cpu")).run(feeds)


def head(session) -> dict:
    """What the fake's builder was told."""
    return json.loads(session.plan.split(b"\n")[2])


def saved(graph, tmp_path, **settings):
    path = tmp_path / "net.engine"
    build(graph, **settings).save(path, {"net": "net.prototxt sha256:" + "0" * 64})
    return path


def edit(path, **fields):
    """Change what a sidecar says."""
    said = json.loads(sidecar.place(path).read_text())
    sidecar.place(path).write_text(json.dumps(said | fields))


# What is missing.


def test_without_tensorrt_the_advice_is_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    assert backend.TensorRt().missing() == "pip install 'nktc[tensorrt]'"


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("tensorrt", "TensorRT is installed, but its libraries are absent: libnvinfer.so.11: cannot open"),
        ("tensorrt_bindings", "TensorRT's Python bindings are installed, but its libraries are absent: libnvinfer"),
    ],
)
def test_tensorrt_without_its_libraries_is_told_as_that(package, said, monkeypatch, tmp_path):
    (tmp_path / f"{package}.py").write_text("raise ImportError('libnvinfer.so.11: cannot open shared object file')")
    for name in ("tensorrt", "tensorrt_bindings"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    if importlib.util.find_spec("tensorrt") and package != "tensorrt":
        pytest.skip("TensorRT is installed")
    assert backend.TensorRt().missing().startswith(said)


def test_another_major_version_is_not_worked_with(faults, monkeypatch):
    monkeypatch.setattr(fake_tensorrt, "__version__", "10.15.1")
    assert backend.TensorRt().missing().startswith("nktc works with TensorRT 11, and 10.15.1 is installed; pip install")


def test_tensorrt_without_a_gpu_says_so(faults, monkeypatch):
    assert backend.TensorRt().missing() == ""
    monkeypatch.setattr(backend, "why_no_gpu", lambda index: "no driver")
    assert backend.TensorRt().missing() == "it needs an NVIDIA GPU: no driver"


def test_the_cpu_is_no_device_for_tensorrt(graph, monkeypatch):
    with pytest.raises(NktcError) as caught:
        backend.TensorRt().build(graph, Options("cpu"))
    assert str(caught.value) == "error: TensorRT runs on NVIDIA GPUs, not on cpu"


# Building, on the fake.


def test_on_the_fake_an_engine_gives_what_torch_gives(faults, graph):
    session = build(graph)
    assert session.inputs == (Value("x", (0, 3, 8, 8)),)
    assert session.outputs == (Value("p", (0, 5)),)
    for batch in (1, 7, 32):
        feeds = engines.random_feeds(graph, batch, seed=batch)
        found = session.run(feeds)
        assert found["p"].dtype == np.float32
        np.testing.assert_allclose(found["p"], reference(graph, feeds)["p"], rtol=1e-4, atol=1e-6)


def test_on_the_fake_a_batch_above_the_largest_runs_in_parts(faults, graph):
    session = build(graph, profiles="1,2,4")
    feeds = engines.random_feeds(graph, 11, seed=0)
    faults.calls.clear()
    np.testing.assert_allclose(session.run(feeds)["p"], reference(graph, feeds)["p"], rtol=1e-4, atol=1e-6)
    assert faults.calls == ["execute"] * 3


def test_on_the_fake_a_fixed_batch_is_all_that_is_taken(faults, graph):
    session = backend.TensorRt().build(graph, Options("auto", batch=3))
    assert session.inputs == (Value("x", (3, 3, 8, 8)),)
    assert head(session)["profiles"] == {}
    assert session.run(engines.random_feeds(graph, 3, 0))["p"].shape == (3, 5)
    with pytest.raises(NktcError) as caught:
        session.run(engines.random_feeds(graph, 4, 0))
    assert caught.value.message.endswith("takes x as 3x3x8x8, not 4x3x8x8")


def test_settings_reach_the_fakes_builder(faults, graph):
    known = head(build(graph))
    assert known["flags"] == ["TF32"]
    assert known["level"] == 3
    assert known["compatibility"] == "NONE"
    assert known["profiles"] == {"x": [[1, 3, 8, 8], [8, 3, 8, 8], [32, 3, 8, 8]]}
    assert known["detailed"]
    session = build(
        graph,
        tf32="false",
        version_compatible=True,
        builder_level="5",
        workspace="512M",
        hardware_compatibility="ampere+",
        profiles={"x": ((2, 3, 8, 8), (4, 3, 8, 8), (4, 3, 8, 8))},
    )
    assert head(session) == {
        "profiles": {"x": [[2, 3, 8, 8], [4, 3, 8, 8], [4, 3, 8, 8]]},
        "level": 5,
        "compatibility": "AMPERE_PLUS",
        "flags": ["VERSION_COMPATIBLE"],
        "workspace": 512 << 20,
        "detailed": True,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"profiles": "y:1,2,4"}, 'the setting profiles names "y", no input'),
        (
            {"profiles": "x:1x1x8x8,1x1x8x8,1x1x8x8"},
            "the setting profiles says 1x1x8x8 of the input x, which is ?x3x8x8",
        ),
        ({"workspace": "2000G"}, "TensorRT does not take a workspace of 2147483648000 bytes, it keeps 1099511627776"),
        ({"biulder_level": 3}, 'the backend tensorrt has no setting "biulder_level"'),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message, faults, graph):
    with pytest.raises(NktcError) as caught:
        build(graph, **settings)
    assert caught.value.message == message


def test_a_layer_that_the_fakes_parser_refuses_is_told_with_its_place(faults, graph):
    faults.unsupported = {"Softmax"}
    with pytest.raises(NktcError) as caught:
        build(graph)
    assert caught.value.message == 'TensorRT does not take layer "p" (Softmax) of net: no importer for Softmax'
    assert caught.value.at.line == 8
    faults.unsupported = {"Softmax", "Conv"}
    with pytest.raises(NktcError) as caught:
        build(graph)
    assert [one.at.line for one in split(caught.value)] == [3, 8]


def test_what_the_fake_cannot_build_or_start_is_told_in_its_words(faults, graph):
    faults.builds = False
    with pytest.raises(NktcError) as caught:
        build(graph)
    assert caught.value.message == "TensorRT cannot build net: Could not find any implementation for node c"
    faults.driver = False
    with pytest.raises(NktcError, match="TensorRT does not start: pybind11"):
        build(graph)


def test_timings_are_kept_in_the_cache_and_anothers_are_refused(faults, graph, tmp_path):
    cache = tmp_path / "new/timings"
    for times in (1, 2):
        build(graph, timing_cache=str(cache))
        assert json.loads(cache.read_text()) == {"device": "fake", "timed": times}
    faults.device = "another"
    with pytest.raises(NktcError) as caught:
        build(graph, timing_cache=str(cache))
    assert caught.value.message == f"TensorRT cannot use the timing cache {cache}: another GPU or TensorRT wrote it"
    cache.write_bytes(b"\x00")
    with pytest.raises(NktcError, match="timing cache header mismatch"):
        build(graph, timing_cache=str(cache))


# What the engine computes in.


def test_the_fakes_engine_tells_what_it_computes_in(faults, read):
    session = build(trained(read(HALF)))
    assert session.about.asked == ("f16",)
    assert session.found == {"f16": pytest.approx(2 / 3, abs=1e-4), "f32": pytest.approx(1 / 3, abs=1e-4)}


def test_eight_bits_that_were_asked_for_are_found_in_the_fakes_engine(faults, read):
    graph = trained(
        read("""
            layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
            layer { name: "q" type: "Quantize" bottom: "x" top: "q" quantize_param { scale: 0.05 signed: true } }
            layer { name: "i" type: "InnerProduct" bottom: "q" top: "i"
                    inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
        """)
    )
    session = build(graph)
    assert session.about.asked == ("s8",)
    assert session.found["s8"] > 0
    faults.all_float = True
    with pytest.raises(NktcError, match="net asks for s8, and TensorRT made an engine without: 100% f32"):
        build(graph)


def test_an_engine_of_floats_where_halves_were_asked_for_is_an_error(faults, read):
    faults.all_float = True
    with pytest.raises(NktcError) as caught:
        build(trained(read(HALF)))
    assert caught.value.message == "net asks for f16, and TensorRT made an engine without: 100% f32"


def test_where_the_inspector_is_silent_nothing_is_claimed(faults, read):
    faults.silent = True
    assert build(trained(read(HALF))).found == {}


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        ({"DataType": "Half", "Format": "Row major linear FP32 format (kLINEAR)"}, "f16"),
        ({"Datatype": "Int8", "Format": "Thirty-two wide channel vectorized"}, "s8"),
        ({"Format/Datatype": "Channel major FP16 format where C % 2 == 0."}, "f16"),
        ({"Format/Datatype": "Row major linear BFloat16 format."}, "bf16"),
        ({"Format/Datatype": "Row major linear FP32"}, "f32"),
    ],
)
def test_both_layouts_of_the_inspectors_json_are_read(tensor, kind, faults):
    run = importlib.import_module("nktc.engines.tensorrt_run")
    assert run.shares(json.dumps({"Layers": [{"Outputs": [tensor]}]})) == {kind: 1}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": ["a"]}', '{"Layers": [{"Outputs": ["a", {}]}]}'])
def test_an_inspector_that_tells_nothing_gives_no_shares(text, faults):
    assert importlib.import_module("nktc.engines.tensorrt_run").shares(text) == {}


def test_halves_at_the_edges_come_out_as_floats(faults, read):
    graph = rewrite.wanting(trained(read(HALF)), ["i"])
    session = build(graph)
    assert session.outputs == (Value("i", (0, 5), DType.F16),)
    assert session.run({"x": np.ones((2, 3), np.float32)})["i"].dtype == np.float32


# Engine files, on the fake.


def test_a_saved_engine_opens_with_what_it_knows(faults, graph, tmp_path):
    picture = Preprocessing((8, 8), "BGR", mean=np.array([1, 2, 3], np.float32))
    graph = dataclasses.replace(graph, preprocessing={"x": picture}, labels=("a", "b", "c", "d", "e"))
    path = saved(graph, tmp_path)
    feeds = engines.random_feeds(graph, 2, 0)
    session = opened(path)
    np.testing.assert_allclose(session.run(feeds)["p"], reference(graph, feeds)["p"], rtol=1e-4, atol=1e-6)
    assert session.facts.labels == graph.labels
    np.testing.assert_array_equal(session.facts.preprocessing["x"].mean, picture.mean)
    known = sidecar.read(path)
    assert (known.engine, known.runtime) == ("tensorrt", "11.4.0.106")
    assert (known.device, known.capability, known.driver) == ("Fake GPU 1", "9.0", "580.1")
    assert known.found == {"f32": 1}
    assert known.settings["profiles"] == {}
    assert known.facts.origin == {"net": "net.prototxt sha256:" + "0" * 64}


def refusal(faults, path, **settings) -> str:
    """What is said of an engine file that is not even loaded."""
    faults.calls.clear()
    with pytest.raises(NktcError) as caught:
        opened(path, **settings)
    assert faults.calls == []
    assert caught.value.help
    return caught.value.message


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_truncated_engine_is_refused_before_it_is_loaded(length, faults, graph, tmp_path):
    path = saved(graph, tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    said = refusal(faults, path, allow_foreign=True)
    assert said.startswith(f"{path} is not the file that its sidecar tells of, it is truncated or changed: sha256 ")


def test_an_engine_without_its_sidecar_is_opened_on_request_only(faults, graph, tmp_path):
    path = saved(graph, tmp_path)
    sidecar.place(path).unlink()
    assert refusal(faults, path) == (
        f"{path} is an engine without its sidecar {path}.json: nothing tells which GPU and TensorRT it was made for"
    )
    assert opened(path, allow_foreign=True).run(engines.random_feeds(graph, 2, 0))["p"].shape == (2, 5)
    path.write_bytes(b"no plan")
    with pytest.raises(NktcError) as caught:
        opened(path, allow_foreign=True)
    said = f"TensorRT cannot load {path}: Serialization assertion stdVersionRead == serializationVersion failed"
    assert caught.value.message == said


def test_an_engine_of_another_tensorrt_is_refused(faults, graph, tmp_path, monkeypatch):
    path = saved(graph, tmp_path)
    monkeypatch.setattr(fake_tensorrt, "__version__", "11.5.0.1")
    assert refusal(faults, path) == f"{path} was made by TensorRT 11.4.0.106, and this is 11.5.0.1"


def test_a_version_compatible_engine_runs_in_a_later_tensorrt_for_who_trusts_it(faults, graph, tmp_path, monkeypatch):
    path = saved(graph, tmp_path, version_compatible=True)
    monkeypatch.setattr(fake_tensorrt, "__version__", "11.5.0.1")
    assert "it carries code of its own" in refusal(faults, path)
    assert opened(path, allow_host_code=True).run(engines.random_feeds(graph, 2, 0))["p"].shape == (2, 5)
    monkeypatch.setattr(fake_tensorrt, "__version__", "11.3.9")
    assert "was made by TensorRT 11.4.0.106, and this is 11.3.9" in refusal(faults, path, allow_host_code=True)


def test_a_sidecar_does_not_consent_for_the_user(faults, graph, tmp_path):
    path = saved(graph, tmp_path, version_compatible=True, allow_host_code=True)
    assert not {"allow_foreign", "allow_host_code"} & sidecar.read(path).settings.keys()
    edit(path, settings={"version_compatible": True, "allow_host_code": True})
    assert refusal(faults, path) == f"the sidecar of {path} says allow_host_code, which only you can say"


@pytest.mark.parametrize(
    ("compatibility", "gpu", "fits"),
    [
        ("none", ("Fake GPU 1", "9.0"), True),
        ("none", ("Fake GPU 2", "9.0"), False),
        ("same-capability", ("Fake GPU 2", "9.0"), True),
        ("same-capability", ("Fake GPU 2", "8.0"), False),
        ("ampere+", ("Fake GPU 2", "8.6"), True),
        ("ampere+", ("Fake GPU 2", "7.5"), False),
    ],
)
def test_an_engine_opens_on_the_gpus_it_was_made_for(compatibility, gpu, fits, faults, graph, tmp_path, monkeypatch):
    path = saved(graph, tmp_path, hardware_compatibility=compatibility)
    monkeypatch.setattr(HostGpu, "name", gpu[0])
    monkeypatch.setattr(HostGpu, "capability", gpu[1])
    if fits:
        opened(path)
        return
    said = f"{path} was made for Fake GPU 1 (compute capability 9.0), and this is Fake GPU 2 ({gpu[1]})"
    assert refusal(faults, path) == said
    opened(path, allow_foreign=True)


def test_an_engine_whose_source_has_changed_is_stale(faults, graph, tmp_path):
    path = saved(graph, tmp_path)
    opened(path)  # the source is not at hand
    (tmp_path / "net.prototxt").write_text("changed")
    assert f"{path} is stale, {tmp_path / 'net.prototxt'} has changed since it was made" in refusal(faults, path)


def test_a_sidecar_changed_at_random_is_refused_in_words_or_opens(faults, graph, tmp_path):
    path = saved(graph, tmp_path)
    whole, generator = sidecar.place(path).read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        for place in generator.integers(len(data), size=2):
            data[place] = generator.choice(list(b'0a"{}[],: \xff'))
        sidecar.place(path).write_bytes(data)
        with contextlib.suppress(NktcError):
            opened(path)


def test_a_sidecar_of_another_backend_is_refused(faults, graph, tmp_path):
    path = saved(graph, tmp_path)
    edit(path, engine="openvino")
    with pytest.raises(NktcError, match="was made by the backend openvino, not by tensorrt"):
        opened(path)


def test_an_engine_has_no_inner_blobs(faults, graph, tmp_path):
    path = saved(graph, tmp_path)
    assert backend.TensorRt().open(path, Options(), ["p"]).outputs == (Value("p", (0, 5)),)
    with pytest.raises(NktcError, match=r'net\.engine has no blob "c"'):
        backend.TensorRt().open(path, Options(), ["c"])


def test_an_onnx_file_is_built_with_inner_values_as_outputs(faults, graph, tmp_path):
    path = tmp_path / "net.onnx"
    export.save(export.to_onnx(dataclasses.replace(graph, labels=("a",)), target=export.target("tensorrt")), path)
    session = backend.TensorRt().open(path, Options(), ["c"])
    assert [value.name for value in session.outputs] == ["p", "c"]
    assert session.facts.labels == ("a",)
    feeds = engines.random_feeds(graph, 3, 0)
    wanted = reference(rewrite.wanting(graph, ["p", "c"]), feeds)
    for name, found in session.run(feeds).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=1e-5)


# Running, on the fake.


def test_feeds_that_do_not_fit_are_refused(faults, graph, tmp_path):
    session = build(graph)
    for feeds, said in [
        ({}, "net takes x f32[0 3 8 8] and is given nothing"),
        ({"x": np.zeros((1, 3, 8, 8))}, "net takes x f32[0 3 8 8] and is given float64 1x3x8x8"),
        ({"x": np.zeros((1, 3, 8, 9), np.float32)}, "net takes x as 1x3x8x8 to 32x3x8x8, not 1x3x8x9"),
        ({"x": np.zeros((3, 8, 8), np.float32)}, "net takes x as 1x3x8x8 to 32x3x8x8, not 3x8x8"),
    ]:
        with pytest.raises(NktcError) as caught:
            session.run(feeds)
        assert caught.value.message == said


def test_tensors_stay_tensors_and_are_lent(faults, graph):
    session = build(graph)
    x = torch.randn(2, 3, 8, 8)
    found = session.run_torch({"x": x})["p"]
    np.testing.assert_allclose(found.numpy(), reference(graph, {"x": x.numpy()})["p"], rtol=1e-4, atol=1e-6)
    assert {t.data_ptr() for t in session.gpu.lent} == {x.data_ptr(), found.data_ptr()}
    with pytest.raises(NktcError, match=r"net takes x f32\[0 3 8 8\] on cpu and is given torch.float64 on cpu"):
        session.run_torch({"x": x.double()})


def test_a_cuda_graph_is_captured_once_for_each_shape_with_a_context_of_its_own(faults, graph):
    session = build(graph, cuda_graph=True)
    faults.calls.clear()
    kept = []
    for batch in (2, 5, 2, 5, 2):
        feeds = engines.random_feeds(graph, batch, seed=len(kept))
        kept.append((session.run(feeds)["p"], reference(graph, feeds)["p"]))
    assert session.gpu.captures == 2
    assert faults.calls.count("context") == 2
    for found, wanted in kept:  # no later run wrote into an earlier answer
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_only_so_many_cuda_graphs_are_kept(faults, graph):
    session = build(graph, cuda_graph=True)
    for batch in range(1, 12):
        session.run(engines.random_feeds(graph, batch, 0))
    assert len(session._graphs) == 8
    session.run(engines.random_feeds(graph, 11, 0))
    assert session.gpu.captures == 11


def test_what_cannot_be_captured_is_told(faults, graph, monkeypatch):
    def fails(self, work):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(HostGpu, "captured", fails)
    with pytest.raises(NktcError) as caught:
        build(graph, cuda_graph=True).run(engines.random_feeds(graph, 1, 0))
    said = "net cannot be captured as a CUDA graph: operation not permitted when stream is capturing"
    assert caught.value.message == said


def test_a_gpu_without_memory_left_is_told(faults, graph, monkeypatch):
    session = build(graph)

    def full(self, shape, dtype):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(HostGpu, "empty", full)
    with pytest.raises(NktcError, match="the GPU has no memory left to run net"):
        session.run(engines.random_feeds(graph, 1, 0))
    with pytest.raises(NktcError, match="the GPU has no 0 MiB left for net"):
        build(graph)


def test_types_that_nktc_does_not_handle_are_refused(faults, tmp_path):
    node = onnx.helper.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.INT32)
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [2])
    made = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [x], [y]), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(made, tmp_path / "cast.onnx")
    with pytest.raises(NktcError, match=r"cast\.onnx: y is INT32, which nktc does not handle"):
        opened(tmp_path / "cast.onnx")


def test_onnx_that_is_given_computes_in_what_its_tensors_say(read):
    model = onnx_ir.to_proto(export.to_onnx(trained(read(HALF)), target=export.target("tensorrt")))
    assert backend._asked(model) == ("f16",)


# The real one.


def test_the_real_tensorrt_agrees_with_torch_and_opens_its_file(graph, tmp_path):
    if problem := backend.TensorRt().missing():
        pytest.skip(f"needs TensorRT 11 and a GPU: {problem}")
    for cuda_graph in (False, True):
        session = build(graph, tf32=False, cuda_graph=cuda_graph)
        session.save(tmp_path / "net.engine")
        for one in (session, opened(tmp_path / "net.engine", cuda_graph=cuda_graph)):
            for batch in (1, 5, 40):
                feeds = engines.random_feeds(graph, batch, seed=batch)
                np.testing.assert_allclose(one.run(feeds)["p"], reference(graph, feeds)["p"], rtol=1e-3, atol=1e-5)
            assert one.found == {"f32": 1}
