"""nktc upgrade: what it writes where, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nktc.cli import nktc
from nktc.errors import NktcError
from nktc.schema import NetParameter, PoolingParameter

OLD = '# rectified\nlayers { name: "r" type: RELU bottom: "x" top: "x" }  # in place\n'
TODAY = '# rectified\nlayer { name: "r" type: "ReLU" bottom: "x" top: "x" }  # in place\n'
SPELLED = "layer{name:'r'  type:'ReLU'}   # \"today's\", spelled the writer's way"


def run(*line: object) -> Result:
    """In this process; an NktcError comes up as it would in main()."""
    return CliRunner().invoke(nktc, [str(word) for word in line], prog_name="nktc")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.prototxt"
    path.write_text(OLD)
    return path


@pytest.fixture
def today(tmp_path: Path) -> Path:
    path = tmp_path / "today.prototxt"
    path.write_text(SPELLED)
    return path


def test_the_net_goes_to_the_screen(old: Path, today: Path) -> None:
    done = run("upgrade", old)
    assert (done.exit_code, done.stdout) == (0, TODAY)
    assert done.stderr == f"{old} is brought to today's syntax\n"
    assert old.read_text() == OLD
    done = run("upgrade", today)
    assert (done.exit_code, done.stdout) == (0, SPELLED)
    assert done.stderr == f"{today} is in today's syntax already\n"


def test_the_net_goes_to_a_file(old: Path, today: Path, tmp_path: Path) -> None:
    done = run("upgrade", old, "-o", tmp_path / "new" / "net.prototxt")
    assert (done.exit_code, done.stdout) == (0, "")
    assert (tmp_path / "new" / "net.prototxt").read_text() == TODAY
    assert old.read_text() == OLD
    run("upgrade", today, "-o", tmp_path / "same.prototxt")
    assert (tmp_path / "same.prototxt").read_text() == SPELLED


def test_a_net_is_rewritten_in_place_once(old: Path, today: Path) -> None:
    assert run("upgrade", old, "--in-place").exit_code == 0
    assert old.read_text() == TODAY
    before = today.stat()
    done = run("upgrade", today, "--in-place")
    assert (done.exit_code, done.stderr) == (0, f"{today} is in today's syntax already\n")
    assert (today.read_text(), today.stat().st_ino) == (SPELLED, before.st_ino)


def test_a_check_writes_nothing_and_tells_old_from_new(old: Path, today: Path) -> None:
    done = run("upgrade", old, "--check")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{old} is in an old syntax\n")
    assert old.read_text() == OLD
    done = run("upgrade", today, "--check")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{today} is in today's syntax already\n")


def test_a_solver_is_upgraded_too(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text('net: "n"  # beside\nbase_lr: 0.10\nsolver_type: NESTEROV # as of 2014\n')
    assert run("upgrade", path).stdout == 'net: "n"  # beside\nbase_lr: 0.10\ntype: "Nesterov"  # as of 2014\n'


def test_blocks_are_left_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    block = 'block {\n  name: "b"\n  bottom: "x"\n  top: "y"\n  layer { type: "ReLU" bottom: "x" top: "y" }\n}\n'
    instance = 'layer { name: "r" type: "b" bottom: "x" top: "y" }\n'
    path.write_text(f'input: "x"\ninput_shape {{ dim: 2 }}\n{block}{instance}')
    said = 'layer {\n  name: "input"\n  type: "Input"\n  top: "x"\n  input_param { shape { dim: 2 } }\n}\n'
    assert run("upgrade", path).stdout == said + block + instance


def test_a_net_that_is_wrong_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('layers { type: RELUU name: "r" }')
    error = run("upgrade", path, "--in-place").exception
    assert isinstance(error, NktcError)
    assert str(error.at) == f"{path}:1:16"
    assert path.read_text() == 'layers { type: RELUU name: "r" }'


@pytest.mark.parametrize("more", [["--in-place", "--check"], ["-o", "x", "--in-place"], ["-o", "x", "--check"]])
def test_one_thing_is_done_at_a_time(old: Path, more: list[str]) -> None:
    done = run("upgrade", old, *more)
    assert done.exit_code == 2
    assert "only one can be given" in done.stderr


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """A net with a field that BVLC's Caffe and Intel's give one number: 13 of the pooling."""
    net = NetParameter(name="n")
    net.layer.add(name="x", type="Input", top=["x"]).input_param.shape.add(dim=[1, 1, 5, 5])
    pooling = net.layer.add(name="p", type="Pooling", bottom=["x"], top=["p"]).pooling_param
    pooling.kernel_size, pooling.round_mode = 2, PoolingParameter.FLOOR
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    return path


def test_the_net_in_a_binary_file_comes_out_as_text(binary: Path) -> None:
    refused = run("upgrade", binary).exception
    assert isinstance(refused, NktcError)
    assert "may be in the dialect of BVLC or Intel" in refused.message
    done = run("upgrade", binary, "--dialect", "BVLC")
    assert done.exit_code == 0
    assert "pooling_param { kernel_size: 2 round_mode: FLOOR }" in done.stdout
    assert "avg_include_pad: true" in run("upgrade", binary, "--dialect", "Intel").stdout


def test_a_binary_file_is_not_overwritten_by_its_text(binary: Path) -> None:
    before = binary.read_bytes()
    done = run("upgrade", binary, "--in-place")
    assert done.exit_code == 2
    assert "--in-place would put text where the weights" in done.stderr
    assert binary.read_bytes() == before
