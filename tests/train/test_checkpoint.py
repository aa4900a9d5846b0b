"""Snapshots: what is in them, what is refused, what is found again, and what is thrown away."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nktc import data, module, reader, train, weights
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.schema import NetParameter, SolverState
from nktc.train import checkpoint
from nktc.train.solver import Solver

SHARED = Path(__file__).parents[3] / "shared"
CAFFES = sorted(path.name for path in SHARED.glob("goldens/snapshot_*"))
ENDINGS = {"BINARYPROTO": "", "HDF5": ".h5"}

NET = """
layer { name: "x" type: "Input" top: "x" top: "t" input_param { shape { dim: 3 dim: 4 } shape { dim: 3 dim: 2 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { lr_mult: 0 } param { lr_mult: 1 }
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "a" top: "norm" }
layer { name: "drop" type: "Dropout" bottom: "norm" top: "drop" }
layer { name: "b" type: "InnerProduct" bottom: "drop" top: "b"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "t" top: "loss" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 9 snapshot: 3 snapshot_prefix: "s/run"'
HELP = "go on from another snapshot, or start from its weights with --weights"
OTHER_NET = "resume with the net and the solver type that wrote it, or start from its weights with --weights"


class Drawn(data.Stream):
    """Batches that are drawn by their number."""

    resident = True

    def batch(self, k: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(k)
        return torch.randn(3, 4, generator=generator), torch.randn(3, 2, generator=generator)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Solver]:
    """Make a solver of the net above, or of another."""
    monkeypatch.chdir(tmp_path)
    Path("solver.prototxt").write_text(SOLVER)

    def make(*overrides: str, net: str = NET) -> Solver:
        Path("net.prototxt").write_text(net)
        settings = train.read("solver.prototxt", ["momentum=0.9", *overrides])
        graph = reader.build(settings.train_net, Phase.TRAIN)
        return Solver(settings, module.compile(graph, seed=1), train.Feeding([Drawn()]))

    return make


def held(solver: Solver) -> list[bytes]:
    """All that a solver could have taken from a snapshot."""
    histories = [history.numpy().tobytes() for slot in solver.optimizer.histories for history in slot]
    return [array.tobytes() for array in solver.net.arrays().values()] + histories


def refused(solver: Solver, path: str | Path, message: str, help: str = HELP) -> None:
    """The snapshot is refused in these words, and the solver has nothing of it."""
    before = held(solver)
    with pytest.raises(NktcError) as caught:
        solver.restore(Path(path))
    assert (caught.value.message, caught.value.help) == (message, help)
    assert (held(solver), solver.iteration) == (before, 0)


# What is in one.


def as_caffe_has_it(path: Path) -> object:
    """Everything in a file of Caffe's, comparable; but where its weights are and the parts of the net's definition."""
    if path.suffix == ".h5":
        found: dict[str, object] = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: found.update(
                    {name: (item.dtype.str, item.shape, item[()].tobytes()) if isinstance(item, h5py.Dataset) else None}
                )
            )
        if "learned_net" in found:
            found["learned_net"] = found["learned_net"][1:2]  # type: ignore[index]
        return found
    if ".solverstate" in path.name:
        state = SolverState.FromString(path.read_bytes())
        state.learned_net = ""
        return state
    net = NetParameter.FromString(path.read_bytes())
    return net.name, [(layer.name, layer.type, layer.phase, list(layer.blobs)) for layer in net.layer]


@pytest.mark.parametrize("name", CAFFES)
def test_our_files_of_caffes_snapshot_are_caffes(name: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(SHARED / "goldens" / name)
    settings = train.read("solver.prototxt")
    solver = Solver(settings, module.compile(reader.build(settings.train_net, Phase.TRAIN)), train.Feeding([]))
    ending = ".h5" if settings.hdf5 else ""
    solver.restore(Path(f"snap_iter_8.solverstate{ending}"))
    if solver.optimizer.slots == 2:  # squares in both slots of AdaDelta, in the second of Adam
        squares = solver.optimizer.histories[name.startswith("snapshot_adam_") :]
        assert all(history.min() >= 0 and history.max() > 0 for slot in squares for history in slot)
    solver.prefix = tmp_path / "snap"
    solver.save()
    for kind in ("caffemodel", "solverstate"):
        file = f"snap_iter_8.{kind}{ending}"
        assert as_caffe_has_it(tmp_path / file) == as_caffe_has_it(Path(file))


@pytest.mark.parametrize("form", ENDINGS)
def test_a_snapshot_holds_the_state_and_no_other_file_stays(form: str, made) -> None:
    solver = made(f"snapshot_format={form}", "ema_decay=0.5")
    solver.run()
    ending = ENDINGS[form]
    names = [f"run_iter_{i}{end}" for i in (3, 6, 9) for end in (".caffemodel", "_average.caffemodel", ".solverstate")]
    names = [f"{name}{ending}" for name in names] + [f"run_iter_{i}.extra.safetensors" for i in (3, 6, 9)]
    assert {path.name for path in Path("s").iterdir()} == set(names)
    other = made(f"snapshot_format={form}", "ema_decay=0.5")
    other.restore(Path(f"s/run_iter_9.solverstate{ending}"))
    assert (held(other), other.iteration) == (held(solver), 9)
    average = weights.read(f"s/run_iter_9_average.caffemodel{ending}")
    assert solver.average
    for name, mean in solver.average.means.items():
        parameter = solver.net.graph.parameters[name]
        np.testing.assert_array_equal(average[parameter.layer][parameter.index], mean)
    last = weights.read(f"s/run_iter_9.caffemodel{ending}")
    assert not np.array_equal(average["b"][0], last["b"][0])
    for index in range(3):  # sums are not averaged
        np.testing.assert_array_equal(average["norm"][index], last["norm"][index])


@pytest.mark.parametrize("form", ENDINGS)
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_snapshot_diff_holds_what_the_last_update_took_off(form: str, kind: str, made) -> None:
    solver = made(f"snapshot_format={form}", f"type={kind}", "snapshot_diff=true", "max_iter=3", "snapshot=1")
    solver.run()
    before, after = (weights.read(f"s/run_iter_{i}.caffemodel{ENDINGS[form]}") for i in (2, 3))
    path = f"s/run_iter_3.caffemodel{ENDINGS[form]}"
    if form == "HDF5":
        with h5py.File(path) as file:
            diffs = {name: [np.asarray(diff) for diff in group.values()] for name, group in file["diff"].items()}
    else:
        net = NetParameter.FromString(Path(path).read_bytes())
        diffs = {
            layer.name: [np.array(blob.diff).reshape(blob.shape.dim) for blob in layer.blobs] for layer in net.layer
        }
    assert {name: [diff.shape for diff in found] for name, found in diffs.items() if found} == {
        name: [blob.shape for blob in blobs] for name, blobs in after.items()
    }
    for layer, index in (("a", 1), ("b", 0), ("b", 1)):
        change = before[layer][index] - after[layer][index]
        assert np.abs(change).max() > 0
        np.testing.assert_allclose(diffs[layer][index], change, atol=1e-6)
    assert not np.any(diffs["a"][0])  # lr_mult: 0
    assert not any(np.any(diff) for diff in diffs["norm"])


# What is refused.


@pytest.fixture
def saved(made) -> Callable[..., Solver]:
    """Solvers in a folder with snapshots of SGD, whose files the tests may spoil."""
    made().run()
    return made


def test_another_solver_type_is_refused(saved) -> None:
    message = "s/run_iter_3.solverstate was written by the solver type SGD, this one is Nesterov"
    help = 'set type: "SGD", or start from its weights with --weights'
    refused(saved("type=Nesterov"), "s/run_iter_3.solverstate", message, help)


def test_what_does_not_fit_the_net_is_refused(saved) -> None:
    state = "s/run_iter_3.solverstate"
    fewer = NET.replace('layer { name: "drop"', 'layer { name: "gone" type: "Bias" bottom: "norm" top: "gone" }\n#')
    message = "s/run_iter_3.caffemodel has no weights for gone"
    refused(saved(net=fewer.replace('bottom: "drop"', 'bottom: "gone"')), state, message, OTHER_NET)
    less = NET.replace("num_output: 2", "num_output: 2 bias_term: false")
    with pytest.raises(NktcError, match=r'layer "b" has 1 weights, s/run_iter_3.caffemodel has 2 of that name'):
        saved(net=less).restore(Path(state))
    gone = NET.replace('layer { name: "norm"', "#").replace('bottom: "norm"', 'bottom: "a"')
    refused(saved(net=gone), state, f"{state} has 7 histories, SGD keeps 4 for this net", OTHER_NET)


def test_caffes_snapshot_of_another_type_or_with_other_histories_is_refused(saved) -> None:
    state = Path("s/run_iter_3.solverstate")
    Path("s/run_iter_3.extra.safetensors").unlink()
    refused(saved("type=Adam"), state, f"{state} has 7 histories, Adam keeps 14 for this net", OTHER_NET)
    found = weights.read_state(state)
    turned = (found.history[0], found.history[1], *found.history[2:5], found.history[5].T, found.history[6])
    weights.save_state(state, weights.State(3, found.learned_net, turned))
    refused(saved(), state, f"{state} has a history of 5x2 for b.weight, which takes 2x5", OTHER_NET)


def test_missing_weights_are_refused(saved) -> None:
    Path("s/run_iter_3.caffemodel").unlink()
    message = "s/run_iter_3.solverstate belongs to the weights s/run_iter_3.caffemodel, which do not exist"
    refused(saved(), "s/run_iter_3.solverstate", message)


def test_files_of_two_snapshots_are_refused(saved) -> None:
    state, extra, model = (f"s/run_iter_3.{kind}" for kind in ("solverstate", "extra.safetensors", "caffemodel"))
    whole = Path(model).read_bytes()
    shutil.copy("s/run_iter_6.caffemodel", model)
    refused(saved(), state, f"{model} holds other weights than those written with {state}")
    Path(model).write_bytes(whole)
    shutil.copy("s/run_iter_6.extra.safetensors", extra)
    refused(saved(), state, f"{state} was made after 3 iterations, {extra} after 6")


@pytest.mark.parametrize("form", ENDINGS)
def test_a_truncated_file_is_refused(form: str, made) -> None:
    made(f"snapshot_format={form}", "max_iter=3").run()
    ending, solver = ENDINGS[form], made(f"snapshot_format={form}")
    state, extra, model = (f"s/run_iter_3.{kind}" for kind in ("solverstate", "extra.safetensors", "caffemodel"))
    for path in (state + ending, model + ending, extra):
        whole = Path(path).read_bytes()
        for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
            Path(path).write_bytes(whole[:length])
            before = held(solver)
            with pytest.raises(NktcError) as caught:
                solver.restore(Path(state + ending))
            assert path in caught.value.message
            assert held(solver) == before
        Path(path).write_bytes(whole)
    Path(extra).write_bytes(b"")
    help = f"{HELP}; without run_iter_3.extra.safetensors it is taken up like Caffe's, with random state of its own"
    refused(solver, state + ending, f"{extra} is damaged: Error while deserializing header: header too small", help)
    Path(extra).unlink()
    solver.restore(Path(state + ending))
    assert solver.iteration == 3


@pytest.mark.parametrize("form", ENDINGS)
def test_a_changed_bit_is_found_wherever_it_matters(form: str, made) -> None:
    whole = made(f"snapshot_format={form}", "max_iter=3", "ema_decay=0.5")
    whole.run()
    paths = [p for p in sorted(Path("s").iterdir()) if "average.caffemodel" not in p.name]
    state = next(path for path in paths if ".solverstate" in path.name)
    other = made(f"snapshot_format={form}", "ema_decay=0.5")
    other.restore(state)
    expected, extra = held(other), other.extra()
    generator = np.random.default_rng(1)
    solver = made(f"snapshot_format={form}", "ema_decay=0.5")
    fresh, found_out = held(solver), 0
    for path in paths * 8:
        data = bytearray(path.read_bytes())
        data[generator.integers(len(data))] ^= 1 << int(generator.integers(8))
        good = path.read_bytes()
        path.write_bytes(data)
        try:
            solver.restore(state)
        except NktcError:
            found_out += 1
            assert held(solver) == fresh
        else:  # a name or a number that nothing is read from, such as current_step
            assert held(solver) == expected
            again = solver.extra()
            assert again.facts == extra.facts
            assert all(torch.equal(again.tensors[name], tensor) for name, tensor in extra.tensors.items())
            solver = made(f"snapshot_format={form}", "ema_decay=0.5")
        path.write_bytes(good)
    assert found_out > 8


# Killed in the middle, and no space left.


class Killed(BaseException):
    """The process ends."""


@pytest.mark.parametrize("name", ["", "best"])
@pytest.mark.parametrize("moment", range(6))
def test_a_kill_leaves_whole_snapshots_only(name: str, moment: int, made, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every step that a save takes on the disk; the same name is written twice, as the best is."""
    first = made("ema_decay=0.5")
    first.iteration = 3
    first.save(name)
    before = checkpoint.newest(Path("s/run"))[0]
    solver = made("ema_decay=0.5", "base_lr=1")
    solver.settings.message.max_iter, solver.settings.message.snapshot_after_train = 1, False
    solver.run()
    solver.iteration = 3
    left = moment

    def until_killed(change: Callable) -> Callable:
        def changed(*given: object, **more: object) -> object:
            nonlocal left
            if Path(str(given[0])).suffix != ".part":  # of the files that are written beside
                left -= 1
                if left < 0:
                    raise Killed
            return change(*given, **more)

        return changed

    with monkeypatch.context() as killing:
        killing.setattr(checkpoint.os, "replace", until_killed(checkpoint.os.replace))
        killing.setattr(checkpoint.Path, "unlink", until_killed(Path.unlink))
        killing.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
        try:
            solver.save(name)
        except Killed:
            done = False
        else:
            done = True
    found, passed_over = checkpoint.newest(Path("s/run"))
    assert passed_over == []
    if found:
        taken = made("ema_decay=0.5")
        taken.restore(found)
        assert held(taken) == held(solver if done else first)
    else:
        assert before
        assert not before.exists()
    solver.save(name)
    assert not list(Path("s").glob(".*"))
    taken = made("ema_decay=0.5")
    taken.restore(before)
    assert held(taken) == held(solver)


def test_a_snapshot_that_cannot_be_written_leaves_the_one_before(made, monkeypatch: pytest.MonkeyPatch) -> None:
    solver = made()
    solver.iteration = 3
    solver.save()
    before = held(solver)
    solver.net.load({"b.bias": np.ones(2, np.float32)})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "s/run_iter_3.caffemodel")

    with monkeypatch.context() as failing:
        failing.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(
            NktcError, match=r"cannot write s/.run.part/run_iter_3.caffemodel: No space left on device$"
        ):
            solver.save()
    other = made()
    other.restore(Path("s/run_iter_3.solverstate"))
    assert held(other) == before
    assert not list(Path("s").glob(".*"))
    Path("s/run_iter_4.caffemodel").mkdir()
    solver.iteration = 4
    with pytest.raises(NktcError, match=r"cannot write s/run_iter_4.caffemodel: Is a directory$"):
        solver.save()
    assert checkpoint.newest(Path("s/run")) == (Path("s/run_iter_3.solverstate"), [])


# What is found again.


def test_the_newest_whole_snapshot_is_found_and_damaged_ones_are_told(made) -> None:
    made("snapshot=1", "max_iter=11").run()
    for other in ("s/run_iter_99.caffemodel", "s/run_iter_12.solverstate.txt", "s/other_iter_99.solverstate"):
        Path(other).write_bytes(b"no snapshot of this run")
    state = "s/run_iter_{}.solverstate".format
    assert checkpoint.newest(Path("s/run")) == (Path(state(11)), [])  # 11 is more than 9
    Path(state(11)).write_bytes(Path(state(11)).read_bytes()[:-10])
    Path("s/run_iter_10.caffemodel").unlink()
    found, passed_over = checkpoint.newest(Path("s/run"))
    assert found == Path(state(9))
    assert passed_over == [
        f"{state(11)} is not a whole .solverstate: field 3 at byte 270 has 15 bytes, 5 are left",
        f"{state(10)} belongs to the weights s/run_iter_10.caffemodel, which do not exist",
    ]
    found, passed_over = checkpoint.newest(Path("s"))  # a folder has those of all prefixes
    assert (found, len(passed_over)) == (Path(state(9)), 3)


def test_the_best_counts_by_its_iteration_and_caffes_without_more(made) -> None:
    solver = made("max_iter=6")
    solver.run()
    solver.iteration = 5
    solver.save("best")
    assert checkpoint.newest(Path("s/run"))[0] == Path("s/run_iter_6.solverstate")
    solver.iteration = 7
    solver.save("best")
    assert checkpoint.newest(Path("s/run"))[0] == Path("s/run_best.solverstate")
    solver.iteration = 8
    solver.save("diverged")  # would diverge again
    assert checkpoint.newest(Path("s/run"))[0] == Path("s/run_best.solverstate")
    for extra in Path("s").glob("*.extra.safetensors"):
        extra.unlink()
    assert checkpoint.newest(Path("s/run"))[0] == Path("s/run_best.solverstate")


def test_where_no_snapshot_is_none_is_found(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "run", tmp_path / "none/run"):
        assert checkpoint.newest(place) == (None, [])


# What is thrown away.


def test_the_last_snapshots_are_kept_and_the_best(made) -> None:
    solver = made("snapshot=1", "snapshot_keep=2", "ema_decay=0.5")
    solver.iteration = 4
    solver.save("best")
    solver.iteration = 0
    Path("s/other_iter_1.caffemodel").touch()
    Path("s/run_iter_0.caffemodel").touch()  # of another run of that name
    solver.run()
    assert sorted(path.name for path in Path("s").iterdir()) == sorted(
        ["other_iter_1.caffemodel", "run_iter_0.caffemodel"]
        + [
            f"run_{name}{kind}"
            for name in ("best", "iter_8", "iter_9")
            for kind in (".caffemodel", "_average.caffemodel", ".solverstate", ".extra.safetensors")
        ]
    )


def test_a_run_that_goes_on_throws_away_its_own_snapshots_only(made) -> None:
    made("snapshot_keep=2").run()  # 6 and 9
    Path("s/run_iter_5.solverstate").touch()  # somebody else's
    Path("s/run_iter_6.caffemodel").unlink()  # gone already
    rest = made("snapshot_keep=1", "max_iter=12")
    rest.restore(Path("s/run_iter_9.solverstate"))
    rest.run()
    assert {path.name.partition(".")[0] for path in Path("s").iterdir()} == {"run_iter_5", "run_iter_12"}
    fork = made("snapshot_keep=1", "max_iter=15", "snapshot_prefix=t/run")
    fork.restore(Path("s/run_iter_12.solverstate"))
    fork.run()
    assert {path.name.partition(".")[0] for path in Path("s").iterdir()} == {"run_iter_5", "run_iter_12"}
    assert {path.name.partition(".")[0] for path in Path("t").iterdir()} == {"run_iter_15"}


def test_the_newest_is_never_thrown_away(made) -> None:
    solver = made("snapshot_keep=1", "max_iter=3")
    solver.run()
    solver.save()  # once more, as after a signal
    assert checkpoint.newest(Path("s/run"))[0] == Path("s/run_iter_3.solverstate")
