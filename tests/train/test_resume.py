"""A run that goes on from a snapshot is, to the bit, the run that was not stopped."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from nktc import data, layers, module, reader, train, weights
from nktc.ir import Phase
from nktc.train import chance, checkpoint, events
from nktc.train.solver import Solver
from nktc.train.speed import parse

ROOT = Path(__file__).parents[2]
ENDS = 11

# Everything that has a state: chance in data, layers and Python; sums; what goes on from batch to batch.
NET = """
layer { name: "digits" type: "Dataset" top: "data" top: "label"
        dataset_param { name: "digits" batch_size: 4 shuffle: true }
        transform_param { mirror: true crop_size: 6 scale: 0.01 } }
layer { name: "on" type: "DummyData" top: "on"
        dummy_data_param { shape { dim: 2 dim: 2 } data_filler { type: "constant" value: 1 } } }
layer { name: "shift" type: "DummyData" top: "shift"
        dummy_data_param { shape { dim: 4 dim: 1 dim: 6 dim: 6 } data_filler { type: "gaussian" std: 0.1 } } }
layer { name: "moved" type: "Eltwise" bottom: "data" bottom: "shift" top: "moved" }
layer { name: "noise" type: "Python" bottom: "moved" top: "noisy" python_param { module: "noisy" layer: "Noisy" } }
layer { name: "conv" type: "Convolution" bottom: "noisy" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }
layer { name: "scale" type: "Scale" bottom: "norm" top: "norm" scale_param { bias_term: true } }
layer { name: "drop" type: "Dropout" bottom: "norm" top: "drop" }
layer { name: "steps" type: "Reshape" bottom: "drop" top: "steps"
        reshape_param { shape { dim: 2 dim: 2 dim: -1 } } }
layer { name: "lstm" type: "LSTM" bottom: "steps" bottom: "on" top: "lstm"
        recurrent_param { num_output: 5 weight_filler { type: "uniform" min: -0.3 max: 0.3 } } }
layer { name: "rows" type: "Reshape" bottom: "lstm" top: "rows" reshape_param { shape { dim: 4 dim: 5 } } }
layer { name: "ip" type: "InnerProduct" bottom: "rows" top: "ip"
        inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
NOISY = """
import random
import re
import subprocess
import sys
import caffe
import numpy as np

class Noisy(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        noise = np.random.standard_normal(bottom[0].shape) * random.gauss(0, 0.1)
        top[0].data[...] = bottom[0].data + noise

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff
"""
SOLVER = f"""
net: "net.prototxt" base_lr: 0.02 lr_policy: "plateau" gamma: 0.5 plateau_tests: 1 weight_decay: 0.01 momentum: 0.9
iter_size: 2 average_loss: 5 max_iter: {ENDS} ema_decay: 0.8 random_seed: 3
test_iter: 2 test_interval: 3 metric: "loss" early_stop_tests: 30 snapshot_best: true snapshot_prefix: "s/all"
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(layers.python, "_allowed", True)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    Path("noisy.py").write_text(NOISY)


@dataclass
class Told:
    """A run and everything that is told of it, by iteration."""

    solver: Solver
    steps: dict[int, tuple] = field(default_factory=dict)
    tests: dict[int, tuple] = field(default_factory=dict)
    saved: list[Path] = field(default_factory=list)

    def hear(self, event: events.Event) -> None:
        match event:
            case events.Stepped(iteration, loss, outputs, rate):
                smoothed = self.solver.smoothed()
                self.steps[iteration] = (loss.item(), outputs["loss"].item(), rate, smoothed, *self.state())
            case events.Tested(iteration, _, scores, loss):
                self.tests[iteration] = (loss.item(), *(score.item() for score in scores.values()))
            case events.Saved(_, _, state, _):
                self.saved.append(state)

    def state(self) -> list[bytes]:
        """Weights, histories and averages."""
        solver = self.solver
        tensors = [solver.net.tensor(name) for name in solver.net.graph.parameters]
        tensors += [history for slot in solver.optimizer.histories for history in slot]
        tensors += solver.average.means.values() if solver.average else []
        return [tensor.detach().numpy().tobytes() for tensor in tensors]


def start(
    *overrides: str, snapshot: Path | None = None, hear: Callable[[Told, events.Event], None] | None = None
) -> Told:
    """A run as a new process begins it, made ready in another state of chance."""
    settings = train.read("solver.prototxt", overrides)
    seed = settings.seed
    assert seed is not None
    chance.start(seed if snapshot is None else 1000, 0, False)
    wanted = [(settings.train_net, Phase.TRAIN), *((test.net, Phase.TEST) for test in settings.test_nets)]
    nets, feedings = [], []
    for net, phase in wanted:
        graph = reader.build(net, phase, feeds=lambda layer, net=net: data.describe(layer, net.folder))
        nets.append(module.compile(graph, seed))
        feedings.append(
            train.open_feeding(graph, data.Places.from_environment(), net.folder, seed, torch.device("cpu"))
        )
    speed = parse("exact" if settings.message.speed == "auto" else settings.message.speed)
    tests = list(zip(nets[1:], feedings[1:], strict=True))
    solver = Solver(settings, nets[0], feedings[0], tests, speed=speed, seed=seed)
    told = Told(solver)
    solver.hooks = [told.hear, *([lambda event: hear(told, event)] if hear else [])]
    if snapshot:
        torch.rand(5), np.random.rand(5), random.random()
        solver.restore(snapshot)
    solver.run()
    return told


def same_from(iteration: int, rest: Told, whole: Told) -> None:
    """From the iteration on, both runs are one."""
    assert list(rest.steps) == list(range(iteration, ENDS))
    for i, found in rest.steps.items():
        assert found == whole.steps[i], f"iteration {i}"
    for i, found in rest.tests.items():
        assert found == whole.tests[i], f"test at {i}"
    assert max(rest.tests) == max(whole.tests)
    assert rest.solver.watch == whole.solver.watch


TYPES = ("SGD", "AdaDelta", "Adam", "AdamW", "LAMB", "Muon")


@pytest.mark.parametrize("kind", TYPES)
def test_every_solver_type_goes_on_to_the_bit(kind: str) -> None:
    options = (f"type={kind}", "delta=0.01")
    whole = start(*options, "snapshot=1")
    assert len({step[0] for step in whole.steps.values()}) == ENDS
    assert len({step[2] for step in whole.steps.values()}) > 1  # plateau lowered the rate
    for iteration in (5, 6):  # between tests, and at one
        same_from(iteration, start(*options, snapshot=Path(f"s/all_iter_{iteration}.solverstate")), whole)


@pytest.mark.parametrize("options", [(), ("snapshot_format=HDF5", "snapshot_diff=true"), ("speed=channels_last",)])
def test_saving_leaves_no_trace_and_the_best_snapshot_goes_on_too(options: tuple[str, ...]) -> None:
    whole = start(*options, "snapshot=0", "snapshot_best=false", "snapshot_after_train=false")
    saved = start(*options, "snapshot=2")
    same_from(0, saved, whole)
    (best,) = {path for path in saved.saved if "best" in path.name}
    iteration = weights.read_state(best).iteration
    assert 0 < iteration < ENDS
    rest = start(*options, snapshot=best)
    same_from(iteration, rest, whole)
    assert iteration not in rest.tests  # it was made in that test, which is not done twice
    same_from(8, start(*options, snapshot=checkpoint.files(Path("s/all"), 8, "HDF5" in str(options)).state), whole)


def test_a_run_that_was_stopped_goes_on_to_the_bit() -> None:
    def stop(told: Told, event: events.Event) -> None:
        told.solver.stop_asked = isinstance(event, events.Stepped) and event.iteration == 6

    whole, half = start(), start(hear=stop)
    assert (half.solver.stopping, half.solver.iteration) == (True, 7)
    same_from(7, start(snapshot=half.saved[-1]), whole)


def test_a_run_that_was_stopped_in_a_test_does_it_again() -> None:
    def stop(told: Told, event: events.Event) -> None:
        if isinstance(event, events.Testing) and event.iteration == 6:
            answers = iter((False, True))  # asked before each batch
            told.solver.interrupted = lambda: next(answers)  # type: ignore[method-assign]

    whole, half = start(), start(hear=stop)
    assert (half.solver.stopping, half.solver.iteration, 6 in half.tests) == (True, 6, False)
    same_from(6, start(snapshot=half.saved[-1]), whole)


def test_early_stopping_counts_on() -> None:
    options = ("early_stop_tests=2", "metric_gain=1000", "snapshot=1")
    whole = start(*options)
    assert whole.solver.iteration == 6  # the first test gained, those at 3 and 6 did not
    rest = start(*options, snapshot=Path("s/all_iter_4.solverstate"))
    assert (rest.solver.iteration, rest.tests[6], rest.steps[5]) == (6, whole.tests[6], whole.steps[5])
    again = start(*options, snapshot=Path("s/all_iter_6.solverstate"))
    assert (again.solver.iteration, again.steps) == (6, {})


def test_a_run_that_is_killed_again_and_again_goes_on_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    net = re.sub('layer { name: "noise".*', "", NET).replace('"noisy"', '"moved"')
    Path("net.prototxt").write_text(net)
    command = [sys.executable, ROOT / "tools/kill_test", "--solver=solver.prototxt", "--kills=3", "--set=max_iter=40"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nkill ") == 3
    assert "every loss of 40 iterations" in done.stdout
