"""The tools run, and the README speaks of what is there."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from nktc import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_gpu_check_says_why_it_checked_nothing(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: run tools/gpu_check itself")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "tools/gpu_check"), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().out.startswith("no check was run: ")


@pytest.mark.parametrize("net", ["cifar10_quick", "lenet"])
def test_the_training_benchmark_compares_with_a_loop_by_hand(net, monkeypatch, capsys):
    options = ["--net", net, "--batch", "4", "--rounds", "1", "--steps", "1", "--no-data"]
    tool = ROOT / "tools/bench/train.py"
    monkeypatch.setattr(sys, "argv", [str(tool), *options])
    monkeypatch.syspath_prepend(tool.parent)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    runpy.run_path(str(tool), run_name="__main__")
    rows = ["by hand", "by hand, channels last", "nktc, exact", "nktc, channels last", "nktc, auto"]
    output = capsys.readouterr().out
    assert [row for row in rows if f"\n{row}  " in output] == rows


def test_the_readme_knows_every_command_and_every_room():
    for command in [*cli.COMMANDS, *cli.OLD_TOOLS]:
        assert f"`nktc {command}" in README
    rooms = {path.name for path in (ROOT / "nktc").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    for room in rooms - {"__init__.py", "__main__.py"}:
        assert re.search(rf"`(nktc/)?{room}/?`", README), room


def test_the_readme_names_files_that_exist():
    for name in re.findall(r"`((?:nets|solvers|tools|tests|docs|proto|nktc)/[\w./]+)`", README):
        assert (ROOT / name).exists() or list(ROOT.glob(name)), name
    for name in re.findall(r"\]\((\w[\w./]+)\)", README):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("name", sorted(path.parent.name for path in ROOT.glob("nets/*/train.prototxt")))
def test_every_net_has_a_solver_and_a_page_with_its_accuracy(name):
    assert (ROOT / "solvers" / f"{name}.prototxt").exists()
    page = (ROOT / "nets" / name / "README.md").read_text()
    assert f"nktc train --solver solvers/{name}.prototxt" in page
    assert re.search(r"\d\d\.\d+ %", page)
