"""Several ranks, started as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from nktc import runs, weights
from nktc.errors import NktcError
from nktc.train import Effects, own_device

ROOT = Path(__file__).parents[2]
TRAIN = ("train", "--solver", "solvers/mlp.prototxt", "--set", "snapshot=50")
linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the ranks")


def start(*arguments: object, program: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, *(program or ("-m", "nktc")), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def ranks_of(process: subprocess.Popen[str]) -> dict[int, int]:
    """The processes of the ranks, by rank."""
    found = {}
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_text().split("\0")
        found |= {int(v.removeprefix("RANK=")): int(child) for v in variables if v.startswith("RANK=")}
    return found


def wait_for(folder: Path, event: str, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while sum(e["event"] == event for e in runs.Run(folder).events()) < count:
        assert time.monotonic() < deadline, f"no {event}"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def final(folder: Path) -> dict[str, Any]:
    return weights.read(runs.open_run(folder).weights())


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all((a == b).all() for name in one for a, b in zip(one[name], other[name], strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run of two ranks, 300 iterations: its folder, output and log."""
    folder = tmp_path_factory.mktemp("ranks") / "whole"
    process = start(*TRAIN, "--run-dir", folder, "--max-iter", 300, "--ranks", 2)
    output, log = process.communicate()
    assert process.returncode == 0, log
    return folder, output, log


def test_two_ranks_leave_one_run_with_one_log(whole) -> None:
    folder, output, log = whole
    run = runs.open_run(folder)
    assert output == f"Done after 300 iterations: {folder}\n"
    assert run.log.read_text().splitlines() == log.splitlines()
    events = [event["event"] for event in run.events()]
    assert (events.count("started"), events.count("ended"), events.count("saved")) == (1, 1, 6)
    assert [e["batch"] for e in run.events() if e["event"] == "started"] == [120]


@linux
def test_killed_ranks_start_again_or_end_the_job_and_torchrun_goes_on_to_the_same_end(whole, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    process = start(*TRAIN, "--run-dir", folder, "--max-iter", 300, "--ranks", 2, "--restarts", 1)
    wait_for(folder, "saved", 1, process)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    wait_for(folder, "started", 2, process)
    wait_for(folder, "saved", 3, process)
    os.kill(ranks_of(process)[0], signal.SIGKILL)
    _, log = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in log
    assert "rank 1 was killed by SIGKILL: starting again, 1 of 1\n" in log
    assert "\nerror: rank 0 was killed by SIGKILL\n" in log
    advice = f"--run-dir {folder} --snapshot latest"
    assert f"help: go on with {advice}" in log
    program = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "nktc")
    rest = start(*TRAIN, *advice.split(), "--max-iter", 300, "--device", "cpu", program=program)
    output, log = rest.communicate()
    assert rest.returncode == 0, log
    assert output == f"Done after 300 iterations: {folder}\n"
    assert sum("Optimization Done." in line for line in log.splitlines()) == 1
    begun = [event["iteration"] for event in runs.Run(folder).events() if event["event"] == "started"]
    assert begun[0] == 0
    assert 0 < begun[1] < begun[2]
    assert same(final(folder), final(whole[0]))


def test_signals_have_their_effects_on_all_ranks(tmp_path: Path) -> None:
    process = start(*TRAIN, "--run-dir", tmp_path / "r", "--max-iter", 10**6, "--ranks", 2, "--set", "snapshot=0")
    wait_for(tmp_path / "r", "stepped", 1, process)
    process.send_signal(signal.SIGHUP)
    wait_for(tmp_path / "r", "saved", 1, process)
    process.send_signal(signal.SIGTERM)
    output, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert output.startswith("Stopped after ")
    assert "Optimization stopped early." in log
    saved = [event["iteration"] for event in runs.Run(tmp_path / "r").events() if event["event"] == "saved"]
    assert len(saved) == 2
    assert f"Stopped after {saved[1]} iterations" in output


def test_a_mistake_is_told_once_and_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "junk.solverstate").write_bytes(b"junk")
    junk = ("--snapshot", tmp_path / "junk.solverstate", "--run-dir", tmp_path / "r")
    process = start(*TRAIN, *junk, "--ranks", 2, "--restarts", 3)
    output, log = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert log.count("error: ") == 1
    assert "again" not in log
    assert not (tmp_path / "r").exists()


def device_of(gpu: str | None = None, count: int | None = None, device: str = "auto", restarts: int = 0) -> str:
    return own_device(gpu, count, device, restarts, Effects(), Console())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"gpu": "0", "count": 2}, "--gpu, --ranks and --device exclude each other"),
        ({"gpu": "0", "device": "cpu"}, "--gpu, --ranks and --device exclude each other"),
        ({"gpu": "one"}, '--gpu "one" names no GPUs'),
        ({"gpu": "0,"}, '--gpu "0," names no GPUs'),
        ({"gpu": "1,1"}, "--gpu 1,1 names GPU 1 twice"),
        ({"gpu": "1,2"}, "--gpu 1,2: there is no GPU 2, only 2"),
        ({"restarts": 1}, "--restarts is for several ranks"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(NktcError) as refused:
        device_of(**given)
    assert refused.value.message == problem


def test_all_gpus_of_a_machine_without_any_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(NktcError, match="--gpu all: PyTorch finds no usable NVIDIA GPU"):
        device_of("all")


def test_one_device_is_this_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of() == "auto"
    assert device_of(device="cuda:1") == "cuda:1"
    assert device_of(gpu="1") == "cuda:1"
    assert device_of(count=1) == "cpu"


def test_a_rank_takes_the_device_of_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert device_of(gpu="3,2") == "cuda:2"
    assert device_of(gpu="all") == "cuda:1"
    assert device_of(gpu="3") == "cuda:3"
    assert device_of(count=2) == "cpu"
    assert device_of() == "auto"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(NktcError, match="rank 2 of this machine has no device: there are cuda:3, cuda:2"):
        device_of(gpu="3,2")
