"""Files that torch saved: weights by their names, and never code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nktc import weights
from nktc.errors import NktcError
from nktc.weights.contents import opened


def named(path: Path) -> dict[str, np.ndarray]:
    with opened(path) as contents:
        return {name: entry.read() for name, entry in contents.named.items()}


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", ["plain", "checkpoint", "parallel", "compiled", "nested", "deep"])
def test_weights_are_found_in_what_people_save(wrap: str, archive: bool, tmp_path: Path) -> None:
    state = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    moments = {0: {"momentum": torch.ones(5)}}
    saved = {
        "plain": state,
        "checkpoint": {"state_dict": state, "epoch": 3, "optimizer": {"state": moments}, "best": 0.5},
        "parallel": {"module." + name: tensor for name, tensor in state.items()},
        "compiled": {"model": {"_orig_mod.module." + name: tensor for name, tensor in state.items()}, "args": None},
        "nested": {"model_state_dict": state, "optimizer_state_dict": moments},
        "deep": {"0": {"weight": state["0.weight"], "bias": state["0.bias"]}}
        | {"1": {name[2:]: tensor for name, tensor in state.items() if name.startswith("1.")}},
    }[wrap]
    torch.save(saved, tmp_path / "w", _use_new_zipfile_serialization=archive)
    found = named(tmp_path / "w")
    assert list(found) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.float().numpy())


def test_tensors_of_other_types_and_orders_come_as_f32(tmp_path: Path) -> None:
    values = torch.arange(6).reshape(2, 3)
    tensors = {
        "half": values.half(),
        "brain": values.bfloat16(),
        "double": values.double(),
        "turned": values.float().t(),
        "part": torch.arange(20.0)[3:9],
        "parameter": nn.Parameter(values.float()),
    }
    torch.save(tensors, tmp_path / "w")
    found = named(tmp_path / "w")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor.detach().float().numpy())
    with opened(tmp_path / "w") as contents:
        assert [entry.dtype for entry in contents.named.values()] == ["f16", "bf16", "f64", "f32", "f32", "f32"]


class Code:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_is_not_run(archive: bool, tmp_path: Path) -> None:
    torch.save(
        {"a": torch.ones(1), "b": Code(str(tmp_path / "made"))}, tmp_path / "w", _use_new_zipfile_serialization=archive
    )
    with pytest.raises(NktcError) as caught:
        weights.describe(tmp_path / "w")
    problem = f"it takes the code of {os.mkdir.__module__}.mkdir to read, which is not run"
    assert caught.value.message == f"{tmp_path}/w is not a whole file of weights: {problem}"
    assert caught.value.help.startswith("save the weights alone: torch.save(model.state_dict(), FILE)")
    assert not (tmp_path / "made").exists()


def test_a_whole_module_is_refused_with_the_advice(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 3), tmp_path / "w")
    with pytest.raises(NktcError, match=r"takes the code of torch\.nn\.modules\.linear\.Linear to read") as caught:
        weights.describe(tmp_path / "w")
    assert "state_dict()" in caught.value.help


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ([torch.ones(2)], "it holds a list, no weights by their names"),
        ({"epoch": 3}, "holds no weights"),
        ({"a": torch.zeros(1).expand(1 << 20, 1 << 20)}, r'"a" of shape .* would take more than 64 times'),
        ({"a": torch.eye(3).to_sparse()}, '"a" is no plain tensor of numbers, but float32 torch.sparse_coo'),
        ({"a": torch.ones(2, dtype=torch.complex64)}, '"a" is no plain tensor of numbers'),
    ],
)
def test_what_are_no_weights_is_refused(saved: object, said: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "w")
    with pytest.raises(NktcError, match=said):
        weights.describe(tmp_path / "w")


def test_archives_that_are_no_state_dicts_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "whole")
    with (
        zipfile.ZipFile(tmp_path / "whole") as whole,
        zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as to,
    ):
        for name in whole.namelist():
            to.writestr(name, whole.read(name))
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-100])
    (tmp_path / "tiny").write_bytes(b"PK\x03\x04")
    for name, said in {
        "packed": "its archive is compressed, which torch.save does not do",
        "arrays.npz": "it is an archive without weights of torch",
        "cut": "its archive is damaged",
        "tiny": "its archive is damaged",
    }.items():
        with pytest.raises(NktcError, match=said):
            weights.describe(tmp_path / name)
