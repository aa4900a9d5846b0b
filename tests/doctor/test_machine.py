from __future__ import annotations

import subprocess
import sys

import pytest

from nktc.doctor import Machine, Probe, Ran
from nktc.doctor.machine import told


def test_commands_are_run_once_and_what_is_absent_or_hangs_is_told():
    here = Machine()
    ran = here.run(sys.executable, "-c", "import sys; print(1); print(2, file=sys.stderr); sys.exit(3)")
    assert (ran.code, ran.output, ran.errors, ran.well, ran.said) == (3, "1\n", "2\n", False, "1\n\n2")
    assert here.run(sys.executable, "-c", "import sys; print(1); print(2, file=sys.stderr); sys.exit(3)") is ran
    assert here.run("no-such-command-anywhere").failure == "is not installed"
    hung = here._run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2, None)
    assert hung.failure == "gave no answer in 0.2 s"


@pytest.mark.parametrize(
    ("ran", "expected"),
    [
        (Ran(output='warning\n{"a": 1}\n', errors="w\n"), Probe({"a": 1}, errors="w")),
        (Ran(-11, errors="w"), Probe(failure="crashed (SIGSEGV)", errors="w")),
        (
            Ran(1, errors="Trace\nImportError: x.so\n"),
            Probe(failure="ImportError: x.so", errors="Trace\nImportError: x.so"),
        ),
        (Ran(3), Probe(failure="exit status 3")),
        (Ran(output="no JSON\n"), Probe(failure="ended before it had an answer")),
        (Ran(), Probe(failure="ended before it had an answer")),
        (Ran(failure="gave no answer in 240 s"), Probe(failure="gave no answer in 240 s")),
    ],
)
def test_a_probe_that_crashes_hangs_or_raises_says_so(ran, expected):
    assert told(ran) == expected


def test_a_probe_finds_what_this_process_would_find_and_nothing_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "cv2.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    found = Machine().probe("opencv")
    assert found.failure == ""
    assert found.found["right"] is True


def test_this_machine_knows_its_packages_and_engines():
    here = Machine.here()
    assert "torch" in here.packages
    assert any(text.startswith("torch") for text in here.requirements)
    assert {"torch", "onnxruntime"} <= {*here.engines}
    assert here.room("/nowhere/at/all") is not None
    assert here.read("/nowhere/at/all") == ""
    assert here.names("/nowhere/at/all") == []


def test_the_doctor_itself_loads_no_runtime_that_may_be_broken():
    code = (
        "import sys, nktc.doctor, nktc.cli.doctor\n"
        "assert not {'torch', 'numpy', 'onnxruntime', 'onnx', 'cv2', 'google.protobuf'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
