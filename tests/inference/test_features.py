"""Files of arrays, read back by NumPy, h5py and lmdb."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest

from nktc.errors import NktcError
from nktc.inference import Result, save
from nktc.schema import Datum

RANDOM = np.random.default_rng(0)
CONV = RANDOM.standard_normal((250, 3, 4, 5), np.float32)
FLAT = RANDOM.standard_normal((250, 6), np.float32)
TOP = RANDOM.integers(0, 1000, 250)
PATHS = [f"ä{i}.png" for i in range(250)]


def results() -> Iterator[Result]:
    """One in between is bad."""
    for i, path in enumerate(PATHS):
        if i == 3:
            yield Result("bad.png", error="gone")
        yield Result(path, outputs={"a/conv": CONV[i], "flat": FLAT[i], "top": np.asarray(TOP[i])})


ARRAYS = {"a/conv": CONV, "flat": FLAT, "top": TOP}


def test_an_npz_has_an_array_for_each_output_and_the_paths(tmp_path):
    save(tmp_path / "f.npz", results(), list(ARRAYS))
    with np.load(tmp_path / "f.npz") as found:
        assert set(found) == {*ARRAYS, "names"}
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
        assert found["names"].tolist() == PATHS
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]


@pytest.mark.parametrize("suffix", ["h5", "hdf5"])
def test_hdf5_has_a_data_set_for_each_output_and_the_paths(suffix, tmp_path):
    save(tmp_path / f"f.{suffix}", results(), list(ARRAYS))
    with h5py.File(tmp_path / f"f.{suffix}") as found:
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name][:], array)
        assert found["names"].asstr()[:].tolist() == PATHS
    assert [path.name for path in tmp_path.iterdir()] == [f"f.{suffix}"]


def records(path: Path) -> list[tuple[bytes, Datum]]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [(bytes(key), Datum.FromString(value)) for key, value in transaction.cursor()]


def test_lmdbs_are_those_of_extract_features(tmp_path):
    save(tmp_path / "f.lmdb", results(), list(ARRAYS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f-a_conv.lmdb", "f-flat.lmdb", "f-top.lmdb"]
    for file, array, shape in (("f-a_conv", CONV, (3, 4, 5)), ("f-flat", FLAT, (6, 1, 1)), ("f-top", TOP, (1, 1, 1))):
        found = records(tmp_path / f"{file}.lmdb")
        assert [key for key, _ in found] == [b"%010d" % i for i in range(250)]
        assert {(d.channels, d.height, d.width) for _, d in found} == {shape}
        np.testing.assert_array_equal([d.float_data for _, d in found], array.reshape(250, -1))
        # extract_features sets nothing else.
        assert not any(d.HasField(name) for _, d in found for name in ("label", "data", "encoded"))
        assert (tmp_path / f"{file}.lmdb/names.txt").read_text().splitlines() == PATHS


def test_one_output_is_the_lmdb_itself_and_one_that_is_there_stays(tmp_path):
    save(tmp_path / "f.lmdb", results(), ["flat"])
    assert len(records(tmp_path / "f.lmdb")) == 250
    with pytest.raises(NktcError) as caught:
        save(tmp_path / "f.lmdb", results(), ["flat"])
    assert str(caught.value) == f"error: {tmp_path / 'f.lmdb'} is there already\nhelp: remove it, or give another name"
    with pytest.raises(NktcError, match="a/b and a_b would be written to the same place"):
        save(tmp_path / "g.lmdb", results(), ["a/b", "a_b"])


@pytest.mark.parametrize("name", ["f.npz", "f.h5", "f.lmdb"])
def test_nothing_is_written_where_something_goes_wrong(name, tmp_path):
    def failing() -> Iterator[Result]:
        yield from list(results())[:5]
        raise NktcError("the end")

    with pytest.raises(NktcError, match="the end"):
        save(tmp_path / name, failing(), list(ARRAYS))
    with pytest.raises(NktcError, match="is not written: nothing could be inferred"):
        save(tmp_path / name, iter([Result("a", error="gone")]), list(ARRAYS))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["f.npz", "f.h5"])
def test_rows_of_several_shapes_are_refused(name, tmp_path):
    several = iter([Result("a", outputs={"x": np.zeros(3)}), Result("b", outputs={"x": np.zeros((2, 2))})])
    with pytest.raises(NktcError) as caught:
        save(tmp_path / name, several, ["x"])
    assert str(caught.value) == (
        "error: x is 2x2 for b, 3 for those before it\nhelp: --jsonl takes outputs of any size"
    )


def test_names_that_hdf5_cannot_hold_are_refused(tmp_path):
    one = Result("a", outputs={"x": np.zeros(3), "x/y": np.zeros(3)})
    with pytest.raises(NktcError, match="HDF5 cannot hold x, x/y: "):
        save(tmp_path / "f.h5", iter([one]), ["x", "x/y"])
    with pytest.raises(NktcError, match='the output "names" is called as the paths'):
        save(tmp_path / "f.npz", iter([one]), ["names"])


def test_an_output_without_numbers_is_kept(tmp_path):
    one = Result("a", outputs={"x": np.zeros((0, 7), np.float32), "y": np.ones(2, np.float32)})
    save(tmp_path / "f.h5", iter([one]), ["x", "y"])
    with h5py.File(tmp_path / "f.h5") as found:
        assert found["x"].shape == (1, 0, 7)
        assert found["y"][:].tolist() == [[1, 1]]
