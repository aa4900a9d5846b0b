"""A regression on a table, from the file to the score of the part that was held out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nktc.cli import nktc

LAYER = """layer {{ name: "table" type: "TableData" top: "data" top: "y" include {{ {rule} }}
  table_data_param {{ source: "t.csv" batch_size: {batch} shuffle: true target: "y" standardize: true
    standardize_target: true missing: MEAN }}
  split_param {{ part: {part} validation: 0.1 test: 0.2 }} }}
"""
NET = """
layer { name: "hidden" type: "InnerProduct" bottom: "data" top: "hidden"
  inner_product_param { num_output: 16 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "hidden" top: "hidden" }
layer { name: "p" type: "InnerProduct" bottom: "hidden" top: "p"
  inner_product_param { num_output: 1 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "p" bottom: "y" top: "loss" }
layer { name: "r2" type: "R2Score" bottom: "p" bottom: "y" top: "r2" include { phase: TEST } }
"""
SOLVER = """net: "net.prototxt" test_iter: 1 test_interval: 20 metric: "r2" early_stop_tests: 5 snapshot_best: true
type: "Adam" base_lr: 0.02 lr_policy: "fixed" max_iter: 200 display: 0 random_seed: 1 solver_mode: CPU speed: "exact"
"""
PARTS = (
    ("phase: TRAIN", 40, "TRAIN"),
    ('phase: TEST not_stage: "final"', 50, "VALIDATION"),
    ('phase: TEST stage: "final"', 100, "TEST"),
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(1)
    x = random.normal(100, 30, (500, 2))
    kind = random.integers(0, 3, 500)
    y = 4 * x[:, 0] - x[:, 1] + np.array([0, 200, -100])[kind]
    lines = [f"{a:.3f},{b:.3f},{'abc'[k]},{t:.3f}" for (a, b), k, t in zip(x, kind, y, strict=True)]
    lines[7] = lines[7][lines[7].index(",") :]  # a value that is not there
    (tmp_path / "t.csv").write_text("\n".join(["a,b,kind,y", *lines]))
    layers = "".join(LAYER.format(rule=rule, batch=batch, part=part) for rule, batch, part in PARTS)
    (tmp_path / "net.prototxt").write_text(layers + NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(nktc, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_table_is_trained_steered_and_measured_on_its_three_parts(files: Path) -> None:
    run("train", "--solver", "solver.prototxt", "--run-dir", "run")
    (journal,) = (files / "run").glob("*.jsonl")
    tests = [event for line in journal.read_text().splitlines() if (event := json.loads(line))["event"] == "tested"]
    best = max(event["scores"]["r2"] for event in tests)
    weights = "run/snapshots/solver_best.caffemodel"
    found = {
        stage: float(run("test", "--model", "net.prototxt", "--weights", weights, *stage).split("r2 = ")[-1])
        for stage in ((), ("--stage", "final"))
    }
    assert found[()] == pytest.approx(best, abs=1e-5), "the best snapshot is that of the best test"
    assert found["--stage", "final"] != found[()]
    assert min(found.values()) > 0.97
