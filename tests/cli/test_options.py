"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nktc.cli import nktc

NET = """layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 8 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path / "net.prototxt"


def run(*line: object) -> Result:
    return CliRunner().invoke(nktc, [str(word) for word in line], prog_name="nktc")


@pytest.mark.parametrize("command", ["check", "show"])
@pytest.mark.parametrize("shape", ["3x4x5", "data=3x4x5", "data=8x3x4x5"])
def test_a_shape_stands_in_for_data_that_is_not_there(net: Path, command: str, shape: str) -> None:
    assert run(command, net).exit_code == 1
    done = run(command, net, "--input-shape", shape, "--input-shape", "label=8x2")
    assert done.exit_code == 0, done.output
    assert command == "check" or "f32[8 3 4 5], f32[8 2] = Data(" in done.stdout


@pytest.mark.parametrize("text", ["data", "data=", "3x", "x3", "0x4x4", "data=3x-1x4", "3X4", "", "3x99999999999"])
def test_what_is_no_shape_is_a_wrong_command_line(net: Path, text: str) -> None:
    done = run("check", net, "--input-shape", text)
    assert done.exit_code == 2
    assert f'"{text}" is no shape' in done.stderr
