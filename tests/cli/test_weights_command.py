"""nktc weights: what it lists, and how it ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from nktc import weights
from nktc.cli import nktc
from nktc.errors import NktcError
from nktc.schema import NetParameter

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 2 } }
layer { name: "d" type: "DummyData" top: "t" include { phase: TRAIN } dummy_data_param { shape { dim: 1 dim: 3 } } }
layer { name: "b" type: "InnerProduct" bottom: "t" top: "b" include { phase: TRAIN }
        inner_product_param { num_output: 2 bias_term: false } }
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    for path, outputs in (("w", 2), ("other", 5)):
        net = NetParameter()
        blobs = [weights.blob(np.ones(shape, np.float32)) for shape in ((outputs, 3), (outputs,))]
        net.layer.add(name="a", type="InnerProduct").blobs.extend(blobs)
        Path(path).write_bytes(net.SerializeToString())


def run(*line: str) -> Result:
    return CliRunner().invoke(nktc, ["weights", *line], prog_name="nktc")


def test_a_file_is_listed(golden) -> None:
    done = run("w")
    assert done.exit_code == 0
    golden(
        done.stdout,
        """
        w: protobuf, Caffe's syntax
        1 layer, 8 numbers, 71 bytes

          layer  type          blobs      numbers
          a      InnerProduct  [2 3] [2]  f32
        """,
    )


def test_with_a_net_it_says_what_that_takes(golden) -> None:
    done = run("w", "--model", "net.prototxt", "--phase", "train")
    assert done.exit_code == 0
    golden(
        done.stdout,
        """
        layer  weight  in the net  in the file  outcome
          a      weight  [2 3]       [2 3]        taken
          a      bias    [2]         [2]          taken
          b      weight  [2 3]                    missing

        layers: 1 taken, 1 missing, 0 ignored
        """,
    )


def test_what_does_not_agree_is_listed_and_then_refused() -> None:
    done = run("other", "--model", "net.prototxt")
    assert "weight  [2 3]       [5 3]        another shape" in done.stdout
    assert isinstance(done.exception, NktcError)
    assert done.exception.message == 'weight 0 of layer "a" is 2x3, in other it is 5x3'
    assert done.exception.at
