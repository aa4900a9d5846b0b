"""nktc plot."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nktc.cli import nktc
from nktc.errors import NktcError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "train.log"
    path.write_text("".join(f"] Iteration {n}, loss = {3 - n}\n] Iteration {n}, lr = 0.1\n" for n in range(3)))
    return path


def test_it_says_where_the_picture_is(log: Path, tmp_path: Path) -> None:
    picture = tmp_path / "loss.svg"
    done = CliRunner().invoke(nktc, ["plot", str(log), "-o", str(picture), "--metric", "loss", "--smooth", "1"])
    assert (done.exit_code, done.output) == (0, f"{picture}\n")
    assert picture.read_text().count('id="axes_') == 1


def test_an_axis_that_the_run_does_not_have_is_refused_and_nothing_written(log: Path, tmp_path: Path) -> None:
    picture = tmp_path / "loss.png"
    done = CliRunner().invoke(nktc, ["plot", str(log), "-o", str(picture), "--x", "epochs"])
    assert isinstance(done.exception, NktcError)
    assert str(done.exception).startswith(f"error: {log} does not say how many iterations an epoch has\nhelp: ")
    assert not picture.exists()
