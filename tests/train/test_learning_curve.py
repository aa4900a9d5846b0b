"""The same solver on more and more of the data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from nktc import reader, runs, train
from nktc.data import Places
from nktc.errors import NktcError
from nktc.train.limiting import limited

NET = """
layer {{ name: "data" type: "Dataset" top: "data" top: "label" {0}
  dataset_param {{ name: "digits" batch_size: 50 }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param {{ num_output: 10 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include {{ phase: TEST }} }}
"""
SOLVER = """
net: "net.prototxt" test_iter: 7 test_interval: 40 base_lr: 0.0001 lr_policy: "fixed" max_iter: 40 random_seed: 1
speed: "exact"
"""


@pytest.fixture
def solver(tmp_path: Path) -> Path:
    (tmp_path / "net.prototxt").write_text(NET.format(""))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path / "solver.prototxt"


def made(solver: Path, folder: Path, *sizes: int | None) -> tuple[train.Size, ...]:
    options = train.Options(places=Places((), folder / "cache", download=False), device="cpu")
    return train.learning_curve(solver, sizes, folder / "curve", options, Console(quiet=True))


def test_each_size_is_a_run_on_so_many_records(solver: Path, tmp_path: Path) -> None:
    found = made(solver, tmp_path, None, 60)
    assert [(size.records, size.folder.name) for size in found] == [(60, "60"), (1437, "all")]
    assert found[0].scores["accuracy"] < found[1].scores["accuracy"]
    told = json.loads((tmp_path / "curve" / "learning_curve.json").read_text())["sizes"]
    assert [facts["records"] for facts in told] == [60, 1437]
    assert told[1]["accuracy"] == found[1].scores["accuracy"]
    for size in found:
        events = list(runs.Run(size.folder).events())
        assert next(e["records"] for e in events if e["event"] == "started") == size.records


def test_runs_that_have_ended_are_not_made_again(solver: Path, tmp_path: Path) -> None:
    first = made(solver, tmp_path, 60)
    journal = (tmp_path / "curve" / "60" / "journal.jsonl").read_text()
    assert made(solver, tmp_path, 60, 100)[0] == first[0]
    assert (tmp_path / "curve" / "60" / "journal.jsonl").read_text() == journal


def test_the_test_data_stays_whole_and_the_net_that_ran_is_kept(solver: Path, tmp_path: Path) -> None:
    made(solver, tmp_path, 60)
    kept = reader.read_net(runs.Run(tmp_path / "curve" / "60").net(None)).message
    data = [layer for layer in kept.layer if layer.type == "Dataset"]
    assert [(layer.split_param.records, layer.include[0].phase) for layer in data] == [(60, 0), (0, 1)]


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(solver: Path, tmp_path: Path) -> None:
    whole = made(solver, tmp_path / "whole", 60)
    solver.write_text(SOLVER + "snapshot: 10")
    expected = made(solver, tmp_path / "saved", 60)
    assert expected[0].scores == whole[0].scores
    run = tmp_path / "stopped" / "curve" / "60"
    shutil.copytree(tmp_path / "saved" / "curve", run.parent)
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    kept = [event for event in events if event["event"] not in ("ended", "tested") or event["iteration"] < 20]
    (run / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in kept))
    for late in ("30", "40"):
        for file in (run / "snapshots").glob(f"*_{late}.*"):
            file.unlink()
    found = made(solver, tmp_path / "stopped", 60)
    assert found[0].scores == expected[0].scores
    assert [event["iteration"] for event in runs.Run(run).events() if event["event"] == "started"] == [0, 20]


def test_a_run_that_was_stopped_before_it_had_saved_begins_anew(solver: Path, tmp_path: Path) -> None:
    expected = made(solver, tmp_path, 60)
    run = tmp_path / "curve" / "60"
    shutil.rmtree(run / "snapshots")
    (run / "journal.jsonl").write_text('{"event": "started", "iteration": 0, "records": 60}\n')
    assert made(solver, tmp_path, 60)[0].scores == expected[0].scores


def test_a_run_that_stopped_early_by_its_own_rule_has_ended(solver: Path, tmp_path: Path) -> None:
    solver.write_text(SOLVER.replace("test_interval: 40", "test_interval: 5") + "early_stop_tests: 1 base_lr: 0")
    solver.write_text(solver.read_text().replace("base_lr: 0.0001", "", 1))
    first = made(solver, tmp_path, 60)
    journal = (tmp_path / "curve" / "60" / "journal.jsonl").read_text()
    assert '"iteration": 5, "stopped": true' in journal
    assert made(solver, tmp_path, 60) == first


def test_runs_of_other_settings_are_refused(solver: Path, tmp_path: Path) -> None:
    made(solver, tmp_path, 60)
    solver.write_text(SOLVER.replace("0.0001", "0.001"))
    with pytest.raises(NktcError, match="60 was made by other settings"):
        made(solver, tmp_path, 60)


def test_scores_that_would_be_of_untrained_nets_are_refused(solver: Path, tmp_path: Path) -> None:
    solver.write_text(SOLVER.replace("test_interval: 40", "test_interval: 41"))
    with pytest.raises(NktcError, match="test_interval 41 is more than max_iter 40"):
        made(solver, tmp_path, 60)


def test_a_metric_is_looked_for_before_anything_is_trained(solver: Path, tmp_path: Path) -> None:
    options = train.Options(places=Places((), tmp_path, download=False), device="cpu")
    with pytest.raises(NktcError, match='the test net has no "acuracy"') as refused:
        train.learning_curve(solver, [60], tmp_path / "c", options, Console(quiet=True), ["acuracy"])
    assert "accuracy" in str(refused.value)
    assert not (tmp_path / "c").exists()


def test_limiting_keeps_a_text_for_each_layer() -> None:
    net = reader.parse_net(NET.format(""))
    assert limited(net, 60).message.layer[0].split_param.records == 60
    assert len(limited(net, 60).trees) == len(limited(net, 60).message.layer) == len(net.message.layer) + 1


def test_data_whose_phase_is_not_plain_is_refused() -> None:
    with pytest.raises(NktcError, match='which records of layer "data" are for training is not told'):
        limited(reader.parse_net(NET.format('exclude { stage: "x" }')), 10)
    with pytest.raises(NktcError, match="has no data that can be limited"):
        limited(reader.parse_net('layer { name: "x" type: "Input" top: "x" }'), 10)


def test_a_solver_that_tests_nothing_is_refused(solver: Path, tmp_path: Path) -> None:
    solver.write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 4')
    with pytest.raises(NktcError, match="tests nothing, so there is nothing to draw"):
        made(solver, tmp_path, 60)
