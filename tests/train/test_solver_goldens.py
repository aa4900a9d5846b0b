"""The solver against Caffe's own: every applied update and loss, and snapshots of Caffe's taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nktc import data, ir, module, reader, train, weights
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.train import Event, Solver, Stepped

SHARED = Path(__file__).parents[3] / "shared"
CASES = sorted(p.name for p in (SHARED / "goldens").glob("solver_sgd_*")) if SHARED.is_dir() else []
SNAPSHOTS = ("snapshot_sgd_binaryproto", "snapshot_sgd_hdf5")
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, which is not here")


class Recorded(data.Stream):
    """The batches of a golden case, one an iteration however often it asks."""

    resident = True

    def __init__(self, batches: np.ndarray, iter_size: int) -> None:
        self.batches, self.iter_size = torch.from_numpy(batches), iter_size

    def batch(self, k: int) -> tuple[torch.Tensor, ...]:
        return (self.batches[k // self.iter_size],)


def open_case(name: str, monkeypatch: pytest.MonkeyPatch, hooks: list, *overrides: str) -> tuple[Solver, dict, dict]:
    folder = SHARED / "goldens" / name
    monkeypatch.chdir(folder)
    golden = dict(np.load(folder / "golden.npz"))
    meta = json.loads(str(golden["meta"]))
    settings = train.read("solver.prototxt", overrides)
    graph = reader.build(settings.train_net, Phase.TRAIN)
    net = module.compile(graph, seed=1)
    by_top = {node.outputs[0].name: node for node in graph.sources}
    assert list(by_top) == meta["inputs"]
    streams = [Recorded(golden[f"data/{top}"], settings.iter_size) for top in by_top]
    solver = Solver(settings, net, train.Feeding(streams), hooks=hooks)
    return solver, golden, meta


def arrays_of(graph: ir.Graph, golden: dict, step: int) -> dict[str, np.ndarray]:
    """The parameters of the graph after `step` iterations, as the golden has them."""
    return {
        name: golden[f"params/{p.layer}/{p.index}"][step]
        for name, p in graph.parameters.items()
        if f"params/{p.layer}/{p.index}" in golden
    }


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return bool(np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-6))


@pytest.mark.parametrize("name", CASES)
def test_every_iteration_is_caffes(name, monkeypatch):
    found: list[tuple[float, float, dict]] = []

    def hear(event: Event) -> None:
        if isinstance(event, Stepped):
            found.append((event.loss.item(), event.rate, solver.net.arrays()))
            solver.stopping = event.iteration == 14

    solver, golden, _ = open_case(name, monkeypatch, [hear])
    solver.net.load(arrays_of(solver.net.graph, golden, 0))
    solver.run()
    assert len(found) == 15
    for i, (loss, rate, arrays) in enumerate(found):
        assert loss == pytest.approx(golden["loss"][i], rel=1e-5), f"loss of iteration {i}"
        assert rate == pytest.approx(golden["lr"][i], rel=1e-5, abs=1e-9), f"rate of iteration {i}"
        for key, expected in arrays_of(solver.net.graph, golden, i + 1).items():
            assert close(arrays[key], expected, 1e-5), f"{key} after iteration {i}"


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_caffes_snapshot_goes_on_here(name, monkeypatch):
    found: list[dict] = []

    def hear(event: Event) -> None:
        if isinstance(event, Stepped):
            found.append(solver.net.arrays())
            solver.stopping = event.iteration == 14

    solver, golden, meta = open_case(name, monkeypatch, [hear])
    ending = ".h5" if name.endswith("hdf5") else ""
    solver.restore(Path(f"snap_iter_8.solverstate{ending}"))
    assert solver.iteration == meta["snapshot_after_iter"] == 8
    solver.run()
    assert len(found) == 7
    for i, arrays in enumerate(found, start=8):
        for key, expected in arrays_of(solver.net.graph, golden, i + 1).items():
            assert close(arrays[key], expected, 1e-5), f"{key} after iteration {i}"


@pytest.mark.parametrize("ending", ["", ".h5"])
def test_our_snapshot_holds_what_caffes_holds(ending, monkeypatch, tmp_path):
    case = "snapshot_sgd_hdf5" if ending else "snapshot_sgd_binaryproto"
    solver, golden, _ = open_case(case, monkeypatch, [], "snapshot_after_train=true")
    solver.net.load(arrays_of(solver.net.graph, golden, 0))

    def hear(event: Event) -> None:
        solver.stopping = isinstance(event, Stepped) and event.iteration == 7

    solver.hooks, solver.prefix = [hear], tmp_path / "snap"
    solver.run()
    theirs = weights.read(f"snap_iter_8.caffemodel{ending}")
    ours = weights.read(tmp_path / f"snap_iter_8.caffemodel{ending}")
    assert list(ours) == list(theirs)
    for layer, blobs in theirs.items():
        assert all(close(a, b, 1e-5) for a, b in zip(ours[layer], blobs, strict=True))
    a, b = (
        weights.read_state(p)
        for p in (tmp_path / f"snap_iter_8.solverstate{ending}", f"snap_iter_8.solverstate{ending}")
    )
    assert (a.iteration, a.current_step) == (b.iteration, b.current_step)
    assert all(close(x, y, 1e-4) for x, y in zip(a.history, b.history, strict=True))


def test_a_truncated_snapshot_is_refused(monkeypatch, tmp_path):
    solver, _, _ = open_case("snapshot_sgd_binaryproto", monkeypatch, [])
    whole = Path("snap_iter_8.solverstate").read_bytes()
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 3):
        broken = tmp_path / f"broken_{length}.solverstate"
        broken.write_bytes(whole[:length])
        with pytest.raises(NktcError, match="is not a whole"):
            solver.restore(broken)
