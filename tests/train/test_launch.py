"""Whole runs by the command: in processes of their own where that matters."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import running
import torch

from nktc import runs, weights
from nktc.data.databases.datum import pack
from nktc.data.databases.lmdb import write_database

ROOT = Path(__file__).parents[2]

# The expressions of Caffe's tools/extra/parse_log.py, by what they look for.
ITERATION = re.compile(r"Iteration (\d+)")
TRAIN = re.compile(r"Train net output #(\d+): (\S+) = ([\.\deE+-]+)")
TEST = re.compile(r"Test net output #(\d+): (\S+) = ([\.\deE+-]+)")
RATE = re.compile(r"lr = ([-+]?[0-9]*\.?[0-9]+([eE]?[-+]?[0-9]+)?)")
PREFIX = re.compile(r"I(\d{2})(\d{2}) (\d{2}):(\d{2}):(\d{2})\.(\d{6}) +\d+ \w+\.cpp:\d+\] ")


nktc = partial(running.nktc, folder=ROOT)


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """As a user starts it."""
    command = [sys.executable, "-m", "nktc", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A finished run of digits_quick, and its log."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    done = process("train", "--solver", "solvers/digits_quick.prototxt", "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    return runs.open_run(folder), done


def test_digits_quick_reaches_97_percent(digits):
    run, _ = digits
    tested = [event for event in run.events() if event["event"] == "tested"]
    assert tested[-1]["iteration"] == 800
    assert tested[-1]["scores"]["accuracy"] >= 0.97


def test_the_log_is_caffes(digits):
    run, done = digits
    lines = done.stderr.splitlines()
    assert run.log.read_text().splitlines() == lines
    assert all(PREFIX.match(line) for line in lines)
    said = [PREFIX.sub("", line) for line in lines]
    assert "Solving digits_quick" in said
    assert "Iteration 0, Testing net (#0)" in said
    assert said[-1] == "Optimization Done."
    assert any(
        re.fullmatch(r"Iteration 100 \([\d.e+-]+ iter/s, [\d.e-]+s/50 iters\), loss = [\d.e-]+", line) for line in said
    )
    assert any(re.fullmatch(r"    Train net output #0: loss = ([\d.e-]+) \(\* 1 = \1 loss\)", line) for line in said)
    assert any(re.fullmatch(r"    Test net output #0: accuracy = [\d.]+", line) for line in said)
    assert any(re.fullmatch(r"    Test net output #1: loss = ([\d.e-]+) \(\* 1 = \1 loss\)", line) for line in said)
    assert "Iteration 50, lr = 0.02" in said
    assert f"Snapshotting to binary proto file {run.snapshots}/digits_quick_iter_800.caffemodel" in said
    assert [ITERATION.search(line).group(1) for line in said if RATE.search(line)] == [
        str(i) for i in range(0, 800, 50)
    ]
    assert sum(bool(TRAIN.search(line)) for line in said) == 16
    assert sum(bool(TEST.search(line)) for line in said) == 18


def test_a_runs_folder_tells_how_it_was_made(digits):
    run, _ = digits
    facts = json.loads(run.environment.read_text())
    assert facts["seed"] == 1
    assert facts["device"] == "cpu"
    assert facts["stand_in"] == []
    assert run.labels.read_text().split() == list("0123456789")
    assert "max_iter: 800" in run.solver.read_text()
    assert list(weights.read(run.weights())) == ["conv1", "conv2", "ip1", "ip2"]


def test_nktc_test_gives_the_score_of_the_log(digits):
    run, done = digits
    scored = nktc("test", "--model", "nets/digits_quick/train.prototxt", "--weights", run.weights())
    logged = [line.split(" = ")[1] for line in done.stderr.splitlines() if "output #0: accuracy" in line][-1]
    assert f"\naccuracy = {logged}\n" in scored.stdout
    assert scored.stdout.count("Batch ") == 12


def test_a_run_is_not_overwritten(digits):
    run, _ = digits
    again = nktc("train", "--solver", "solvers/digits_quick.prototxt", "--run-dir", run.folder)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: {run.folder} holds a run already\n")


def test_a_resumed_run_goes_on_where_it_was(tmp_path):
    base = ("train", "--solver", "solvers/mlp.prototxt", "--set", "max_iter=200")
    nktc(*base, "--run-dir", tmp_path / "whole")
    nktc(*base, "--run-dir", tmp_path / "half", "--max-iter", 100)
    state = tmp_path / "half/snapshots/mlp_iter_100.solverstate"
    done = nktc(*base, "--run-dir", tmp_path / "rest", "--snapshot", state)
    assert "iteration 100" in done.stderr
    whole, rest = (weights.read(runs.open_run(tmp_path / name).weights()) for name in ("whole", "rest"))
    for layer in whole:  # no chance in this net: the two must be the same to the bit
        assert all((a == b).all() for a, b in zip(whole[layer], rest[layer], strict=True))


def test_a_snapshot_beyond_the_end_is_refused(digits, tmp_path):
    run, _ = digits
    state = next(run.snapshots.glob("*.solverstate"))
    options = ("--snapshot", state, "--max-iter", 100, "--run-dir", tmp_path / "r")
    done = nktc("train", "--solver", "solvers/digits_quick.prototxt", *options)
    assert done.returncode == 1
    assert "was made after 800 iterations, max_iter is 100" in done.stderr


def test_finetuning_takes_weights_by_name(digits, tmp_path):
    run, _ = digits
    options = ("--weights", run.weights(), "--max-iter", 1, "--run-dir", tmp_path / "r")
    done = nktc("train", "--solver", "solvers/digits_quick.prototxt", *options)
    first = next(line for line in done.stderr.splitlines() if "output #0: accuracy" in line)
    assert float(first.split(" = ")[1]) >= 0.97


def test_a_refused_start_leaves_no_run_behind(tmp_path):
    (tmp_path / "junk.caffemodel").write_bytes(b"\x0f\xffjunk")
    base = ("train", "--solver", "solvers/mlp.prototxt", "--run-dir", tmp_path / "r")
    for more in (("--weights", tmp_path / "junk.caffemodel"), ("--snapshot", tmp_path / "junk.caffemodel")):
        done = nktc(*base, *more)
        assert done.returncode == 1
        assert "is not a whole" in done.stderr
        assert not (tmp_path / "r").exists()
    done = nktc(*base, "--log", "tensorbord")
    assert (done.returncode, "unknown logger" in done.stderr, (tmp_path / "r").exists()) == (1, True, False)


def test_bf16_warns_where_the_cpu_has_no_instructions_for_it(tmp_path):
    more = ("--max-iter", 1, "--set", "precision=BF16", "--device", "cpu")
    done = nktc("train", "--solver", "solvers/mlp.prototxt", "--run-dir", tmp_path / "r", *more)
    assert done.returncode == 0, done.stderr
    slow = not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert ("no instructions for BF16" in done.stderr) is slow


def start(folder: Path, *more: object) -> subprocess.Popen:
    command = ["train", "--solver", "solvers/mlp.prototxt", "--run-dir", folder, "--max-iter", 10**6, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "nktc", *map(str, command)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(folder: Path, event: str, count: int = 1) -> None:
    deadline = time.monotonic() + 60
    run = runs.Run(folder)
    while sum(e["event"] == event for e in run.events()) < count:
        assert time.monotonic() < deadline, f"no {event}"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_stops(number, tmp_path):
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", "stepped", 2)
    process.send_signal(number)
    output, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Optimization stopped early." in log
    assert output.startswith("Stopped after ")
    run = runs.open_run(tmp_path / "run")
    ended = [event for event in run.events() if event["event"] == "ended"]
    state = weights.read_state(next(run.snapshots.glob("*.solverstate")))
    assert state.iteration == ended[0]["iteration"] > 0


def test_a_kill_leaves_only_whole_snapshots(tmp_path):
    process = start(tmp_path / "run", "--set", "snapshot=3")
    wait_for(tmp_path / "run", "saved", 5)
    process.kill()
    process.communicate()
    run = runs.open_run(tmp_path / "run")
    states = [weights.read_state(path) for path in run.snapshots.glob("*.solverstate")]
    assert len(states) >= 5
    assert all(list(weights.read(state.learned_net)) == ["hidden", "score"] for state in states)
    newest = max(states, key=lambda state: state.iteration)
    path = run.snapshots / f"mlp_iter_{newest.iteration}.solverstate"
    again = nktc(
        "train", "--solver", "solvers/mlp.prototxt", "--snapshot", path, "--run-dir", run.folder,
        "--max-iter", newest.iteration + 1,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr


def test_gpu_mode_without_a_gpu_says_why_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = ("--set", "solver_mode=GPU", "--max-iter", 2, "--run-dir", tmp_path / "r")
    done = nktc("train", "--solver", "solvers/mlp.prototxt", *options)
    assert done.returncode == 0
    assert done.stderr.startswith("solver_mode is GPU, but ")
    assert "training on the CPU" in done.stderr.splitlines()[0]


def test_a_gpu_asked_for_by_name_is_had_or_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = nktc("train", "--solver", "solvers/mlp.prototxt", "--device", "cuda", "--run-dir", tmp_path / "r")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --device cuda cannot be had: ")
    assert not (tmp_path / "r").exists()


@pytest.fixture
def _offline(monkeypatch):
    """A machine without a network and without data."""

    def refused(*_, **__):
        raise URLError(ConnectionRefusedError())

    monkeypatch.setattr("nktc.data.sets.download.urllib.request.urlopen", refused)
    monkeypatch.setattr("nktc.data.sets.download.time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("_offline")
def test_missing_data_without_a_stand_in_lists_the_ways_to_provide_it(tmp_path):
    done = nktc("train", "--solver", "solvers/lenet.prototxt", "--device", "cpu", "--run-dir", tmp_path / "r")
    assert done.returncode == 1
    assert "nets/lenet/train.prototxt:" in done.stderr
    for way in ("NKTC_DATA", "--data"):
        assert way in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("_offline")
def test_stand_in_data_is_loud_at_both_ends_and_in_the_folder(tmp_path):
    options = ("--max-iter", 1, "--run-dir", tmp_path / "r", "--set", "test_iter=1")
    done = nktc("train", "--solver", "solvers/cifar10_quick.prototxt", "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr
    loud = [i for i, line in enumerate(done.stderr.splitlines()) if line.startswith("STAND-IN DATA: ")]
    assert loud[0] < 2
    assert loud[-1] == len(done.stderr.splitlines()) - 1
    assert "shapes10" in json.loads((tmp_path / "r/environment.json").read_text())["stand_in"][0]
    assert "airplane" not in (tmp_path / "r/labels.txt").read_text()
    # The mean of the real data cannot be told from the stand-in's; a run knows its own.
    weights_file = runs.open_run(tmp_path / "r").weights()
    model = ("--model", "nets/cifar10_quick/train.prototxt", "--weights", weights_file)
    refused = nktc("export", "--onnx", tmp_path / "x.onnx", *model)
    assert refused.returncode == 1
    assert "its mean picture is not known" in refused.stderr
    assert nktc("export", "--onnx", tmp_path / "x.onnx", "--run", tmp_path / "r").returncode == 0


@pytest.mark.parametrize("ranks", [(), ("--ranks", 2)])
def test_skipped_records_are_told_and_kept_in_the_journal(tmp_path, ranks):
    values = [pack(np.full((1, 4, 4), i, np.uint8), i % 2) for i in range(12)]
    values[5] = b"\xff\xff"
    write_database(tmp_path / "db", ((f"{i:08d}".encode(), value) for i, value in enumerate(values)))
    (tmp_path / "net.prototxt").write_text(
        """layer { name: "data" type: "Data" top: "data" top: "label"
             data_param { source: "db" backend: LMDB batch_size: 4 on_bad_record: SKIP } }
           layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
           layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }"""
    )
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 6 display: 1 random_seed: 1'
    )
    run = process if ranks else nktc
    done = run("train", "--solver", tmp_path / "solver.prototxt", "--run-dir", tmp_path / "run", *ranks)
    assert done.returncode == 0, done.stderr
    named = f'{tmp_path}/db: record 5, key "00000005": its 2 bytes are no Datum'
    assert 1 <= done.stderr.count(f"warning: skipped: {named}") <= (2 if ranks else 1)  # by each rank that met it
    assert done.stderr.count("TRAIN layer data: 1 record was skipped, others took their places") == 1
    (event,) = [event for event in runs.open_run(tmp_path / "run").events() if event["event"] == "skipped"]
    assert event["layer"] == "data"
    assert event["records"] == [named]
    weights = next((tmp_path / "run" / "snapshots").glob("*.caffemodel"))
    tested = nktc("test", "--model", tmp_path / "net.prototxt", "--weights", weights)
    assert "layer data: 1 record was skipped, others took their places" in tested.stdout
