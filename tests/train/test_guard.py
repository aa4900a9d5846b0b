"""A loss that goes bad ends the training: when, where and why is told, and the state before is kept."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from nktc import runs, train, weights
from nktc.errors import NktcError
from nktc.train import events
from nktc.train.guard import EVERY, LOST, WORST, Diverged, Guard, first_fault

INPUT = (
    'layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 32 dim: 8 } shape { dim: 32 } } }\n'
)
FIRST = """layer { name: "first" type: "InnerProduct" bottom: "x" top: "h"
        inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "h" top: "h" }
"""
LAST = """layer { name: "ip" type: "InnerProduct" bottom: "%s" top: "ip"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }
"""
PLAIN = INPUT + FIRST + LAST % "h"


def spoiled(batches, k, row, value, blob=0):
    """The batches with one bad number in batch `k`."""
    batches[k][blob][row].fill_(value)
    return batches


def refusal(solver) -> tuple[NktcError, list]:
    heard = []
    solver.hooks = [heard.append]
    with pytest.raises(NktcError) as caught:
        solver.run()
    assert caught.value.code == "diverged"
    assert str(caught.value.message) in [e.line for e in heard if isinstance(e, events.Said)]
    assert not any(isinstance(e, events.Ended) for e in heard)
    return caught.value, heard


def saved() -> dict[str, np.ndarray]:
    """The weights in the snapshot that is left, all of them finite."""
    blobs = weights.read("solver_diverged.caffemodel")
    found = {f"{layer} {i}": blob for layer, held in blobs.items() for i, blob in enumerate(held)}
    assert all(np.isfinite(blob).all() for blob in found.values())
    state = weights.read_state("solver_diverged.solverstate")
    assert all(np.isfinite(kept).all() for kept in state.history)
    return found | {"iteration": np.array(state.iteration)}


def test_nan_in_the_data_is_told_with_its_blob_and_row_and_the_state_before_is_kept(small, points):
    batches = spoiled(points(5), 3, 17, math.nan)
    solver = small("max_iter: 9 momentum: 0.9 snapshot: 2 snapshot_diff: true", PLAIN, batches)
    error, heard = refusal(solver)
    assert str(error).splitlines() == [
        'net.prototxt:1:20: error: the loss is nan at iteration 3: NaN is in the data, in row 17 of the batch "x",'
        " counted from 0  [diverged]",
        "    1 | " + INPUT.strip(),
        "      |                    ^~~~~~~~~~~~~",
        "note: the state before that iteration is in solver_diverged.solverstate",
        "note: the last snapshot before is solver_iter_2.solverstate",
        "help: mend the data, or leave that record out",
    ]
    assert [e.iteration for e in heard if isinstance(e, events.Stepped)] == [0, 1, 2]
    assert [e.iteration for e in heard if isinstance(e, events.Saved)] == [2]
    assert [e.line for e in heard if isinstance(e, events.Said)] == [
        error.message, *(note.message for note in error.notes)
    ]  # fmt: skip
    # What is kept is what three iterations come to, BatchNorm's sums and momentum included.
    found = saved()
    plain = small("max_iter: 3 momentum: 0.9 snapshot_diff: true snapshot_after_train: true", PLAIN, points(5))
    plain.run()
    blobs = weights.read("solver_iter_3.caffemodel")
    expected = {f"{layer} {i}": blob for layer, held in blobs.items() for i, blob in enumerate(held)}
    assert found.pop("iteration") == 3
    assert found.keys() == expected.keys()
    for name, blob in expected.items():
        np.testing.assert_array_equal(found[name], blob, err_msg=name)
    a, b = (weights.read_state(f"solver_{which}.solverstate").history for which in ("diverged", "iter_3"))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


MIDDLES = {
    'type: "Log"': ('Log "mid": "m" has NaN, made from -', "clip or shift what Log takes, or lower base_lr"),
    'type: "Exp" exp_param { scale: 100 }': ('Exp "mid": "m" has inf, made from -', "clip or shift what Exp takes"),
    'type: "Power" power_param { power: 0.5 shift: -1 }': ('Power "mid": "m" has NaN, made', "clip or shift"),
}


@pytest.mark.parametrize("layer", MIDDLES)
def test_the_layer_that_makes_no_number_is_told_with_what_it_was_given(small, points, layer):
    net = INPUT + FIRST + f'layer {{ name: "mid" {layer} bottom: "h" top: "m" }}\n' + LAST % "m"
    error, _ = refusal(small("", net, points(1)))
    said, help = MIDDLES[layer]
    assert error.message.startswith("the loss is nan at iteration 0: the first layer to go bad is ")
    assert said in error.message
    assert error.help.startswith(help)
    assert (error.at.source.name, error.at.line) == ("net.prototxt", 5)
    assert saved()["iteration"] == 0


def test_a_rate_too_high_is_told_with_the_weights_that_grew(small, points):
    net = INPUT + FIRST.replace("bn", "relu").replace("BatchNorm", "ReLU") + LAST % "h"
    net = net.replace("SoftmaxWithLoss", "EuclideanLoss").replace("num_output: 4", "num_output: 1")
    net = net.replace("shape { dim: 32 } }", "shape { dim: 32 dim: 1 } }")
    error, heard = refusal(small("base_lr: 1e6 max_iter: 100", net, [(x, y.view(-1, 1)) for x, y in points(3)]))
    iteration = max(e.iteration for e in heard if isinstance(e, events.Stepped)) + 1
    assert 0 < iteration < 5
    assert f"at iteration {iteration}" in error.message
    assert "with weights up to " in error.message
    assert error.help == "lower base_lr, warm up with warmup_iter, or set clip_gradients"
    assert saved()["iteration"] == iteration


def test_a_softmax_that_has_fallen_apart_ends_the_training_though_its_loss_has_a_ceiling(small, points):
    # The labels have nothing to do with the points.
    solver = small("base_lr: 1e6 max_iter: 1000", INPUT + LAST % "x", [(x, y.roll(1)) for x, y in points(9)])
    error, heard = refusal(solver)
    losses = [e.loss.item() for e in heard if isinstance(e, events.Stepped)]
    assert max(losses) <= WORST + 1e-3
    assert len(losses) >= LOST
    assert all(loss > WORST / 4 for loss in losses[-LOST + 1 :])
    assert "after 99 that were above 21.8341: the first layer to go bad is InnerProduct" in error.message
    assert saved()["iteration"] == len(losses)


def test_weights_that_are_nan_from_the_start_are_told(small, points):
    solver = small("", PLAIN, points(1))
    with torch.no_grad():
        solver.net.tensor("ip.bias")[2] = math.nan
    error, _ = refusal(solver)
    assert error.message == 'the loss is nan at iteration 0: NaN is in the weights of InnerProduct "ip", bias'
    assert error.help == "start from other weights"
    assert (error.at.source.name, error.at.line) == ("net.prototxt", 5)
    assert not Path("solver_diverged.solverstate").exists()


def test_weights_that_an_update_spoils_are_not_saved(small, points):
    solver = small("max_iter: 8 snapshot: 2", PLAIN, points(3))
    step = solver.step

    def spoil(batches, rate, iteration):
        found = step(batches, rate, iteration)
        if iteration == 5:
            with torch.no_grad():
                solver.net.tensor("first.weight")[0, 0] = math.inf
        return found

    solver.step = spoil
    error, heard = refusal(solver)
    assert (
        error.message == 'the weights are bad after iteration 5: inf is in the weights of InnerProduct "first", weight'
    )
    assert [note.message for note in error.notes] == ["the last snapshot before is solver_iter_4.solverstate"]
    assert [e.iteration for e in heard if isinstance(e, events.Saved)] == [2, 4]


def test_max_loss_bounds_the_loss(small, points):
    batches = points(3)
    first = small("", PLAIN, batches)
    losses = []
    first.hooks = [lambda e: losses.append(e.loss.item()) if isinstance(e, events.Stepped) else None]
    first.run()
    error, _ = refusal(small(f"max_loss: {losses[0] * 0.9}", PLAIN, batches))
    assert error.message == f"the loss is {losses[0]:g} at iteration 0, above {losses[0] * 0.9:g}"
    small(f"max_loss: {max(losses) * 1.01}", PLAIN, batches).run()


@pytest.mark.parametrize("batch", [0, 1])
def test_with_iter_size_the_batch_is_told(small, points, batch):
    batches = spoiled(points(6), 2 + batch, 4, math.inf)
    error, _ = refusal(small("iter_size: 2 max_iter: 3", PLAIN, batches))
    assert error.message.startswith(
        f"the loss is nan at iteration 1, in batch {batch + 1} of 2: inf is in the data, in row 4"
    )
    assert saved()["iteration"] == 1


def test_of_several_losses_the_one_that_goes_bad_is_told(small, points):
    aside = """layer { name: "aside" type: "Log" bottom: "h" top: "l" }
layer { name: "far" type: "EuclideanLoss" bottom: "l" bottom: "h" top: "far" loss_weight: 0.1 }
"""
    error, _ = refusal(small("", INPUT + FIRST + aside + LAST % "h", points(1)))
    assert 'the first layer to go bad is Log "aside"' in error.message
    shared_first = aside.replace('"Log"', '"TanH"')
    small("", INPUT + FIRST + shared_first + LAST % "h", points(1)).run()


def test_a_recurrent_net_keeps_the_state_before(small):
    net = """layer { name: "in" type: "Input" top: "x" top: "c" top: "t" input_param {
  shape { dim: 5 dim: 2 dim: 3 } shape { dim: 5 dim: 2 } shape { dim: 5 dim: 2 dim: 4 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "c" top: "h"
        recurrent_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "h" bottom: "t" top: "loss" }
"""
    draws = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(5, 2, 3, generator=draws), torch.ones(5, 2), torch.randn(5, 2, 4, generator=draws))
        for _ in range(4)
    ]
    plain = small("max_iter: 2", net, batches)
    plain.run()
    error, _ = refusal(solver := small("max_iter: 4", net, spoiled(batches, 2, 3, math.nan)))
    assert 'in row 3 of the batch "x"' in error.message
    assert saved()["iteration"] == 2
    carried = [p.name for p in plain.net.graph.parameters.values() if p.weight.volatile]
    assert carried
    solver.guard.undo()  # telling the layer ran it once more
    for name in carried:
        assert torch.equal(solver.net.tensor(name), plain.net.tensor(name))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5])
def test_large_losses_that_are_meant_go_on(small, points, scale):
    net = (
        INPUT.replace("shape { dim: 32 } }", "shape { dim: 32 dim: 1 } }")
        + """
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 1 } }
layer { name: "sum" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "sum" loss_weight: 32 }
"""
    )
    solver = small("base_lr: 1e-4 max_iter: 30", net, [(x, scale * y.view(-1, 1)) for x, y in points(3)])
    losses = []
    solver.hooks = [lambda e: losses.append(e.loss.item()) if isinstance(e, events.Stepped) else None]
    solver.run()
    assert losses[0] > 10 * scale**2
    assert losses[-1] < losses[0]


def test_a_loss_that_is_high_from_the_start_may_go_down(small, points):
    # Scores in the hundreds: near the ceiling, but that is where it began.
    net = INPUT + (LAST % "x").replace('"xavier"', '"gaussian" std: 60')
    solver = small("base_lr: 1e-6 max_iter: 150", net, points(3))
    losses = []
    solver.hooks = [lambda e: losses.append(e.loss.item()) if isinstance(e, events.Stepped) else None]
    solver.run()
    assert min(losses) > WORST / 4


def test_a_bound_of_a_million_times_the_first_loss_is_taken(small, points):
    solver = small("", PLAIN, points(1))
    for first, most in ((0.5, 1e6), (-3.0, 3e6), (200.0, 2e8)):
        guard = Guard(solver.net, 0)
        guard.record(torch.tensor(first))
        guard.check([])
        assert guard.most == pytest.approx(most)
        guard.record(torch.tensor(most * 0.99))
        guard.check([])
        for bad in (most * 1.01, -most * 1.01, math.nan, math.inf):
            guard.record(torch.tensor(bad))
            with pytest.raises(Diverged):
                guard.check([])
    for bad in (math.inf, -math.inf, math.nan):
        guard = Guard(solver.net, 0)
        guard.record(torch.tensor(bad))
        with pytest.raises(Diverged):
            guard.check([])


def test_the_bound_goes_on_after_a_resume_unless_max_loss_is_given(small, points):
    solver = small("max_iter: 2 snapshot: 2", PLAIN, points(2))
    solver.run()
    more = small("max_iter: 3", PLAIN, points(2))
    more.restore(Path("solver_iter_2.solverstate"))
    assert more.guard.most == solver.guard.most > 1e6
    told = small("max_iter: 3 max_loss: 50", PLAIN, points(2))
    told.restore(Path("solver_iter_2.solverstate"))
    assert told.guard.most == 50


def test_half_precision_is_blamed_in_half_precision(small, points):
    # 65504 is the largest in FP16: the product overflows there alone.
    net = INPUT + LAST % "x"
    batches = [(x.abs() * 1e3, y) for x, y in points(1)]
    for kind in ("FP32", "FP16"):
        solver = small(f"precision: {kind} base_lr: 1e-9 max_iter: 1", net, batches)
        with torch.no_grad():
            solver.net.tensor("ip.weight").fill_(100)
        if kind == "FP32":
            solver.run()
        else:
            error, _ = refusal(solver)
            assert 'InnerProduct "ip": "ip" has inf' in error.message


def test_a_net_that_is_well_has_no_fault(small, points):
    solver = small("", PLAIN, points(1))
    assert first_fault(solver.net, solver.feeding.batch(0)) is None
    fault = first_fault(solver.net, solver.feeding.batch(0), bound=1e-3)
    assert fault
    assert fault.said.startswith('the first layer to go bad is InnerProduct "first"')
    assert 1 < EVERY < 1000


def test_a_run_that_diverges_says_so_to_whoever_looks(tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    shown = io.StringIO()
    options = train.Options(["base_lr=1e6", "speed=exact"], run_dir=tmp_path / "run", device="cpu")
    with pytest.raises(NktcError) as caught:
        train.launch(Path("solvers/digits_quick.prototxt"), options, Console(file=shown, width=200))
    message = caught.value.message
    assert re.fullmatch(r"the loss is nan at iteration \d: the first layer to go bad is \w+ \"\w+\": .*", message)
    assert str(caught.value.at).startswith("nets/digits_quick/train.prototxt:")
    run = runs.open_run(tmp_path / "run")
    assert message in shown.getvalue()
    assert message in run.log.read_text()
    said = [event["line"] for event in run.events() if event["event"] == "said"]
    assert said[0] == message
    assert (run.snapshots / "digits_quick_diverged.solverstate").exists()
    assert not any(event["event"] in ("saved", "ended") for event in run.events())
