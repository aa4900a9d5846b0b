"""HDF5 files that claim more than they have, or point out of themselves."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from nktc import weights
from nktc.errors import NktcError


def external(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["0"] = np.ones(3, np.float32)
    file["data/a/0"] = h5py.ExternalLink("other.h5", "0")


def soft(file: h5py.File) -> None:
    file["elsewhere"] = np.ones(3, np.float32)
    file["data/a/0"] = h5py.SoftLink("/elsewhere")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "0", (3,))
    file.create_virtual_dataset("data/a/0", layout)


def outside(file: h5py.File) -> None:
    file.create_dataset("data/a/0", (3,), np.float32, external=[("numbers.bin", 0, 12)])


def circle(file: h5py.File) -> None:
    file["data/a/0"] = np.ones(3, np.float32)
    file["data/b"] = file["data"]


def doubled(file: h5py.File) -> None:
    for depth in range(20):  # a million paths
        group = file.require_group(f"data{'/a' * depth}")
        group["b"] = group.create_group("a")


def deep(file: h5py.File) -> None:
    file[f"data{'/a' * 40}/0"] = np.ones(3, np.float32)


def nothing_stored(file: h5py.File) -> None:
    file.create_dataset("data/a/0", (1 << 20, 1 << 20), np.float32)


def packed_zeros(file: h5py.File) -> None:
    zeros = np.zeros((1 << 25,), np.float32)
    file.create_dataset("data/a/0", data=zeros, chunks=(1 << 22,), compression="gzip", compression_opts=9)


def many_names(file: h5py.File) -> None:
    file.create_dataset("data/a/0", (1 << 22,), np.float32, chunks=(1 << 10,))
    for i in range(1, 50):
        file[f"data/a/{i}"] = file["data/a/0"]


def wide_chunk(file: h5py.File) -> None:
    file.create_dataset("data/a/0", (3,), np.float32, chunks=(1 << 28,), maxshape=(None,))


def words(file: h5py.File) -> None:
    file["data/a/0"] = ["one", "two"]


def pairs(file: h5py.File) -> None:
    file["data/a/0"] = np.zeros(3, [("x", "f4"), ("y", "f4")])


def far(file: h5py.File) -> None:
    file["data/a/70000"] = np.ones(3, np.float32)


def unnumbered(file: h5py.File) -> None:
    file["data/a/weight"] = np.ones(3, np.float32)


def no_group(file: h5py.File) -> None:
    file["data"] = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (external, "0 is a link to somewhere else"),
        (soft, "0 is a link to somewhere else"),
        (virtual, "the numbers of /data/a/0 lie in another file"),
        (outside, "the numbers of /data/a/0 lie in another file"),
        (circle, "the group .* is there twice"),
        (doubled, "the group .* is there twice"),
        (deep, "more than 32 groups lie in one another"),
        (
            nothing_stored,
            r"/data/a/0 of shape \[1048576 1048576\] would take more than 64 times the \d+ bytes there are",
        ),
        (packed_zeros, r"/data/a/0 of shape \[33554432\] would take more than 64 times"),
        (many_names, r"of shape \[4194304\] would take more than 64 times"),
        (wide_chunk, r"a chunk of /data/a/0 of shape \[268435456\] would take more than 64 times"),
        (words, "/data/a/0 holds object, not numbers"),
        (pairs, "/data/a/0 holds .*, not numbers"),
        (far, "a has a blob 70000"),
        (unnumbered, "invalid literal for int"),
        (no_group, "has no group /data"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused(
    make: Callable[[h5py.File], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(NktcError, match=said):
        weights.read(path)


def test_what_is_packed_as_people_pack_it_is_read(tmp_path: Path) -> None:
    values = np.zeros((64, 1000), np.float64)
    values[::7, ::5] = 3
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("data/a/b/0", data=values, compression="gzip", chunks=True)
        file["data/a/b/2"] = np.arange(3, dtype=np.int16)
        file["data/c/0"] = np.float32(7)
    found = weights.read(tmp_path / "w.h5")
    assert list(found) == ["a/b", "c"]
    np.testing.assert_array_equal(found["a/b"][0], values)
    assert found["a/b"][1] is None
    np.testing.assert_array_equal(found["a/b"][2], [0, 1, 2])
    assert (found["c"][0].shape, found["c"][0].item()) == ((), 7)


def test_a_full_disk_is_told_and_what_was_there_stays(read, tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, data: memoryview) -> None:
        view = memoryview(data)
        raise OSError(errno.ENOSPC, f"{len(view)} bytes")

    graph = read(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }'
        'layer { name: "p" type: "PReLU" bottom: "x" top: "p" }'
    )
    path = tmp_path / "w.h5"
    path.write_text("old")
    monkeypatch.setattr(Path, "write_bytes", full)
    for save in (
        lambda: weights.save(path, graph, {"p.slope": np.ones(4, np.float32)}),
        lambda: weights.save_state(path, weights.State(3, "w", [np.ones(4, np.float32)])),
    ):
        with pytest.raises(NktcError) as refused:
            save()
        assert refused.value.message == f"cannot write {path}: No space left on device"
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_the_state_of_a_solver_is_called_that(tmp_path: Path) -> None:
    weights.save_state(tmp_path / "s.solverstate.h5", weights.State(3, "w", []))
    with pytest.raises(NktcError, match=r"so it is no \.caffemodel\.h5\nhelp: it is the state of a solver"):
        weights.read(tmp_path / "s.solverstate.h5")


def test_a_states_links_and_sizes_are_looked_at_too(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    for make, said in {
        lambda file: file.create_dataset("history/0", (1 << 20, 1 << 20), np.float32): "would take more than 64 times",
        lambda file: file.update({"history/0": h5py.SoftLink("/iter")}): "0 is a link to somewhere else",
        lambda file: file.update({"history/0/1": 3}): "0 is a group",
        lambda file: file.update({"history": 3}): "history is no group of arrays",
        lambda file: file.create_group("history") and file.create_dataset("learned_net", data=[1, 2]): "not one number",
    }.items():
        with h5py.File(path, "w") as file:
            file["iter"] = np.array([3], np.int32)
            make(file)
        with pytest.raises(NktcError, match=said):
            weights.read_state(path)
