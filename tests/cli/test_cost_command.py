"""nktc cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nktc import ir
from nktc.cli import nktc
from nktc.errors import NktcError

NET = """name: "small"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }
layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 5 } }
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def test_each_phase_has_a_table(net: Path) -> None:
    done = CliRunner().invoke(nktc, ["cost", str(net), "--batch", "7"])
    assert done.exit_code == 0
    assert [line for line in done.output.splitlines() if line.startswith("net ")] == [
        "net small TRAIN, batch 7",
        "net small TEST, batch 7",
    ]
    assert done.output.count("MACs an item  30") == 2


def test_json_has_all_figures(net: Path) -> None:
    done = CliRunner().invoke(nktc, ["cost", str(net), "--phase", "test", "--memory", "1kB", "--json"])
    (found,) = json.loads(done.output)
    # 35 weights, then 11 numbers an item: 4 (35 + 11 n) <= 1000
    assert found["fit"] == {"memory": 1000, "fp32": 19, "fp16": 42}
    assert found["inference_bytes"] == {"fp32": 4 * (35 + 22), "fp16": 2 * (35 + 22)}
    assert ir.memory_size("1kB") == 1000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--memory", "lots"], '"lots" is no amount of memory'),
        (["--batch", "2000000000"], 'InnerProduct "y": its input is 2000000000x6, more than 2147483647 numbers'),
    ],
)
def test_what_cannot_be_counted_is_said(net: Path, given: list[str], message: str) -> None:
    done = CliRunner().invoke(nktc, ["cost", str(net), *given])
    assert isinstance(done.exception, NktcError)
    assert done.exception.message == message
