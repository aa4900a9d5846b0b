"""Every field of a solver does something, or is known to do nothing: where each is tested, and the tests of those that
whole runs show."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from nktc import module, runs, train, weights
from nktc.schema import SolverParameter

FORMULAS = "test_optimizers.py::test_six_updates_are_those_of_the_formulas"
POLICIES = "test_schedules.py::test_caffes_policies_are_their_formulas"
EPOCHS = "test_settings.py::test_epochs_come_to_iterations"
HERE = "test_every_field.py"
TESTED = {
    "net": "test_settings.py::test_a_net_is_found_beside_its_solver_too",
    "net_param": "test_settings.py::test_a_net_inside_a_solver_may_have_blocks",
    "train_net": f"{HERE}::test_nets_of_their_own_are_trained_and_tested",
    "test_net": f"{HERE}::test_nets_of_their_own_are_trained_and_tested",
    "train_net_param": f"{HERE}::test_nets_of_their_own_are_trained_and_tested",
    "test_net_param": "test_settings.py::test_nets_are_tested_in_caffes_order_each_in_its_state",
    "train_state": f"{HERE}::test_states_choose_the_layers",
    "test_state": f"{HERE}::test_states_choose_the_layers",
    "test_iter": f"{HERE}::test_tests_are_made_when_and_as_long_as_said",
    "test_interval": f"{HERE}::test_tests_are_made_when_and_as_long_as_said",
    "test_compute_loss": f"{HERE}::test_the_loss_of_a_test_is_printed_on_request",
    "test_initialization": f"{HERE}::test_tests_are_made_when_and_as_long_as_said",
    "base_lr": POLICIES,
    "display": f"{HERE}::test_the_shown_loss_is_the_mean_of_the_last",
    "average_loss": f"{HERE}::test_the_shown_loss_is_the_mean_of_the_last",
    "max_iter": f"{HERE}::test_tests_are_made_when_and_as_long_as_said",
    "iter_size": "test_step.py::test_the_loss_of_an_iteration_is_the_mean_of_its_batches",
    "lr_policy": POLICIES,
    "gamma": POLICIES,
    "power": POLICIES,
    "momentum": FORMULAS,
    "weight_decay": FORMULAS,
    "regularization_type": FORMULAS,
    "stepsize": POLICIES,
    "stepvalue": POLICIES,
    "clip_gradients": FORMULAS,
    "snapshot": f"{HERE}::test_snapshots_are_written_when_and_where_said",
    "snapshot_prefix": f"{HERE}::test_snapshots_are_written_when_and_where_said",
    "snapshot_diff": "test_checkpoint.py::test_snapshot_diff_holds_what_the_last_update_took_off",
    "snapshot_format": f"{HERE}::test_snapshots_are_written_when_and_where_said",
    "solver_mode": f"{HERE}::test_the_device_is_the_one_that_is_named",
    "device_id": f"{HERE}::test_the_device_is_the_one_that_is_named",
    "random_seed": f"{HERE}::test_a_seed_makes_the_same_run_again",
    "type": FORMULAS,
    "delta": FORMULAS,
    "momentum2": FORMULAS,
    "rms_decay": FORMULAS,
    "debug_info": "test_debug_info.py::test_every_line_has_the_name_and_the_number_that_caffe_computed",
    "snapshot_after_train": f"{HERE}::test_snapshots_are_written_when_and_where_said",
    "solver_type": "test_settings.py::test_an_override_may_use_an_old_spelling",
    "layer_wise_reduce": f"{HERE}::test_what_has_no_effect_has_none",
    "weights": f"{HERE}::test_weights_to_start_from_are_taken_a_later_file_first",
    "warmup_iter": "test_schedules.py::test_a_warm_up_goes_straight_from_warmup_lr_to_what_the_policy_says",
    "warmup_lr": "test_schedules.py::test_a_warm_up_goes_straight_from_warmup_lr_to_what_the_policy_says",
    "min_lr": "test_schedules.py::test_cosine_is_torchs_cosine_annealing",
    "rise": "test_schedules.py::test_onecycle_is_torchs_but_for_its_last_step",
    "plateau_tests": "test_watch.py::test_plateau_lowers_the_rate_of_a_run",
    "plateau_winsize": "test_schedules.py::test_ssds_plateau_waits_for_a_lower_loss_as_long_as_each_window",
    "rampup_interval": "test_schedules.py::test_nvidias_rampup_rises_with_the_square_of_the_iteration",
    "rampup_lr": "test_schedules.py::test_nvidias_rampup_rises_with_the_square_of_the_iteration",
    "metric": "test_watch.py::test_a_metric_is_the_accuracy_unless_said_and_losses_get_better_downwards",
    "metric_goal": "test_watch.py::test_a_metric_is_the_accuracy_unless_said_and_losses_get_better_downwards",
    "metric_gain": "test_watch.py::test_plateau_drops_where_torchs_does_with_one_patience_less",
    "early_stop_tests": "test_watch.py::test_a_run_that_gains_nothing_stops_and_says_so",
    "snapshot_best": "test_watch.py::test_the_best_snapshot_has_the_weights_of_the_best_test",
    "snapshot_keep": f"{HERE}::test_snapshots_are_written_when_and_where_said",
    "ema_decay": "test_average.py::test_the_average_is_its_closed_form",
    "max_epoch": EPOCHS,
    "test_epoch": EPOCHS,
    "snapshot_epoch": EPOCHS,
    "stepsize_epoch": EPOCHS,
    "stepvalue_epoch": EPOCHS,
    "warmup_epoch": EPOCHS,
    "test_all": f"{HERE}::test_a_whole_test_takes_every_record_once",
    "max_seconds": f"{HERE}::test_a_run_ends_when_its_time_is_over",
    "freeze": "test_freezing.py::test_what_a_pattern_names_stays_to_the_bit_and_all_else_learns",
    "deterministic": f"{HERE}::test_a_deterministic_run_asks_torch_for_it",
    "precision": "test_precision.py::test_bf16_learns_the_digits_as_well_as_fp32",
    "loss_scale": "test_precision.py::test_a_fixed_scale_stays",
    "speed": "test_step.py::test_another_way_to_run_it_changes_rounding_only",
    "larc": FORMULAS,
    "larc_policy": FORMULAS,
    "larc_eta": FORMULAS,
    "sync_batch_norm": "test_ranks.py::test_synchronised_batch_norm_is_that_of_one_process_with_both_batches",
    "max_loss": "test_guard.py::test_max_loss_bounds_the_loss",
}

DATA = """
layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 6 dim: 5 } shape { dim: 6 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
"""
NET = f"""
name: "small" {DATA}
layer {{ name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
        inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" loss_weight: 2 }}
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" solver_mode: CPU speed: "exact" random_seed: 5\n'


class Ran:
    """A run that is over: its outcome, its log without the times, its journal."""

    def __init__(self, outcome: train.Outcome, shown: str) -> None:
        self.outcome, self.shown, self.run = outcome, shown, outcome.run
        self.log = [line.partition("] ")[2] for line in self.run.log.read_text().splitlines()]

    def events(self, kind: str) -> list[dict]:
        return [event for event in self.run.events() if event["event"] == kind]


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Run a solver over the net above, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)

    def go(solver: str, **more: object) -> Ran:
        Path("s.prototxt").write_text(solver)
        shown = io.StringIO()
        outcome = train.launch(Path("s.prototxt"), train.Options(**more), Console(file=shown, width=200))
        return Ran(outcome, shown.getvalue())

    return go


def test_every_field_is_tested_somewhere():
    assert list(TESTED) == [field.name for field in SolverParameter.DESCRIPTOR.fields]
    for place in set(TESTED.values()):
        file, _, name = place.partition("::")
        text = (Path(__file__).parent / file).read_text()
        assert f"def {name}(" in text, place


def test_nets_of_their_own_are_trained_and_tested(ran, tmp_path):
    (tmp_path / "a.prototxt").write_text(NET.replace("small", "a"))
    (tmp_path / "b.prototxt").write_text(NET.replace("small", "b").replace('"loss" type', '"other" type'))
    tests = 'test_net: "a.prototxt" test_net: "b.prototxt" test_iter: 1 test_iter: 2 test_interval: 1 max_iter: 1\n'
    solver = SOLVER.replace('net: "net.prototxt"', 'train_net: "net.prototxt"') + tests
    found = ran(solver)
    assert "Solving small" in found.log
    assert [event["net"] for event in found.events("tested")] == [0, 1, 0, 1]
    assert (found.run.net(None).exists(), found.run.net(0).exists(), found.run.net(1).exists()) == (True, True, True)
    inside = SOLVER.replace('net: "net.prototxt"', f"train_net_param {{ {NET.replace('small', 'inside')} }}") + tests
    assert "Solving inside" in ran(inside).log


def test_states_choose_the_layers(ran, tmp_path):
    aside = """layer { name: "%s" type: "EuclideanLoss" bottom: "ip" bottom: "ip" top: "%s" include { %s } }\n"""
    rules = {"deep": "min_level: 2", "wide": 'stage: "wide"'}
    more = "".join(
        aside % (name, name, f"phase: {phase} {rule}") for phase in ("TRAIN", "TEST") for name, rule in rules.items()
    )
    (tmp_path / "net.prototxt").write_text(NET + more)
    states = 'train_state { level: 2 } test_state { stage: "wide" } test_state { level: 3 stage: "wide" }'
    found = ran(SOLVER + f"max_iter: 1 display: 1 test_iter: 1 test_iter: 1 test_interval: 1 {states}\n")
    trained = {m[1] for line in found.log if (m := re.match(r" +Train net output #\d: (\w+)", line))}
    assert trained == {"loss", "deep"}
    assert [set(event["scores"]) for event in found.events("tested")][:2] == [
        {"loss", "wide"},
        {"loss", "wide", "deep"},
    ]


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ("test_interval: 2", [0, 2, 4]),
        ("test_interval: 2 test_initialization: false", [2, 4]),
        ("test_interval: 3", [0, 3]),
        ("test_interval: 3 max_iter: 6", [0, 3, 6]),
    ],
)
def test_tests_are_made_when_and_as_long_as_said(ran, more, at, monkeypatch):
    made = []
    evaluate = train.evaluate
    monkeypatch.setattr(
        "nktc.train.solver.evaluate",
        lambda o, f, iterations, *rest: made.append(iterations) or evaluate(o, f, iterations, *rest),
    )
    solver = SOLVER + f"test_iter: 3 {more} {'' if 'max_iter' in more else 'max_iter: 4'}\n"
    found = ran(solver)
    assert [event["iteration"] for event in found.events("tested")] == at
    assert made == [3] * len(at)
    assert found.outcome.iteration == (6 if "max_iter" in more else 4)


def test_the_loss_of_a_test_is_printed_on_request(ran):
    tests = "test_iter: 2 test_interval: 2 max_iter: 2\n"
    assert not any(line.startswith("Test loss: ") for line in ran(SOLVER + tests).log)
    found = ran(SOLVER + tests + "test_compute_loss: true\n")
    losses = [float(line.removeprefix("Test loss: ")) for line in found.log if line.startswith("Test loss: ")]
    outputs = [float(line.split()[6]) for line in found.log if "Test net output" in line]
    assert losses == pytest.approx([2 * output for output in outputs], rel=1e-5)
    assert len(losses) == 2


def test_the_shown_loss_is_the_mean_of_the_last(ran):
    single = ran(SOLVER + "max_iter: 6 display: 1\n")
    shown = [float(m[1]) for line in single.log if (m := re.search(r"iters\), loss = (\S+)", line))]
    assert len(set(shown)) == 6
    averaged = ran(SOLVER + "max_iter: 6 display: 2 average_loss: 3\n")
    found = [float(m[1]) for line in averaged.log if (m := re.search(r"iters\), loss = (\S+)", line))]
    assert found == pytest.approx([shown[0], np.mean(shown[0:3]), np.mean(shown[2:5])], rel=1e-4)


def snapshots(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.solverstate*")}


def test_snapshots_are_written_when_and_where_said(ran, tmp_path):
    found = ran(SOLVER + "max_iter: 5 snapshot: 2\n")
    assert snapshots(found.run.snapshots) == {"s_iter_2.solverstate", "s_iter_4.solverstate", "s_iter_5.solverstate"}
    found = ran(SOLVER + 'max_iter: 5 snapshot: 2 snapshot_after_train: false snapshot_prefix: "kept/net"\n')
    assert snapshots(tmp_path / "kept") == {"net_iter_2.solverstate", "net_iter_4.solverstate"}
    found = ran(SOLVER + "max_iter: 5 snapshot: 1 snapshot_keep: 2 snapshot_format: HDF5\n")
    assert snapshots(found.run.snapshots) == {"s_iter_4.solverstate.h5", "s_iter_5.solverstate.h5"}
    assert (found.run.snapshots / "s_iter_5.caffemodel.h5").exists()


def test_the_device_is_the_one_that_is_named(ran, monkeypatch):
    asked = []
    choose = module.choose

    def hear(device: str, gpu_wanted: bool, device_id: int) -> tuple[torch.device, str]:
        asked.append((device, gpu_wanted, device_id))
        return choose("cpu", False)

    monkeypatch.setattr(module, "choose", hear)
    ran(SOLVER + "max_iter: 1\n")
    ran(SOLVER.replace("CPU", "GPU") + "max_iter: 1 device_id: 3\n")
    ran(SOLVER.replace("solver_mode: CPU", "") + "max_iter: 1\n", device="cpu")
    assert asked == [("auto", False, 0), ("auto", True, 3), ("cpu", True, 0)]


def final(found: Ran) -> dict[str, np.ndarray]:
    blobs = weights.read(found.run.weights())
    return {f"{layer} {i}": blob for layer, held in blobs.items() for i, blob in enumerate(held)}


def same(a: Ran, b: Ran) -> bool:
    one, other = final(a), final(b)
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_a_seed_makes_the_same_run_again(ran):
    first = ran(SOLVER + "max_iter: 3\n")
    assert same(first, ran(SOLVER + "max_iter: 3\n"))
    assert not same(first, ran(SOLVER.replace("random_seed: 5", "random_seed: 6") + "max_iter: 3\n"))
    fresh = SOLVER.replace("random_seed: 5", "") + "max_iter: 3\n"
    assert not same(ran(fresh), ran(fresh))


def test_what_has_no_effect_has_none(ran):
    first = ran(SOLVER + "max_iter: 3\n")
    assert same(first, ran(SOLVER + "max_iter: 3 layer_wise_reduce: false\n"))


def test_weights_to_start_from_are_taken_a_later_file_first(ran, tmp_path):
    for name, seed in (("a", 6), ("b", 7)):
        made = ran(SOLVER.replace("random_seed: 5", f"random_seed: {seed}") + "max_iter: 1\n")
        made.run.weights().rename(tmp_path / f"{name}.caffemodel")
    still = SOLVER.replace("base_lr: 0.1", "base_lr: 0") + "max_iter: 1\n"
    a, b = (weights.read(f"{name}.caffemodel")["ip"][0] for name in "ab")
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(final(ran(still + 'weights: "a.caffemodel"\n'))["ip 0"], a)
    np.testing.assert_array_equal(final(ran(still + 'weights: "a.caffemodel" weights: "b.caffemodel"\n'))["ip 0"], b)
    np.testing.assert_array_equal(final(ran(still + 'weights: "b.caffemodel,a.caffemodel"\n'))["ip 0"], a)
    found = ran(still + 'weights: "a.caffemodel"\n', weights=["b.caffemodel"])
    np.testing.assert_array_equal(final(found)["ip 0"], b)


def test_a_whole_test_takes_every_record_once(ran, tmp_path):
    digits = 'layer { name: "d" type: "Dataset" top: "x" top: "y" dataset_param { name: "digits" batch_size: %d } }'
    accuracy = 'layer { name: "a" type: "Accuracy" bottom: "ip" bottom: "y" top: "a" include { phase: TEST } }\n'
    text = NET.replace(DATA, digits).replace("num_output: 3", "num_output: 10") + accuracy
    scores = []
    for size in (360, 50, 7):
        (tmp_path / "net.prototxt").write_text(text % size)
        found = ran(SOLVER + "max_iter: 1 test_all: true test_interval: 5 snapshot_after_train: false\n")
        scores.append(found.events("tested")[0]["scores"])
    for score in scores[1:]:
        assert score["a"] == pytest.approx(scores[0]["a"], rel=1e-6)
        assert score["loss"] == pytest.approx(scores[0]["loss"], rel=1e-5)


def test_a_run_ends_when_its_time_is_over(ran, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("nktc.train.solver.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    found = ran(SOLVER + "max_iter: 900 max_seconds: 4.5\n")
    assert (found.outcome.iteration, found.outcome.stopped) == (5, True)
    assert "Optimization stopped early." in found.log
    assert runs.open_run(found.run.folder).weights().name == "s_iter_5.caffemodel"


def test_a_deterministic_run_asks_torch_for_it(ran):
    heard = []
    try:
        for said in ("deterministic: true", "deterministic: false"):
            ran(SOLVER + f"max_iter: 1 {said}\n")
            heard.append((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic))
    finally:
        torch.use_deterministic_algorithms(False)
    assert heard == [(True, True), (False, False)]


def test_an_early_stop_is_told_in_the_log_and_the_journal(ran):
    found = ran(SOLVER + "max_iter: 90 test_iter: 1 test_interval: 3 early_stop_tests: 2 metric_gain: 100\n")
    assert (found.outcome.iteration, found.outcome.stopped) == (6, True)
    line = "loss gained nothing in 2 tests: stopping"
    assert found.log.index(line) < found.log.index("Optimization stopped early.")
    assert [(event["iteration"], event["line"]) for event in found.events("said")] == [(6, line)]
    assert found.events("ended")[0]["stopped"] is True
