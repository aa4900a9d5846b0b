"""The solver against Caffe's own: every applied update and loss, and snapshots of Caffe's taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nktc import data, ir, module, reader, train, weights
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.train import Event, Solver, Stepped

SHARED = Path(__file__).parents[3] / "shared"
GOLDENS = SHARED / "goldens"
CASES = sorted(p.name for p in GOLDENS.glob("solver_*")) if SHARED.is_dir() else []
PLATEAUS = sorted(p.name for p in GOLDENS.glob("plateau_*") if p.name != "plateau_nowin") if SHARED.is_dir() else []
SNAPSHOTS = sorted(p.name for p in GOLDENS.glob("snapshot_*")) if SHARED.is_dir() else []
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, which is not here")


class Recorded(data.Stream):
    """Batches one after the other, in a ring; each serves `times` forwards."""

    resident = True

    def __init__(self, blobs: list[np.ndarray], times: int = 1) -> None:
        self.blobs, self.times = [torch.from_numpy(blob) for blob in blobs], times

    def batch(self, k: int) -> tuple[torch.Tensor, ...]:
        return tuple(blob[k // self.times % len(blob)] for blob in self.blobs)


def streams(graph: ir.Graph, golden: dict, iter_size: int) -> list[data.Stream]:
    """What a case is fed: the batches in its golden, one an iteration however often it asks, or its HDF5 file's."""
    if not any(node.type == "HDF5Data" for node in graph.sources):
        return [Recorded([golden[f"data/{node.outputs[0].name}"]], iter_size) for node in graph.sources]
    (node,) = graph.sources
    with h5py.File("train.h5") as file:
        rows = [np.asarray(file[value.name]) for value in node.outputs]
    # Batches go on over the end of the file.
    return [Recorded([np.concatenate([x] * 4).reshape(len(x), 4, *x.shape[1:]) for x in rows])]


def open_case(name: str, monkeypatch: pytest.MonkeyPatch, hooks: list, *overrides: str) -> tuple[Solver, dict, dict]:
    """A case's solver with its golden and meta."""
    monkeypatch.chdir(GOLDENS / name)
    golden = dict(np.load("golden.npz"))
    settings = train.read("solver.prototxt", overrides)
    folder = settings.train_net.folder
    graph = reader.build(settings.train_net, Phase.TRAIN, feeds=lambda layer: data.describe(layer, folder))
    feeding = train.Feeding(streams(graph, golden, settings.message.iter_size))
    solver = Solver(settings, module.compile(graph, seed=1), feeding, hooks=hooks)
    return solver, golden, json.loads(str(golden["meta"]))


def of_graph(graph: ir.Graph, golden: dict, what: str, step: int) -> dict[str, np.ndarray]:
    """The `params` after `step` iterations, or the `pdiff` of one, by the graph's names."""
    return {
        name: golden[f"{what}/{p.layer}/{p.index}"][step]
        for name, p in graph.parameters.items()
        if f"{what}/{p.layer}/{p.index}" in golden
    }


def close(found: np.ndarray, expected: np.ndarray, tolerance: float, least: float = 1e-6) -> bool:
    """Whether no value is off by more than `tolerance` of the largest."""
    return bool(np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), least))


def tolerance(case: str, name: str) -> float:
    """1e-5; but a bias before BatchNorm, and the mean that follows it, have no gradient but what rounding leaves, which
    differs between any two programs, and AdaGrad and RMSProp divide by its size."""
    return 1e-3 if case.endswith("convbn") and name in ("c.bias", "bn.mean") else 1e-5


def on_the_device(solver: Solver) -> None:
    """Give updates their numbers as tensors, as a captured graph does."""
    step = solver.optimizer.step
    solver.optimizer.step = lambda *numbers: step(*map(torch.tensor, numbers))  # type: ignore[method-assign]


@pytest.mark.parametrize("way", ["floats", "tensors", "updates kept"])
@pytest.mark.parametrize("name", CASES)
def test_every_iteration_is_caffes(name, way, monkeypatch):
    """Loss, rate, every parameter and every update; with the updates kept each is compared by itself."""
    found: list[tuple[float, float, dict, dict]] = []

    def hear(event: Event) -> None:
        if isinstance(event, Stepped):
            updates = {one.name: one.tensor.grad.numpy().copy() for one in solver.optimizer.learned}
            # The goldens have the loss of the last batch, which is the mean where all batches are the same.
            loss = event.loss if meta["inputs"] else event.outputs["loss"]
            found.append((loss.item(), event.rate, solver.net.arrays(), updates))
            solver.stopping = event.iteration == 14

    kept = way == "updates kept"
    solver, golden, meta = open_case(name, monkeypatch, [hear], *["snapshot_diff=true"] * kept)
    if way == "tensors":
        on_the_device(solver)
    graph = solver.net.graph
    before = of_graph(graph, golden, "params", 0)
    solver.net.load(before)
    solver.run()
    assert len(found) == 15
    for i, (loss, rate, arrays, updates) in enumerate(found):
        assert loss == pytest.approx(golden["loss"][i], rel=1e-5), f"loss of iteration {i}"
        assert rate == pytest.approx(golden["lr"][i], rel=1e-5, abs=1e-9), f"rate of iteration {i}"
        after = of_graph(graph, golden, "params", i + 1)
        for key, expected in after.items():
            assert close(arrays[key], expected, tolerance(name, key)), f"{key} after iteration {i}"
        for key, update in updates.items():
            expected = of_graph(graph, golden, "pdiff", i)[key]
            # A difference of weights is as exact as they are.
            least = np.abs(after[key]).max()
            assert close(before[key] - arrays[key], expected, tolerance(name, key), least), f"step {i} of {key}"
            if kept:
                assert close(update, expected, 3 * tolerance(name, key)), f"update of {key} in iteration {i}"
        before = arrays


@pytest.mark.parametrize("name", PLATEAUS)
def test_ssds_plateau_lowers_the_rate_at_the_same_iterations(name, monkeypatch):
    """The goldens of single steps restart the smoothing at each, so their average_loss is 1."""
    found: list[tuple[float, float]] = []

    def hear(event: Event) -> None:
        if isinstance(event, Stepped):
            found.append((event.loss.item(), event.rate))
            solver.stopping = event.iteration + 1 == meta["iters"]

    steps = "onecall" not in name
    solver, golden, meta = open_case(name, monkeypatch, [hear], *["average_loss=1"] * steps)
    solver.net.load(of_graph(solver.net.graph, golden, "params", 0))
    solver.run()
    losses, rates = zip(*found, strict=True)
    np.testing.assert_allclose(rates, golden["lr"], rtol=1e-5)
    if steps:
        np.testing.assert_allclose(losses, golden["loss"], rtol=1e-4, atol=1e-6)
    else:
        for key, expected in of_graph(solver.net.graph, golden, "params", -1).items():
            assert close(solver.net.arrays()[key], expected, 1e-4), key
    assert len({*rates}) > 1 or name == "plateau_onecall_avg6"


def test_a_plateau_goes_on_where_a_snapshot_left_it(monkeypatch):
    rates: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, Stepped):
            rates.append(event.rate)
            for solver in solvers:
                solver.stopping = event.iteration in (24, 39)

    solvers: list[Solver] = []
    first, golden, _ = open_case("plateau_basic", monkeypatch, [hear])
    solvers.append(first)
    first.net.load(of_graph(first.net.graph, golden, "params", 0))
    first.run()
    second, _, _ = open_case("plateau_basic", monkeypatch, [hear])
    solvers[:] = [second]
    second.iteration = first.iteration
    second.net.load(first.net.arrays())
    second.take(first.extra())
    second.run()
    assert first.iteration == 25
    np.testing.assert_allclose(rates, golden["lr"], rtol=1e-5)  # it drops at 8, 26 and 29


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
        for key, expected in of_graph(solver.net.graph, golden, "params", i + 1).items():
            assert close(arrays[key], expected, 1e-5), f"{key} after iteration {i}"


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_our_snapshot_holds_what_caffes_holds(name, monkeypatch, tmp_path):
    solver, golden, _ = open_case(name, monkeypatch, [], "snapshot_after_train=true")
    solver.net.load(of_graph(solver.net.graph, golden, "params", 0))

    def hear(event: Event) -> None:
        solver.stopping = isinstance(event, Stepped) and event.iteration == 7

    solver.hooks, solver.prefix = [hear], tmp_path / "snap"
    solver.run()
    ending = ".h5" if name.endswith("hdf5") else ""
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
