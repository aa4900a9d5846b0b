from __future__ import annotations

import json
import zipfile

import pytest
from click.testing import CliRunner

from nktc import doctor
from nktc.cli import nktc
from nktc.doctor import Check, Machine, Report, State


@pytest.fixture
def examined(monkeypatch):
    """What the command is told of a machine; the machine itself is this one."""

    def tell(*states: State) -> None:
        checks = tuple(Check(f"one{i}", state, "x", fix="mend it") for i, state in enumerate(states))
        monkeypatch.setattr(doctor, "examine", lambda machine, hear: Report("0.1.0", checks, ()))
        monkeypatch.setattr(Machine, "run", lambda self, *command: doctor.Ran(failure="is not installed"))

    return tell


def test_a_problem_exits_with_1_and_what_is_absent_with_0(examined):
    examined(State.OK, State.ABSENT, State.WARNING)
    done = CliRunner().invoke(nktc, ["doctor"])
    assert done.exit_code == 0
    assert done.stdout.endswith("no problems\nusable here: nothing\n")
    examined(State.OK, State.PROBLEM)
    done = CliRunner().invoke(nktc, ["doctor"])
    assert done.exit_code == 1
    assert "fix: mend it" in done.stdout


def test_json_stands_alone_on_the_output_also_beside_a_bundle(examined, tmp_path):
    examined(State.OK)
    done = CliRunner().invoke(nktc, ["doctor", "--json", "--bundle", str(tmp_path / "a.zip")])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["ok"] is True
    assert f"{tmp_path}/a.zip holds doctor.json" in done.stderr
    assert "doctor.json" in zipfile.ZipFile(tmp_path / "a.zip").namelist()


def test_a_run_goes_with_a_bundle(tmp_path):
    done = CliRunner().invoke(nktc, ["doctor", "--run", str(tmp_path)])
    assert done.exit_code == 2
    assert "--run goes with --bundle" in done.stderr
