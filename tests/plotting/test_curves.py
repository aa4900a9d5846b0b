"""Curves out of journals and logs, number by number."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nktc import train
from nktc.errors import NktcError
from nktc.plotting import Curves, read_curves

LOG = """\
Log file created at: 2015/12/31 23:59:00
I1231 23:59:50.000000 42 solver.cpp:206] Solving small_quick
I1231 23:59:50.000100 42 solver.cpp:207] Learning Rate Policy: step
I1231 23:59:50.500000 42 solver.cpp:294] Iteration 0, Testing net (#0)
I1231 23:59:51.000000 42 solver.cpp:343]     Test net output #0: accuracy = 0.1
I1231 23:59:51.000000 42 solver.cpp:343]     Test net output #1: aux = 3 (* 0.5 = 1.5 loss)
I1231 23:59:51.000000 42 solver.cpp:343]     Test net output #2: main = 2.25 (* 1 = 2.25 loss)
I1231 23:59:51.500000 42 solver.cpp:213] Iteration 0, loss = 3.75
I1231 23:59:51.500000 42 solver.cpp:228]     Train net output #0: main = 2.25 (* 1 = 2.25 loss)
I1231 23:59:51.500000 42 solver.cpp:473] Iteration 0, lr = 0.001
I1231 23:59:55.000000 42 data_layer.cpp:73] Restarting data prefetching from start.
I0101 00:00:10.000000 42 solver.cpp:213] Iteration 100 (5.3 iter/s, 18.8s/100 iters), loss = 1.5e-05
I0101 00:00:10.000000 42 solver.cpp:473] Iteration 100, lr = 1e-05
I0101 00:00:20.000000 42 solver.cpp:294] Iteration 200, Testing net (#0)
I0101 00:00:20.000000 42 solver.cpp:341] Test loss: 0.75
I0101 00:00:20.000000 42 solver.cpp:343]     Test net output #0: accuracy = 0.6
I0101 00:00:20.000000 42 solver.cpp:343]     Test net output #1: aux = 2 (* 0.5 = 1 loss)
I0101 00:00:20.000000 42 solver.cpp:343]     Test net output #2: main = nan (* 1 = nan loss)
"""


def points(curves: Curves, metric: str, net: int | None = None) -> dict[int, float]:
    (curve,) = (curve for curve in curves.of(metric) if curve.net == net)
    return dict(zip(curve.iterations.tolist(), curve.values.tolist(), strict=True))


def seconds(curves: Curves, metric: str, net: int | None = None) -> list[float]:
    (curve,) = (curve for curve in curves.of(metric) if curve.net == net)
    return curve.seconds.tolist()


@pytest.fixture
def journal(tmp_path: Path):
    """Writes a journal; an event is its name, its time and what it says."""

    def write(*events: tuple[str, float, dict], tail: str = "") -> Path:
        lines = [json.dumps({"event": name, "time": time, **facts}) for name, time, facts in events]
        (tmp_path / "journal.jsonl").write_text("\n".join(lines) + "\n" + tail)
        return tmp_path

    return write


@pytest.fixture
def log(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "caffe.log"
        path.write_text(text)
        return path

    return write


def started(time: float, iteration: int = 0, **more: object) -> tuple[str, float, dict]:
    return "started", time, {"iteration": iteration, "max_iter": 100, **more}


def stepped(time: float, iteration: int, loss: float | None, lr: float = 0.1) -> tuple[str, float, dict]:
    return "stepped", time, {"iteration": iteration, "loss": loss, "lr": lr}


def scored(time: float, iteration: int, net: int, loss: float | None, **scores: object) -> tuple[str, float, dict]:
    return "tested", time, {"iteration": iteration, "net": net, "scores": scores, "loss": loss}


def test_a_journal_gives_the_objective_the_rate_and_every_score_of_each_test_net(journal) -> None:
    folder = journal(
        started(100),
        scored(101, 0, 0, 2.5, accuracy=0.125),
        scored(102, 0, 1, 3.0, accuracy=0.25, top5=0.5),
        stepped(103, 0, 2.25, 0.5),
        stepped(105, 10, 1.5, 0.25),
    )
    curves = read_curves(folder)
    assert points(curves, "loss") == {0: 2.25, 10: 1.5}
    assert points(curves, "lr") == {0: 0.5, 10: 0.25}
    assert points(curves, "loss", net=0) == {0: 2.5}
    assert points(curves, "accuracy", net=1) == {0: 0.25}
    assert points(curves, "top5", net=1) == {0: 0.5}
    assert seconds(curves, "loss") == [3, 5]
    assert read_curves(folder / "journal.jsonl").path == folder


def test_what_a_resumed_run_did_again_counts_and_its_pause_does_not(journal) -> None:
    curves = read_curves(
        journal(
            started(100),
            stepped(101, 0, 5),
            stepped(110, 10, 4),
            stepped(120, 20, 3),  # killed after it; the snapshot was of iteration 15
            stepped(130, 30, 2),
            started(1000, 15),
            stepped(1010, 20, 3.5),
            stepped(1015, 25, 2.5),
        )
    )
    assert points(curves, "loss") == {0: 5, 10: 4, 20: 3.5, 25: 2.5}
    assert seconds(curves, "loss") == [1, 10, 20, 25]


def test_a_loss_that_was_not_finite_is_nan(journal) -> None:
    curves = read_curves(journal(started(0), stepped(1, 0, 1.0), stepped(2, 1, None), scored(3, 2, 0, None, a=None)))
    assert points(curves, "loss")[0] == 1.0
    assert math.isnan(points(curves, "loss")[1])
    assert math.isnan(points(curves, "loss", net=0)[2])
    assert math.isnan(points(curves, "a", net=0)[2])


def test_an_output_of_several_numbers_is_a_curve_each(journal) -> None:
    curves = read_curves(journal(started(0), scored(1, 0, 0, 1.0, each=[[0.5, 0.25], [1, 0]])))
    assert [points(curves, f"each[{k}]", net=0)[0] for k in range(4)] == [0.5, 0.25, 1, 0]


def test_what_is_no_event_of_a_journal_is_passed_over(journal) -> None:
    events = (
        started(0),
        stepped(1, 0, 1.5),
        ("stepped", 2, {"iteration": 1}),
        ("stepped", 3, {"iteration": [], "lr": 1}),
    )
    folder = journal(*events, tail='{"event": "stepped", "time": 4, "iterat')
    assert points(read_curves(folder), "loss") == {0: 1.5}


def test_epochs_are_known_where_the_journal_says_how_large_they_are(journal) -> None:
    curves = read_curves(journal(started(0, records=1000, batch=10), stepped(1, 0, 1), stepped(2, 50, 1)))
    assert curves.along(curves.of("loss")[0], "epochs").tolist() == [0, 0.5]


def test_a_caffe_log_is_read_in_all_its_forms(log) -> None:
    curves = read_curves(log(LOG))
    assert points(curves, "loss") == {0: 3.75, 100: 1.5e-05}
    assert points(curves, "lr") == {0: 0.001, 100: 1e-05}
    assert points(curves, "accuracy", net=0) == {0: 0.1, 200: 0.6}
    assert points(curves, "main") == {0: 2.25}
    assert points(curves, "aux", net=0) == {0: 3, 200: 2}
    assert math.isnan(points(curves, "main", net=0)[200])
    assert curves.losses == {"aux", "main"}


def test_a_tests_objective_is_what_the_log_says_or_the_sum_of_its_terms(log) -> None:
    assert points(read_curves(log(LOG)), "loss", net=0) == {0: 3.75, 200: 0.75}


def test_the_clock_of_a_log_goes_on_over_new_year(log) -> None:
    curves = read_curves(log(LOG))
    assert seconds(curves, "loss") == [1.5, 20]
    assert seconds(curves, "accuracy", net=0) == [0.5, 30]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("I0228 23:59:00.000000", "I0229 00:01:00.000000", "I0301 00:00:00.000000"), [120, 86460]),
        (("I0228 23:59:00.000000", "I0301 00:01:00.000000", "I0301 00:02:00.000000"), [120, 180]),
        (("I20230228 23:59:00.000000", "I20230301 00:01:00.000000", "I20240301 00:01:00.000000"), [120, 31622520]),
        (("W0101 10:00:00.500000", "I0101 09:59:59.000000", "I0101 10:00:01.000000"), [0, 0.5]),
    ],
    ids=["leap day", "no leap day", "years in the log", "clock set back"],
)
def test_days_are_counted_as_the_log_has_them(log, lines: tuple[str, ...], expected: list[float]) -> None:
    said = ("] Solving it", "] Iteration 0, loss = 1", "] Iteration 1, loss = 1")
    curves = read_curves(log("".join(f"{a} 1 solver.cpp:1{b}\n" for a, b in zip(lines, said, strict=True))))
    assert seconds(curves, "loss") == pytest.approx(expected)


def test_a_log_of_two_test_nets_keeps_them_apart(log) -> None:
    curves = read_curves(
        log(
            "] Iteration 5, Testing net (#0)\n] Test net output #0: acc = 0.5\n"
            "] Iteration 5, Testing net (#1)\n] Test net output #0: acc = 0.75\n"
            "] Test net output #1: each = 1\n] Test net output #2: each = 0\n"
        )
    )
    assert points(curves, "acc", net=0) == {5: 0.5}
    assert points(curves, "acc", net=1) == {5: 0.75}
    assert (points(curves, "each[0]", net=1), points(curves, "each[1]", net=1)) == ({5: 1}, {5: 0})


def test_two_logs_in_one_are_a_run_that_was_resumed(log) -> None:
    at = "I0301 00:00:{:02}.000000 1 solver.cpp:1] {}\n".format
    first = at(0, "Solving x") + at(10, "Iteration 0, loss = 9") + at(20, "Iteration 10, loss = 8")
    first += at(30, "Iteration 20, loss = 7")
    again = at(40, "Solving x") + at(45, "Iteration 10, loss = 6") + at(50, "Iteration 15, loss = 5")
    curves = read_curves(log(first + again))
    assert points(curves, "loss") == {0: 9, 10: 6, 15: 5}
    assert seconds(curves, "loss") == [10, 15, 20]


def test_scores_of_the_first_caffes_have_their_number_for_a_name(log) -> None:
    curves = read_curves(log("] Iteration 500, Testing net\n] Test score #0: 0.9\n"))
    assert points(curves, "score #0", net=0) == {500: 0.9}


def test_a_line_that_is_still_being_written_waits(log) -> None:
    assert points(read_curves(log("] Iteration 1, loss = 0.5\n] Iteration 2, loss = 0.0")), "loss") == {1: 0.5}


def test_the_log_and_the_journal_of_a_run_say_the_same(tmp_path: Path) -> None:
    layers = """
      layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
        shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" } data_filler { value: 1 } } }
      layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param {
        num_output: 2 weight_filler { type: "xavier" } } }
      layer { name: "loss" type: "SoftmaxWithLoss" bottom: "i" bottom: "t" top: "loss" loss_weight: 2 }
      layer { name: "right" type: "Accuracy" bottom: "i" bottom: "t" top: "right" include { phase: TEST } }
    """
    solver = tmp_path / "solver.prototxt"
    solver.write_text(
        f"train_net_param {{ {layers} }} test_net_param {{ {layers} }} test_iter: 2 test_interval: 4 display: 2"
        ' base_lr: 0.1 lr_policy: "step" gamma: 0.1 stepsize: 3 max_iter: 9 random_seed: 1 solver_mode: CPU'
    )
    run = train.launch(solver, train.Options(run_dir=tmp_path / "run"), Console(file=io.StringIO())).run
    ours, caffes = read_curves(run.folder), read_curves(run.log)
    assert caffes.losses == {"loss"}
    for metric, net in (("loss", None), ("lr", None), ("loss", 0), ("right", 0)):
        expected, found = points(ours, metric, net), points(caffes, metric, net)
        assert list(found) == list(expected) == ([0, 4, 8] if net == 0 else [0, 2, 4, 6, 8])
        assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-5)
        assert (np.diff(seconds(caffes, metric, net)) > 0).all()


def test_where_there_is_nothing_to_read_it_says_so(journal, log, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, said in (
        (empty, f"error: {empty} is not the folder of a run: it has no journal.jsonl\n"),
        (journal(started(0)), f"error: nothing is logged in {tmp_path} yet\n"),
        (log("hello\n"), f"error: {tmp_path / 'caffe.log'} has no line of a Caffe log\n"),
        (tmp_path / "gone.log", f"error: log {tmp_path / 'gone.log'} does not exist"),
    ):
        with pytest.raises(NktcError) as refusal:
            read_curves(path)
        assert str(refusal.value).startswith(said)


def test_an_axis_that_is_not_known_is_refused(log) -> None:
    curves = read_curves(log("] Iteration 1, loss = 0.5\n"))
    for axis, said in (
        ("time", "does not say when its lines were written"),
        ("epochs", "how many iterations an epoch"),
    ):
        with pytest.raises(NktcError, match=said):
            curves.along(curves.curves[0], axis)
    assert curves.along(curves.curves[0], "iterations").tolist() == [1]
