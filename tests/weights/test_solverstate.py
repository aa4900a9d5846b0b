"""Solver states: real Caffe's, ours and broken ones."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from nktc import weights
from nktc.errors import NktcError
from nktc.schema import SolverState
from nktc.weights import State

HISTORY = (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([0.5], np.float32))


@pytest.mark.parametrize(("form", "ending"), [("binaryproto", ""), ("hdf5", ".h5")])
def test_caffes_state_is_read(form: str, ending: str, shared: Path) -> None:
    folder = shared / "goldens" / f"snapshot_sgd_{form}"
    path = folder / f"snap_iter_8.solverstate{ending}"
    state = weights.read_state(path)
    assert (state.iteration, state.current_step) == (8, 2)  # stepvalue 3 and 7 are behind it
    assert state.learned_net == f"snap_iter_8.caffemodel{ending}"
    assert weights.learned_net(state, path) == folder / state.learned_net
    assert [h.shape for h in state.history] == [(5, 4), (5,), (3, 5), (3,)]
    # With momentum, what is taken off the weights is the history itself.
    with np.load(folder / "golden.npz") as golden:
        for history, key in zip(state.history, ("ip1/0", "ip1/1", "ip2/0", "ip2/1"), strict=True):
            before, after = golden[f"params/{key}"][7:9]
            np.testing.assert_allclose(history, before - after, atol=1e-6)


@pytest.mark.parametrize("ending", ["", ".h5"])
def test_what_is_saved_is_read_again(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"s.solverstate{ending}"
    weights.save_state(path, State(2**31 - 1, "ünïcode/w.caffemodel", HISTORY, 3))
    found = weights.read_state(path)
    assert (found.iteration, found.learned_net, found.current_step) == (2**31 - 1, "ünïcode/w.caffemodel", 3)
    for ours, theirs in zip(found.history, HISTORY, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_our_hdf5_state_is_stored_as_caffes(shared: Path, tmp_path: Path) -> None:
    theirs_path = shared / "goldens/snapshot_sgd_hdf5/snap_iter_8.solverstate.h5"
    weights.save_state(tmp_path / "s.h5", weights.read_state(theirs_path))
    with h5py.File(tmp_path / "s.h5") as ours, h5py.File(theirs_path) as theirs:
        assert set(ours) == set(theirs)
        for key in ("iter", "current_step", "learned_net", "history/0", "history/3"):
            assert (ours[key].shape, ours[key].dtype) == (theirs[key].shape, theirs[key].dtype), key


def test_the_weights_are_found_beside_a_state_that_was_moved(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    state, path = State(1, "elsewhere/w.caffemodel", ()), tmp_path / "new" / "s.solverstate"
    path.parent.mkdir()
    assert weights.learned_net(state, path) == Path("elsewhere/w.caffemodel")
    (path.parent / "w.caffemodel").touch()
    assert weights.learned_net(state, path) == path.parent / "w.caffemodel"
    Path("elsewhere").mkdir()
    Path("elsewhere/w.caffemodel").touch()  # of a later run, say
    assert weights.learned_net(state, path) == path.parent / "w.caffemodel"


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "junk").write_bytes(b"\xff" * 40)
    uneven = weights.blob(HISTORY[0])
    uneven.shape.dim[0] = 7
    (tmp_path / "uneven").write_bytes(SolverState(iter=1, history=[uneven]).SerializeToString())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["history"] = 3
    for name, said in {
        "": "is a folder, not a file",
        "none": "snapshot .* does not exist",
        "empty": "it has no iteration",
        "junk": "the number at byte 0 has no end",
        "uneven": "a blob of shape .* holds 6 numbers",
        "other.h5": "is not a whole .solverstate.h5",
    }.items():
        with pytest.raises(NktcError, match=said):
            weights.read_state(tmp_path / name)


@pytest.mark.parametrize("ending", ["", ".h5"])
def test_a_state_cut_anywhere_is_refused_or_whole(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"s{ending}"
    weights.save_state(path, State(5, "w", HISTORY))
    whole = path.read_bytes()
    for length in range(0, len(whole), 1 + len(whole) // 150):
        path.write_bytes(whole[:length])
        try:
            found = weights.read_state(path)
        except NktcError:
            continue
        # A binary state cut between two of its fields is a state of fewer of them; resuming counts the histories.
        assert not ending
        assert found.iteration == 5
        assert all(np.array_equal(a, b) for a, b in zip(found.history, HISTORY, strict=False))
