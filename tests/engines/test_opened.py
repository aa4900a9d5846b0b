"""A model is opened whatever it is given as, on the engine that is for it, or refused with the reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from nktc import data, export, models, module, weights
from nktc.engines import Options, open_model, sidecar
from nktc.engines import opened as opened_module
from nktc.errors import NktcError
from nktc.ir import Graph

PLACES = data.Places.from_environment()
CPU = Options("cpu")
MLP = Path(__file__).parents[2] / "nets/mlp/train.prototxt"
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "r" type: "ReLU" bottom: "c" top: "r" }
layer { name: "i" type: "InnerProduct" bottom: "r" top: "i"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "p" type: "Softmax" bottom: "i" top: "p" }
"""
X = {"x": np.random.default_rng(0).standard_normal((2, 3, 6, 6), np.float32)}


@pytest.fixture
def net(tmp_path) -> tuple[Path, str]:
    """A net and its weights."""
    (tmp_path / "net.prototxt").write_text(NET)
    graph = models.open_model(tmp_path / "net.prototxt", [], PLACES)
    weights.save(tmp_path / "w.caffemodel", graph, module.compile(graph, seed=1).arrays())
    return tmp_path / "net.prototxt", str(tmp_path / "w.caffemodel")


@pytest.fixture
def file(net) -> Path:
    """The same as an ONNX file, with names for its classes."""
    graph = dataclasses.replace(models.open_model(net[0], [net[1]], PLACES), labels=tuple("abcde"))
    export.save(export.to_onnx(graph), net[0].with_suffix(".onnx"))
    return net[0].with_suffix(".onnx")


def refused(*arguments) -> str:
    with pytest.raises(NktcError) as caught:
        open_model(*arguments)
    return str(caught.value)


def test_every_form_gives_the_same_blobs_behind_its_outputs(net, file):
    blobs = ["r", "c", "i"]
    found = [
        open_model(net[0], [net[1]], "torch", CPU, PLACES, blobs),
        open_model(net[0], [net[1]], "", CPU, PLACES, blobs),
        open_model(file, [], "", CPU, PLACES, blobs),
    ]
    assert [one.backend for one in found] == ["torch", "onnxruntime", "onnxruntime"]
    assert [isinstance(one.graph, Graph) for one in found] == [True, True, False]
    first, *others = (one.session.run(X) for one in found)
    assert [list(outputs) for outputs in (first, *others)] == [["p", "r", "c", "i"]] * 3
    for outputs in others:
        for name, array in first.items():
            np.testing.assert_allclose(outputs[name], array, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(first["r"], np.maximum(first["c"], 0))


def test_an_input_or_an_output_may_be_asked_for_as_a_blob(net, file):
    for model, files in ((net[0], [net[1]]), (file, [])):
        for backend in ("torch", "") if files else ("",):
            found = open_model(model, files, backend, CPU, PLACES, ["x", "p"]).session.run(X)
            np.testing.assert_array_equal(found["x"], X["x"])
            assert list(found) == ["p", "x"]


def test_a_blob_that_is_not_there_is_refused_with_a_near_name(net, file):
    expected = 'has no blob "cc"\nhelp: it has '
    for model, files in ((net[0], [net[1]]), (file, [])):
        assert expected in refused(model, files, "", CPU, PLACES, ["cc"])
    wide = net[0].with_name("wide.prototxt")
    wide.write_text(NET.replace('"r"', '"relu1"'))
    assert refused(wide, [net[1]], "", CPU, PLACES, ["relu2"]) == (
        f'error: {wide} has no blob "relu2"\nhelp: did you mean "relu1"?'
    )


def test_what_is_known_of_the_model_is_known_when_it_is_open(net, file):
    found = open_model(file, [], "", CPU, PLACES)
    assert (found.labels, found.batch, found.best) == (tuple("abcde"), 0, 0)
    assert found.assumed.startswith("the model does not say how its pictures are prepared: resized to 6x6, BGR")
    assert found.preprocessing["x"].size == (6, 6)
    fixed = net[0].with_name("fixed.prototxt")
    fixed.write_text(
        NET.replace("dim: 1 ", "dim: 4 ") + 'layer { name: "s" type: "Reshape" bottom: "p" top: "s" '
        "reshape_param { shape { dim: 4 dim: 5 } } }"
    )
    assert open_model(fixed, [net[1]], "", CPU, PLACES).batch == 4


class Other:
    """An engine that reads ONNX files too, and keeps what it was asked."""

    reads = (".onnx",)
    target = ""
    asked: tuple[Path, Options, tuple[str, ...]]
    why = ""

    def missing(self) -> str:
        return self.why

    def open(self, path, options, blobs=()):
        Other.asked = path, options, tuple(blobs)
        return open_model(path, [], "onnxruntime", CPU, PLACES).session


@pytest.fixture
def other(monkeypatch) -> type[Other]:
    engines = {"other": Other, "abacus": type("Abacus", (), {"missing": lambda self: ""})}
    kept = opened_module.loaded, opened_module.engine, opened_module.names
    monkeypatch.setattr(opened_module, "loaded", lambda name: engines[name]() if name in engines else kept[0](name))
    monkeypatch.setattr(opened_module, "engine", lambda name: engines[name]() if name in engines else kept[1](name))
    monkeypatch.setattr(opened_module, "names", lambda: [*engines, *kept[2]()])
    monkeypatch.setattr(Other, "why", "")
    return Other


def test_the_sidecar_chooses_the_engine_and_its_settings(file, other):
    assert open_model(file, [], "", CPU, PLACES).backend == "onnxruntime"
    sidecar.write(file, sidecar.Sidecar("other", "1", batch=8, threads=2, settings={"a": 1, "b": 2}))
    found = open_model(file, [], "", Options("cpu", settings={"b": 3}), PLACES, ["c"])
    assert (found.backend, found.best) == ("other", 8)
    assert other.asked == (file, Options("cpu", 2, 0, {"a": 1, "b": 3}), ("c",))
    open_model(file, [], "", Options("cpu", threads=1), PLACES)
    assert other.asked[1].threads == 1
    found = open_model(file, [], "onnxruntime", CPU, PLACES)
    assert (found.backend, found.best) == ("onnxruntime", 0)


def test_a_sidecar_of_another_file_is_left_aside_and_that_is_told(file):
    sidecar.write(file, sidecar.Sidecar("onnxruntime", "1", threads=1, batch=4))
    assert open_model(file, [], "", CPU, PLACES).best == 4
    model = onnx.load(file)
    model.doc_string = "written anew"
    onnx.save(model, file)
    opened = open_model(file, [], "", CPU, PLACES)
    assert opened.best == 0
    assert f"the sidecar {file}.json is of another file, and was not used" in opened.assumed


def test_a_file_for_an_engine_that_cannot_run_here_says_what_can(file, other, monkeypatch):
    sidecar.write(file, sidecar.Sidecar("other", "1"))
    monkeypatch.setattr(Other, "why", "pip install other")
    said = refused(file, [], "", CPU, PLACES)
    assert said.startswith(
        f"error: {file} is for the backend other, which cannot run here\nhelp: pip install other; or "
    )
    assert "--backend onnxruntime" in said
    sidecar.place(file).write_text("{")
    assert f"the sidecar {sidecar.place(file)} is damaged" in refused(file, [], "", CPU, PLACES)


def test_a_file_for_an_engine_that_nobody_has_is_refused_and_not_run_on_another(file):
    sidecar.write(file, sidecar.Sidecar("stranger", "1"))
    assert refused(file, [], "", CPU, PLACES) == (
        f"error: {file} is for the backend stranger by its sidecar,"
        " and no backend stranger that reads .onnx files is installed\n"
        "help: make it again with nktc optimize, or give --backend onnxruntime"
    )
    assert open_model(file, [], "onnxruntime", CPU, PLACES).backend == "onnxruntime"


def test_engines_that_are_broken_or_know_of_no_files_are_no_matter(file, other, monkeypatch):
    kept = opened_module.loaded

    def load(name: str):
        if name == "torch":
            raise ImportError("no module")
        return kept(name)

    monkeypatch.setattr(opened_module, "loaded", load)
    assert "torch" not in opened_module.readers(file)
    assert opened_module.readers(file)[0] == "onnxruntime"


def test_models_that_cannot_be_opened_are_refused(net, file, tmp_path):
    (tmp_path / "run").mkdir()
    for name, content in (("empty.onnx", b""), ("words.onnx", b"hello, world"), ("cut.onnx", file.read_bytes()[:300])):
        (tmp_path / name).write_bytes(content)
        said = refused(tmp_path / name, [], "", CPU, PLACES)
        assert said.startswith(f"error: ONNX Runtime cannot load {tmp_path / name}: "), said
        assert len(said.splitlines()) == 2
    for arguments, said in (
        ((file, ["w"], ""), f"{file} has its own weights"),
        ((tmp_path / "run", ["w"], ""), f"the run {tmp_path / 'run'} has its own weights"),
        ((file, [], "torch"), "the backend torch does not read .onnx files"),
        ((file, [], "onnxruntme"), 'unknown backend "onnxruntme"'),
        ((net[0], [net[1]], "onnxruntme"), 'unknown backend "onnxruntme"'),
        ((MLP, [], ""), f"{MLP} is a net without weights"),
        ((tmp_path / "run", [], ""), f"{tmp_path / 'run'} is not the folder of a run: it has no deploy.prototxt"),
        ((tmp_path / "none.onnx", [], ""), f"there is no model {tmp_path / 'none.onnx'}"),
        ((Path(net[1]), [], ""), f"{net[1]} has weights, but not the net"),
    ):
        assert refused(*arguments, CPU, PLACES).splitlines()[0] == f"error: {said}"


def plain(folder: Path, dims: list[int | str], elements: int) -> Path:
    """An ONNX file of others."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Flatten", ["x"], ["y"])],
        "plain",
        [onnx.helper.make_tensor_value_info("x", elements, dims)],
        [onnx.helper.make_tensor_value_info("y", elements, ["a", "b"])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "plain.onnx")
    return folder / "plain.onnx"


@pytest.mark.parametrize(
    ("dims", "elements", "supposed"),
    [
        (["n", 3, 4, 5], onnx.TensorProto.FLOAT, ((4, 5), "BGR")),
        ([1, 1, 4, 5], onnx.TensorProto.FLOAT16, ((4, 5), "GRAY")),
        (["n", 4, 5, 3], onnx.TensorProto.UINT8, ((4, 5), "RGB")),
        (["n", 4, 5, 1], onnx.TensorProto.UINT8, ((4, 5), "GRAY")),
        (["n", 3, 4, 5], onnx.TensorProto.UINT8, None),
        (["n", 3, "h", 5], onnx.TensorProto.FLOAT, None),
        (["n", 5, 4, 5], onnx.TensorProto.FLOAT, None),
        (["n", 3], onnx.TensorProto.FLOAT, None),
    ],
)
def test_a_model_of_others_is_taken_for_what_its_input_looks_like(dims, elements, supposed, tmp_path):
    found = open_model(plain(tmp_path, dims, elements), [], "", CPU, PLACES)
    if supposed is None:
        assert (found.preprocessing, found.assumed) == ({}, "")
    else:
        p = found.preprocessing["x"]
        assert (p.size, p.order) == supposed
        assert f"resized to 4x5, {supposed[1]} pixels 0 to 255" in found.assumed
