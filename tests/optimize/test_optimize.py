"""From a trained net to an engine file: what is written, what is proved, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from nktc import data, engines
from nktc.engines import Options, open_model, read_sidecar
from nktc.errors import NktcError
from nktc.optimize import Wanted, optimize

MODULE = sys.modules["nktc.optimize.optimize"]  # the door has a function so named
DIGITS = Path(__file__).parents[2] / "nets/digits_quick/train.prototxt"


def inputs(file: Path) -> dict[str, list[int | str]]:
    model = onnx.load(file)
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}


def refused(run, *arguments, **more) -> str:
    with pytest.raises(NktcError) as caught:
        run(*arguments, **more)
    return str(caught.value)


@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-5), ("fp16", 1e-2), ("int8", 0.1)])
def test_the_file_its_sidecar_and_its_report_are_there_and_infer_alike(
    precision, apart, trained, records, quick, places, tmp_path
):
    net = trained()
    outcome = quick(net, precision=precision, calibrate=(records,), max_drop=100.0)
    file = tmp_path / "out/net.onnx"
    assert outcome.file == file
    assert sorted(path.name for path in file.parent.iterdir()) == ["net.onnx", "net.onnx.json", "net.onnx.report.txt"]
    onnx.checker.check_model(onnx.load(file), full_check=True)
    opened = open_model(file, [], "", Options("cpu"), places)
    assert (opened.backend, opened.batch) == ("onnxruntime", 0)
    x = np.load(records)["x"]
    expected = open_model(net[0], [net[1]], "torch", Options("cpu"), places).session.run({"x": x})["p"]
    np.testing.assert_allclose(opened.session.run({"x": x})["p"], expected, atol=apart * expected.max(), rtol=0)
    sidecar = read_sidecar(file)
    assert sidecar is not None
    assert (sidecar.engine, sidecar.threads) == ("onnxruntime", 1)
    assert opened.best == sidecar.batch == next(one for one in outcome.curve if one.chosen).times.batch
    assert sidecar.measured["precision"] == precision
    assert sidecar.measured["proof"]["agrees"] is True
    assert {key: text.partition(" ")[0] for key, text in sidecar.facts.origin.items()} == {
        "origin.net": "net.prototxt",
        "origin.weights": "w.caffemodel",
    }
    report = file.with_name("net.onnx.report.txt").read_text()
    assert "fold_batch_norm" in report
    assert f"{net[0]}:4 a + :5 n -> " in report
    assert report.endswith(f"{file}: onnxruntime, {precision}, any batch, 1 thread\n")
    assert outcome.proof.agrees
    assert outcome.proof.records == 32
    types = {node.op_type for node in onnx.load(file).graph.node}
    assert ("Cast" in types) is (precision == "fp16")
    assert ("QuantizeLinear" in types) is (precision == "int8")


def test_every_engine_that_reads_such_files_is_tried(trained, quick):
    outcome = quick(trained(), backend="", threads=0)
    tried = {one.backend for one in outcome.measured}
    assert tried == {name for name in ("onnxruntime", "openvino") if find_spec(name)}
    assert sum(one.chosen for one in outcome.measured) == 1
    assert outcome.measured[0].chosen
    assert outcome.measured[-1].variant == "the net as it is"


def test_openvino_files_are_proved_in_openvino(trained, records, quick):
    if find_spec("openvino") is None:
        pytest.skip("needs openvino, which is not installed")
    outcome = quick(trained(), backend="openvino", precision="int8", calibrate=(records,))
    assert outcome.proof.other == "net.onnx in openvino"
    assert {one.backend for one in outcome.measured if one.variant != "the net as it is"} == {"openvino"}
    bf16 = quick(trained(), backend="", precision="bf16")
    assert (bf16.backend, bf16.proof.agrees) == ("openvino", True)


def test_what_differs_from_the_net_is_not_written(trained, quick, monkeypatch, tmp_path):
    net = trained()
    quick(net)
    kept = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setitem(MODULE.TOLERANCES, "fp32", -1.0)
    said = refused(quick, net)
    assert "does not give the net's answers" in said
    assert "was not written" in said
    assert "first divergence: n" in said
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == kept
    assert "was not written" in refused(quick, net, "new/net.onnx")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_that_is_wrong_only_as_it_runs_is_not_written(trained, quick, monkeypatch, tmp_path):
    whole = engines.OnnxRuntime.open

    def open_(self, path, options, blobs=()):
        session = whole(self, path, options, blobs)
        if not blobs:
            run = session.run
            session.run = lambda feeds: {name: y + 0.01 for name, y in run(feeds).items()}
        return session

    monkeypatch.setattr(engines.OnnxRuntime, "open", open_)
    said = refused(quick, trained())
    assert "was not written" in said
    assert "first divergence: p" in said
    assert not (tmp_path / "out/net.onnx").exists()


def test_an_older_file_is_replaced(trained, quick, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("net.onnx", "net.onnx.json", "net.onnx.report.txt"):
        (tmp_path / "out" / name).write_text("old")
    outcome = quick(trained())
    assert onnx.load(outcome.file).graph.node
    assert read_sidecar(outcome.file).engine == "onnxruntime"


def test_a_fixed_batch_is_in_the_file_and_in_what_is_measured(trained, records, quick, places):
    for precision in ("fp32", "int8"):
        outcome = quick(trained(), batch=3, precision=precision, calibrate=(records,))
        assert inputs(outcome.file) == {"x": [3, 3, 8, 8]}
        assert {one.times.batch for one in outcome.measured} == {3}
        assert not outcome.curve
        assert "batch 3, 1 thread" in outcome.text()
        assert open_model(outcome.file, [], "", Options("cpu"), places).batch == 3


def test_a_net_that_keeps_its_batch_keeps_it(small, trained, quick, tmp_path):
    text = small.replace("dim: 1 dim: 3", "dim: 4 dim: 3").replace('bottom: "b"', 'bottom: "f"')
    shape = 'layer { name: "f" type: "Reshape" bottom: "b" top: "f" reshape_param { shape { dim: 4 dim: 128 } } }\n'
    text = text.replace('layer { name: "i"', shape + 'layer { name: "i"')
    np.savez(tmp_path / "ten.npz", x=np.random.default_rng(0).standard_normal((10, 3, 8, 8), np.float32))
    for more in ({}, {"precision": "int8", "calibrate": (tmp_path / "ten.npz",)}, {"precision": "fp16"}):
        outcome = quick(trained(text), **more)
        assert inputs(outcome.file) == {"x": [4, 3, 8, 8]}
        assert {one.times.batch for one in outcome.measured} == {4}
        assert "batch 4, 1 thread" in outcome.text()
    said = refused(quick, trained(text), batch=3)
    assert "net.prototxt:8:" in said
    assert 'Reshape "f"' in said


def test_several_inputs_are_fed_each_in_its_size(trained, quick):
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 2 dim: 6 } } }
    layer { name: "j" type: "Concat" bottom: "x" bottom: "y" top: "j" concat_param { axis: AXIS } }
    layer { name: "i" type: "InnerProduct" bottom: "j" top: "i" inner_product_param { num_output: 5 } }
    """
    assert inputs(quick(trained(text.replace("AXIS", "1"))).file) == {"x": ["N", 4], "y": ["N", 6]}
    rows = text.replace("AXIS", "0").replace("dim: 2 dim: 6", "dim: 3 dim: 4")
    assert inputs(quick(trained(rows)).file) == {"x": [2, 4], "y": [3, 4]}


def test_words_are_drawn_from_those_that_there_are(trained, quick):
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "e" type: "Embed" bottom: "x" top: "e" embed_param { input_dim: 7 num_output: 3 } }
    layer { name: "i" type: "InnerProduct" bottom: "e" top: "i" inner_product_param { num_output: 5 } }
    """
    assert quick(trained(text)).proof.agrees


def test_a_net_with_data_layers_is_scored_against_its_labels(trained, quick):
    outcome = quick(trained(DIGITS.read_text()), precision="int8", records=100)
    assert outcome.scores is not None
    assert (outcome.scores.labelled, outcome.scores.records) == (True, 100)
    assert outcome.scores.drop <= 1
    assert sorted(one.layer for one in outcome.sensitivity) == ["conv1", "conv2", "ip1", "ip2"]
    assert max(one.error for one in outcome.sensitivity) < 0.1


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_was_done_before_the_net_may_move_into_its_first_layer(precision, trained, quick):
    net = trained(DIGITS.read_text())
    outcome = quick(net, precision=precision, records=100, fold_input=True, max_drop=100.0)
    assert "fold_input_scale" in outcome.text(report=True)
    assert outcome.proof.agrees
    assert outcome.scores is not None
    assert abs(outcome.scores.drop) <= (0 if precision == "fp32" else 5)
    for facts in (
        engines.engine("onnxruntime").open(outcome.file, Options("cpu")).facts,
        read_sidecar(outcome.file).facts,
    ):
        assert facts.preprocessing["data"].scale == 1


def test_overflow_of_fp16_is_loud_and_kept(trained, records, quick):
    def large(arrays) -> None:
        arrays["b.weight"] *= 1e5

    outcome = quick(trained(change=large), precision="fp16", calibrate=(records,))
    assert [*outcome.kept] == ["b", "i", "p"]
    loud = [note for note in outcome.notes if note.startswith("OVERFLOW ")]
    assert len(loud) == 3
    assert "net.prototxt:7:" in loud[0]
    assert '"b" stays in fp32: its blob "b" reaches' in loud[0]
    assert "note: OVERFLOW" in outcome.text()


def test_fp16_on_noise_alone_is_told(trained, quick):
    assert any("random inputs alone" in note for note in quick(trained(), precision="fp16").notes)


def test_layers_stay_by_their_names_also_those_that_were_folded(trained, records, quick):
    outcome = quick(trained(), precision="int8", calibrate=(records,), keep=("n",), max_drop=100.0)
    assert {one.layer for one in outcome.sensitivity} == {"b", "i"}
    assert [one.op_type for one in onnx.load(outcome.file).graph.node].count("Conv") == 2
    types = onnx.load(outcome.file).graph.initializer
    assert [one.name for one in types if one.data_type == onnx.TensorProto.INT8 and one.name.endswith(":steps")] == [
        "b.weight:steps",
        "i.weight:steps",
    ]


def test_int8_that_costs_too_much_keeps_layers(trained, records, quick):
    outcome = quick(trained(), precision="int8", calibrate=(records,), max_drop=-1.0)
    assert sorted(outcome.kept) == ["a", "b", "i"]
    assert [one for one in outcome.notes if one.startswith("3 of 3 layers stay in fp32 to lose at most -1 points")]
    assert "QuantizeLinear" not in {node.op_type for node in onnx.load(outcome.file).graph.node}


def test_a_calibration_table_is_enough_and_is_the_users_to_edit(trained, records, quick, tmp_path):
    table = tmp_path / "table.json"
    quick(trained(), precision="int8", calibrate=(records,), calibration="minmax", save_calibration=table)
    said = json.loads(table.read_text())
    assert (said["method"], said["records"]) == ("minmax", 40)
    said["blobs"]["n"] |= {"low": -1.0, "high": 254.0}
    table.write_text(json.dumps(said))
    outcome = quick(trained(), precision="int8", calibrate=(table,), max_drop=0.0)
    assert [note for note in outcome.notes if note.startswith("what int8 costs is not known")]
    assert outcome.scores is None
    numbers = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(outcome.file).graph.initializer}
    assert [array.item() for name, array in numbers.items() if name.startswith("n:quantize:constant")] == [1.0, 1]


def test_a_latency_that_cannot_be_had_is_told(trained, quick):
    (late,) = [note for note in quick(trained(), latency_ms=1e-9).notes if note.startswith("LATE")]
    assert "a forward of batch 1 takes" in late


def test_throughput_tries_streams(trained, quick):
    outcome = quick(trained(), goal="throughput", threads=2)
    assert [one.streams for one in outcome.streams] == [1, 2]
    assert sum(one.chosen for one in outcome.streams) == 1
    assert "with several streams" in outcome.text()


def test_what_cannot_be_done_is_refused_with_the_reason(trained, records, quick, places, tmp_path):
    net = trained()
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "run").mkdir()
    (tmp_path / "file").write_text("")
    table = {"format": "nktc calibration 1", "net": "other", "method": "minmax", "records": 1}
    entry = {"low": 0, "high": 1, "least": 0, "largest": 1}
    (tmp_path / "other.json").write_text(json.dumps(table | {"blobs": {"data": entry}}))
    cases = [
        ({"precision": "int8"}, "int8 needs data of the net's kind", "--calibrate PICTURES"),
        ({"backend": "torch"}, "the backend torch has no .onnx files", "onnxruntime"),
        ({"backend": "onnxrutime"}, 'unknown backend "onnxrutime"', 'did you mean "onnxruntime"?'),
        ({"output": "net.prototxt"}, "writes no file of the kind of", "the kinds are .engine, .onnx, .plan"),
        ({"output": "net.xml", "backend": "openvino"}, "writes no file of the kind of", ".onnx"),
        ({"output": "net.ort"}, "writes no file of the kind of", ".onnx"),
        ({"output": "net.engine"}, "the backend onnxruntime has no .engine files", "call the output *.onnx"),
        ({"output": "file/net.onnx"}, "file is not a folder", ""),
        ({"passes": ("fold_batchnorm",)}, 'there is no pass "fold_batchnorm"', "fold_batch_norm"),
        ({"keep": ("aa",), "precision": "fp16"}, '--keep names no layer that is left: "aa"', "nktc show"),
        ({"settings": {"layuot": "NHWC"}}, 'has no setting "layuot"', ""),
        ({"precision": "bf16"}, "onnxruntime cannot run in bf16", "these do: openvino, tensorrt"),
        ({"device": "gpu"}, 'unknown device "gpu"', ""),
        ({"save_calibration": tmp_path / "t.json"}, "--save-calibration is for --precision int8", "leave it out"),
        (
            {"precision": "int8", "calibrate": (tmp_path / "other.json",)},
            "other.json is the calibration table of another net, other",
            "calibrate with data of this net",
        ),
        ({"net": (tmp_path / "model.onnx", net[1])}, "model.onnx is an engine's file already", "give the net"),
        ({"net": (tmp_path / "run", net[1])}, "has its own weights", "leave --weights out"),
        ({"net": net[0]}, "net.prototxt is a net without weights", "--weights W"),
        ({"net": (tmp_path / "none.prototxt", net[1])}, "there is no model", "a run's folder"),
    ]
    for more, told, help in cases:
        said = refused(quick, more.pop("net", net), more.pop("output", "out/net.onnx"), **more)
        assert told in said.partition("\nhelp: ")[0]
        assert help in said.partition("\nhelp: ")[2]
        assert not (tmp_path / "out/net.onnx").exists()
    if find_spec("tensorrt") is None:
        said = refused(quick, net, "net.engine", backend="")
        assert "no engine that has .engine files can run here" in said


def test_a_net_that_takes_nothing_is_refused(trained, quick):
    text = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 2 } } }'
    text += 'layer { name: "r" type: "ReLU" bottom: "p" top: "r" }'
    assert "takes nothing" in refused(quick, trained(text))


def test_data_that_cannot_be_read_is_told_where_it_is_needed(small, trained, quick, tmp_path):
    text = small.replace(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }',
        'layer { name: "x" type: "HDF5Data" top: "x" hdf5_data_param { source: "list.txt" batch_size: 4 } }',
    )
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.random.default_rng(0).standard_normal((12, 3, 8, 8)).astype(np.float32)
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'data.h5'}\n")
    net = trained(text)
    outcome = quick(net, precision="int8")
    assert outcome.scores is not None
    assert (outcome.scores.labelled, outcome.scores.records, outcome.scores.before) == (False, 12, 100)
    damaged = (tmp_path / "data.h5").read_bytes()
    (tmp_path / "data.h5").write_bytes(damaged[:-4000])
    assert "data.h5" in refused(quick, net, precision="int8")


def test_trained_weights_of_lenet_lose_no_point_in_8_bits(shared, tmp_path):
    wanted = Wanted("onnxruntime", "cpu", "int8", threads=1, seconds=0.0, records=400)
    places = data.Places.from_environment([str(shared / "data")])
    weights = shared / "models/lenet_mnist/lenet_iter_10000.caffemodel"
    net = Path(__file__).parents[2] / "nets/lenet/train.prototxt"
    outcome = optimize(net, [str(weights)], tmp_path / "lenet.onnx", wanted, places)
    assert outcome.scores is not None
    assert outcome.scores.records == 400
    assert outcome.scores.before > 98
    assert abs(outcome.scores.drop) <= 1
    assert not outcome.kept
    assert dataclasses.asdict(outcome.scores)["labelled"]


def test_streams_that_were_chosen_are_those_that_infer_uses(trained, quick, monkeypatch, places):
    measured = MODULE.by_streams

    def two(*given):
        return [dataclasses.replace(one, chosen=one.streams == 2) for one in measured(*given)]

    monkeypatch.setattr(MODULE, "by_streams", two)
    outcome = quick(trained(), goal="throughput", threads=2)
    assert (outcome.side_by_side, outcome.threads) == (2, 1)
    assert outcome.text().endswith("1 thread, 2 streams")
    opened = open_model(outcome.file, [], "", Options("cpu"), places)
    assert len(opened.session.sessions) == 2
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8), np.float32)
    alone = open_model(outcome.file, [], "", Options("cpu", 1), places)
    np.testing.assert_allclose(opened.session.run({"x": x})["p"], alone.session.run({"x": x})["p"], rtol=1e-6)
