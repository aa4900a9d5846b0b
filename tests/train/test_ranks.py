"""Two ranks on the CPU, each a process, against one process that takes the same batches."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import distributed

from nktc import data, layers, module, reader, train
from nktc.errors import NktcError
from nktc.ir import Feed, Phase
from nktc.train import ranks
from nktc.train.ranks import ALONE, Ranks
from nktc.train.synchronising import synchronised

DIGITS = """
layer { name: "digits" type: "Dataset" top: "data" top: "label"
        dataset_param { name: "digits" batch_size: 20 shuffle: true } transform_param { scale: 0.01 } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
        inner_product_param { num_output: 16 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: 2 }
        inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
"""

NORM = """
layer { name: "x" type: "Input" top: "x" top: "t"
        input_param { shape { dim: %d dim: 3 dim: 4 } shape { dim: %d dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" param { lr_mult: 1 }
        inner_product_param { num_output: 5 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "ip" top: "norm" }
layer { name: "scale" type: "Scale" bottom: "norm" top: "norm" scale_param { bias_term: true } }
layer { name: "out" type: "InnerProduct" bottom: "norm" top: "out"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "out" bottom: "t" top: "loss" }
"""

SOLVER = """net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" random_seed: 1 snapshot_after_train: false test_iter: 6
test_interval: 5 average_loss: 3 clip_gradients: 1000 weight_decay: 0.001 momentum: 0.9 """


class Halves(data.Stream):
    """Batches of one size, drawn by their number; or of twice the size, two of those behind each other."""

    resident = True

    def __init__(self, size: int, double: bool) -> None:
        self.size, self.double = size, double
        self.feed = Feed(((size * (1 + double), 3, 4), (size * (1 + double), 2)))

    def batch(self, k: int) -> tuple[torch.Tensor, ...]:
        if self.double:
            pairs = zip(self.half(2 * k), self.half(2 * k + 1), strict=True)
            return tuple(torch.cat(pair) for pair in pairs)
        return self.half(k)

    def half(self, k: int) -> tuple[torch.Tensor, ...]:
        numbers = torch.Generator().manual_seed(k)
        x, t = torch.randn(self.size, 3, 4, generator=numbers), torch.randn(self.size, 2, generator=numbers)
        return 3 + (1 + k % 3) * x, t


def told(group: Ranks, folder: Path, solver: str, net: str) -> train.Settings:
    """The settings of a solver's text, in a folder that the ranks share."""
    if not group.rank:
        (folder / "net.prototxt").write_text(net)
        (folder / "solver.prototxt").write_text(solver)
    group.gather(None)
    return train.read(folder / "solver.prototxt")


def solver_of(group: Ranks, folder: Path, text: str, net: str = DIGITS) -> train.Solver:
    """A solver on the CPU whose data is what its net says."""
    settings = told(group, folder, SOLVER + text, net)
    graphs = [reader.build(settings.train_net, Phase.TRAIN, feeds=lambda layer: data.describe(layer, folder))]
    graphs += [
        reader.build(test.net, Phase.TEST, feeds=lambda layer: data.describe(layer, folder))
        for test in settings.test_nets
    ]
    feeds = [
        train.open_feeding(g, data.Places.from_environment(), folder, 1, torch.device("cpu"), group) for g in graphs
    ]
    nets = [module.compile(g, 1) for g in graphs]
    tests = list(zip(nets[1:], feeds[1:], strict=True))
    return train.Solver(settings, nets[0], feeds[0], tests, hooks=[group.hear], ranks=group, seed=1)


def told_by(solver: train.Solver) -> dict[str, Any]:
    """What a run leaves and says: weights, losses, rank 0's scores of tests."""
    said: dict[str, Any] = {"losses": [], "scores": []}

    def hear(event: train.Event) -> None:
        match event:
            case train.Stepped(_, loss, outputs, _):
                said["losses"].append((loss.item(), outputs["loss"].item(), solver.smoothed()))
            case train.Tested(_, _, scores, loss):
                said["scores"].append([loss.item(), *(scores[name].item() for name in sorted(scores))])

    solver.hooks = [*solver.hooks, hear]
    solver.run()
    return said | {"weights": solver.net.arrays()}


def a_run(group: Ranks, folder: Path, text: str, net: str = DIGITS) -> dict[str, Any]:
    return told_by(solver_of(group, folder, text, net))


def a_run_with_a_snapshot(group: Ranks, folder: Path, text: str, at: int) -> dict[str, Any]:
    """Saves after `at` iterations and goes on."""
    solver = solver_of(group, folder, f"{text} snapshot: {at} snapshot_prefix: '{folder / 's'}'")
    return told_by(solver)


def a_resumed_run(group: Ranks, folder: Path, text: str, at: int) -> dict[str, Any]:
    solver = solver_of(group, folder, text)
    solver.restore(folder / f"s_iter_{at}.solverstate")
    return told_by(solver)


def a_normalised_run(group: Ranks, folder: Path, double: bool, wanted: bool) -> dict[str, Any]:
    """Three steps of a net with BatchNorm, on batches whose means and deviations differ."""
    size = 8 if double else 4
    text = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 3'
    settings = told(group, folder, text, NORM % (size, size))
    graph = synchronised(reader.build(settings.train_net, Phase.TRAIN), wanted)
    net = module.compile(graph, 1)
    feeding = train.Feeding([Halves(4, double)], group.rank, group.size)
    solver = train.Solver(settings, net, feeding, ranks=group)
    batches = feeding.ahead(0)
    losses = [solver.step(batches, 0.1, i)[0].item() for i in range(3)]
    return {"losses": losses, "weights": net.arrays()}


def a_run_stopped_in_a_test(group: Ranks, folder: Path) -> dict[str, Any]:
    """Rank 1 is asked to stop when the second test, of three batches a rank, begins."""
    solver = solver_of(group, folder, "max_iter: 10")
    said: dict[str, Any] = {"tested": [], "batches": 0}

    def hear(event: train.Event) -> None:
        match event:
            case train.Testing(5, _):
                said["batches"] = 0
                solver.stop_asked |= group.rank == 1
            case train.Tested(iteration):
                said["tested"].append(iteration)

    def count(*_: object) -> None:
        said["batches"] += 1

    solver.hooks = [*solver.hooks, hear]
    solver.tests[0][0].register_forward_hook(count)
    solver.run()
    return said | {"iteration": solver.iteration, "stopped": solver.stopping}


def what_is_agreed(group: Ranks) -> list[Any]:
    """Rank 1 asks for a snapshot in the second call and for a stop from the fourth on."""
    asked = [group.agree(group.rank == 1 and i >= 3, group.rank == 1 and i == 1) for i in range(6)]
    return [asked, group.gather(("from", group.rank))]


def sums(group: Ranks) -> list[Any]:
    tensors = [torch.full((2, 2), 1.0 + group.rank), torch.tensor(10.0 * group.rank)]
    group.total(tensors)
    outputs = {"one": torch.tensor([[1.0 + group.rank]]), "many": torch.arange(2.0) + group.rank}
    loss, means = group.mean(torch.tensor(float(group.rank)), outputs)
    return [[t.tolist() for t in tensors], loss.item(), {name: y.tolist() for name, y in means.items()}]


def recurrent_state(group: Ranks, folder: Path) -> list[float]:
    """Of a net whose state goes on from batch to batch, after three steps on batches that differ between ranks."""
    net = """
    layer { name: "x" type: "Input" top: "x" top: "on" top: "t"
            input_param { shape { dim: 2 dim: 1 dim: 3 } shape { dim: 2 dim: 1 } shape { dim: 2 dim: 1 dim: 2 } } }
    layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "on" top: "y"
            recurrent_param { num_output: 2 weight_filler { type: "uniform" min: -1 max: 1 } } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
    """
    settings = told(group, folder, 'net: "net.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 3', net)
    compiled = module.compile(reader.build(settings.train_net, Phase.TRAIN), 1)
    solver = train.Solver(settings, compiled, train.Feeding([]), ranks=group)
    blobs = (torch.full((2, 1, 3), 1.0 - 2 * group.rank), torch.ones(2, 1), torch.zeros(2, 1, 2))
    for i in range(3):
        solver.step(iter([blobs]), 0.0, i)
    parameters = compiled.graph.parameters.values()
    return [x for p in parameters if p.weight.volatile for x in compiled.tensor(p.name).flatten().tolist()]


def sums_in_a_test(group: Ranks, folder: Path) -> dict[str, Any]:
    """Scores of a test net that normalises by the sums of the training net, which each rank gathers by itself."""
    norm = 'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "norm" }'
    first = 'layer { name: "ip1"'
    return a_run(
        group,
        folder,
        "max_iter: 5",
        DIGITS.replace(first, f"{norm}\n{first}").replace('"data" top: "ip1"', '"norm" top: "ip1"'),
    )


def refusal(group: Ranks, who: tuple[int, ...], same: bool) -> None:
    if group.rank in who:
        raise NktcError("no" if same else f"no, says rank {group.rank}")
    group.gather(None)


def crash(group: Ranks) -> None:
    if group.rank:
        raise ValueError("a bug")
    group.gather(None)


def a_place(group: Ranks, *names: str) -> None:
    with mock.patch.object(ranks, "identity", lambda device: str(device).removeprefix("cpu")):  # as if they were there
        group.place(torch.device(names[group.rank]))


def _serve(rank: int, pipe: Connection) -> None:
    """A rank's process: joins for every call, and sends back what it gave or how it left."""
    torch.set_num_threads(1)
    while task := pipe.recv():
        environment, function, arguments = task
        os.environ |= environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        try:
            with ranks.join() as group:
                found = function(group, *arguments)
        except (Exception, SystemExit) as error:
            found = error
        for name in environment:
            os.environ.pop(name, None)
        pipe.send(found)


@pytest.fixture(scope="module")
def pair() -> Iterator[Callable[..., list[Any]]]:
    """Call a function in two ranks, with its own group of them each time: what the ranks give."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(2):
        here, there = context.Pipe()
        processes.append(context.Process(target=_serve, args=(rank, there), daemon=True))
        processes[-1].start()
        pipes.append(here)

    def call(function: Callable[..., Any], *arguments: Any, watched: bool = True) -> list[Any]:
        environment = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
        if watched:
            store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            environment |= {ranks.PARENT: str(os.getpid()), "MASTER_PORT": str(store.port)}
        else:  # rank 0 is the host of the store
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                environment["MASTER_PORT"] = str(free.getsockname()[1])
        for pipe in pipes:
            pipe.send((environment, function, arguments))
        return [pipe.recv() for pipe in pipes]

    yield call
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()


def code(left: Any) -> object:
    """The exit code that a rank left with."""
    assert isinstance(left, SystemExit), repr(left)
    return left.code


def assert_close(found: dict[str, Any], expected: dict[str, Any], tolerance: float = 1e-6) -> None:
    assert not isinstance(found, BaseException), repr(found)
    for name, values in expected["weights"].items():
        np.testing.assert_allclose(found["weights"][name], values, rtol=tolerance, atol=tolerance, err_msg=name)
    for what in ("losses", "scores"):
        if what in expected:
            np.testing.assert_allclose(found[what], expected[what], rtol=tolerance, atol=tolerance, err_msg=what)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_two_ranks_are_one_process_with_iter_size_2(kind: str, pair, tmp_path: Path) -> None:
    text = f'max_iter: 10 type: "{kind}" '
    alone = a_run(ALONE, tmp_path, text + "iter_size: 2")
    first, second = pair(a_run, tmp_path, text)
    assert_close({**first, "losses": _means(first)}, {**alone, "losses": _means(alone)})
    assert (first["losses"], first["scores"]) == (second["losses"], second["scores"])
    assert all((first["weights"][name] == second["weights"][name]).all() for name in first["weights"])
    assert len(first["scores"]) == 3


def test_iter_size_2_on_two_ranks_is_iter_size_4(pair, tmp_path: Path) -> None:
    alone = a_run(ALONE, tmp_path, "max_iter: 5 iter_size: 4")
    first, _ = pair(a_run, tmp_path, "max_iter: 5 iter_size: 2")
    assert_close({**first, "losses": _means(first)}, {**alone, "losses": _means(alone)})


def _means(run: dict[str, Any]) -> list[tuple[float, float]]:
    """Losses without the last forward's own, which one process has of its last batch alone."""
    return [(loss, smoothed) for loss, _, smoothed in run["losses"]]


def test_two_ranks_resume_to_the_bit(pair, tmp_path: Path) -> None:
    whole = pair(a_run_with_a_snapshot, tmp_path, "max_iter: 8", 4)
    rest = pair(a_resumed_run, tmp_path, "max_iter: 8", 4)
    for one, other in zip(whole, rest, strict=True):
        assert one["losses"][4:] == other["losses"]
        assert all((one["weights"][name] == other["weights"][name]).all() for name in one["weights"])


def test_a_snapshot_of_two_ranks_resumes_in_one_process_and_the_other_way_around(pair, tmp_path: Path) -> None:
    for folder in ("two", "one"):
        (tmp_path / folder).mkdir()
    (whole, _) = pair(a_run_with_a_snapshot, tmp_path / "two", "max_iter: 8", 4)
    a_run_with_a_snapshot(ALONE, tmp_path / "one", "max_iter: 4 iter_size: 2", 4)
    expected = {"weights": whole["weights"]}
    assert_close(a_resumed_run(ALONE, tmp_path / "two", "max_iter: 8 iter_size: 2", 4), expected)
    assert_close(pair(a_resumed_run, tmp_path / "one", "max_iter: 8", 4)[0], expected)


@pytest.mark.parametrize("wanted", [True, False])
def test_synchronised_batch_norm_is_that_of_one_process_with_both_batches(wanted: bool, pair, tmp_path: Path) -> None:
    double = a_normalised_run(ALONE, tmp_path, True, wanted)
    first, second = pair(a_normalised_run, tmp_path, False, wanted)
    if wanted:
        assert_close(first, double)
        assert_close(second, {"weights": double["weights"]})
    else:
        assert max(abs(first["weights"][name] - w).max() for name, w in double["weights"].items()) > 1e-3


def test_a_synchronised_batch_norm_alone_or_without_gradients_takes_its_own_batch(read) -> None:
    graph = synchronised(read(NORM % (4, 4), Phase.TRAIN), True)
    plain = module.compile(read(NORM % (4, 4), Phase.TRAIN), 1)
    batch = Halves(4, False).batch(0)
    torch.testing.assert_close(module.compile(graph, 1)(*batch), plain(*batch), rtol=0, atol=0)


def test_without_sync_batch_norm_the_graph_stays(read) -> None:
    graph = read(NORM % (4, 4), Phase.TRAIN)
    assert synchronised(graph, False) is graph
    tested = synchronised(read(NORM % (4, 4), Phase.TEST), True)
    assert not any(isinstance(node.layer, layers.BatchNorm) and node.layer.over_ranks for node in tested)


def test_a_test_takes_rank_0s_batch_norm_sums(pair, tmp_path: Path) -> None:
    first, second = pair(sums_in_a_test, tmp_path)
    assert first["scores"] == second["scores"]
    for name in ("norm.mean", "norm.variance"):
        np.testing.assert_array_equal(first["weights"][name], second["weights"][name])


def test_a_recurrent_state_stays_with_its_rank(pair, tmp_path: Path) -> None:
    first, second = pair(recurrent_state, tmp_path)
    assert len(first) == 4
    assert first != second


def test_an_output_beside_the_loss_and_a_weight_that_it_does_not_reach_do_not_matter(pair, tmp_path: Path) -> None:
    # `aside` is an output that has a gradient and no part in the loss.
    aside = """force_backward: true
    layer { name: "aside" type: "InnerProduct" bottom: "ip1" top: "aside" inner_product_param { num_output: 1
            weight_filler { type: "xavier" } } }
    layer { name: "mean" type: "Reduction" bottom: "aside" top: "mean" }"""
    alone = a_run(ALONE, tmp_path, "max_iter: 4 iter_size: 2", DIGITS + aside)
    first, _ = pair(a_run, tmp_path, "max_iter: 4", DIGITS + aside)
    assert_close({"weights": first["weights"]}, {"weights": alone["weights"]})


def test_the_objective_reaches_what_it_has_a_gradient_for(read) -> None:
    cut = NORM.replace('bottom: "norm" top: "out"', 'bottom: "norm" top: "out" propagate_down: false')
    graph = read(cut % (4, 4), Phase.TRAIN)
    assert ranks.reached(graph) == {"out.weight", "out.bias"}
    largest = (
        'layer { name: "most" type: "ArgMax" bottom: "norm" top: "most" argmax_param { axis: 1 } }\nlayer { name: "out"'
    )
    most = NORM.replace('layer { name: "out"', largest).replace(
        'bottom: "norm" top: "out"', 'bottom: "most" top: "out"'
    )
    assert ranks.reached(read(most % (4, 4), Phase.TRAIN)) == {"out.weight", "out.bias"}


def test_what_one_rank_asks_for_all_do_at_the_same_iteration(pair) -> None:
    first, second = pair(what_is_agreed)
    assert first == second
    asked, gathered = first
    assert asked == [(False, False), (False, False), (False, True), (False, False), (True, False), (True, False)]
    assert gathered == [("from", 0), ("from", 1)]


def test_a_test_that_one_rank_is_to_leave_is_left_by_all_at_the_same_batch(pair, tmp_path: Path) -> None:
    first, second = pair(a_run_stopped_in_a_test, tmp_path)
    assert first == second == {"tested": [0], "batches": 1, "iteration": 5, "stopped": True}


def test_totals_and_means_are_over_ranks(pair) -> None:
    first, second = pair(sums)
    assert first[:2] == second[:2] == [[[[3.0, 3.0], [3.0, 3.0]], 10.0], 0.5]
    assert first[2] == {"one": [[1.5]], "many": [0.0, 1.0]}
    assert second[2] == {"one": [[1.5]], "many": [1.0, 2.0]}


@pytest.mark.parametrize("watched", [True, False])
def test_a_mistake_that_all_ranks_find_is_told_by_rank_0(watched: bool, pair) -> None:
    first, second = pair(refusal, (0, 1), True, watched=watched)
    assert str(first) == "error: no"
    assert code(second) == 1


def test_a_mistake_that_one_rank_finds_is_told_by_it(pair) -> None:
    first, second = pair(refusal, (1,), False, watched=False)
    assert str(second) == "error: no, says rank 1"
    assert code(first) == ranks.LOST


def test_a_rank_that_is_lost_ends_the_others_with_a_clear_error(pair) -> None:
    first, second = pair(crash, watched=False)
    assert isinstance(second, ValueError)
    assert str(first).startswith("error: rank 0 lost the other ranks: ")
    assert "--snapshot latest" in str(first)
    assert "gloo" not in str(first)
    first, _ = pair(crash)
    assert code(first) == ranks.LOST  # whoever started the ranks says it


def test_two_ranks_do_not_share_a_gpu_nor_mix_with_the_cpu(pair) -> None:
    first, second = pair(a_place, "cuda:0", "cuda:0")
    assert str(first).startswith("error: ranks 0 and 1 are both to train on cuda:0\n")
    assert code(second) == 1
    first, _ = pair(a_place, "cpu", "cuda:0")
    assert str(first).startswith("error: rank 0 is to train on cpu, rank 1 on cuda:0\n")


def test_a_process_by_itself_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with ranks.join() as group:
        assert group is ALONE
    assert (ranks.started(), ranks.local_rank(), ranks.restarted()) == (False, 0, False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    with ranks.join() as group:
        assert group is ALONE
    assert ranks.restarted()
    assert not ranks.may_restart()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert ranks.may_restart()
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(NktcError, match='WORLD_SIZE is "many" in the environment'), ranks.join():
        pass


def test_ranks_that_nobody_answers_say_where_they_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "PATIENCE", ranks.SAME / 10)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NktcError, match=r"rank 1 of 2 cannot reach the others at 127\.0\.0\.1:9: "), ranks.join():
        pass
