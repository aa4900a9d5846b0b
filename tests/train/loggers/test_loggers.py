"""Loggers: what is logged when, how they are found and dropped, and what each writes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nktc import module
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.runs import Run
from nktc.train import Ended, Event, Hook, Started, Stepped, events, settings
from nktc.train.loggers import About, find_logger, logger, names, scalars
from nktc.train.loggers.tensorboard import first_filters, tiled

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "conv1" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 5 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "Reduction" bottom: "c" top: "loss" loss_weight: 1 }
"""


@pytest.fixture
def about(tmp_path: Path, read: Callable) -> About:
    solver = tmp_path / "solver.prototxt"
    solver.write_text(
        f'train_net_param {{ {NET} }} base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 7 max_iter: 9 type: "Adam"'
        " weight_decay: 0.0005 solver_mode: CPU"
    )
    folder = tmp_path / "run"
    folder.mkdir()
    graph = read(NET, Phase.TRAIN)
    return About(Run(folder), settings.read(solver), module.compile(graph, seed=1), [graph], display=2, batch=10)


def stepped(iteration: int, loss: float = 1.0, rate: float = 0.5) -> Stepped:
    return Stepped(iteration, torch.tensor(loss), {}, rate)


def scored(iteration: int, net: int = 0, loss: float = 2.0, **scores: Any) -> events.Tested:
    return events.Tested(
        iteration, net, {name: torch.tensor(score) for name, score in scores.items()}, torch.tensor(loss)
    )


RUN: list[Event] = [
    Started(0),
    events.Testing(0, 0),
    scored(0, accuracy=0.25, loss=2.5),
    *(stepped(n, 4 - n / 2) for n in range(4)),
    events.Testing(4, 0),
    scored(4, accuracy=0.75, loss=1.5),
    events.Testing(4, 1),
    scored(4, 1, each=[0.5, 1.0], loss=1.25),
    Ended(4, False, torch.tensor(2.0)),
]


def tell(hook: Hook, events: list[Event] = RUN) -> None:
    for event in events:
        hook(event)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    now = SimpleNamespace(time=100.0)
    monkeypatch.setattr("time.perf_counter", lambda: now.time)
    return now


def written(about: About) -> list[tuple[dict[str, float], int]]:
    found: list[tuple[dict[str, float], int]] = []
    tell(scalars.scalars(about, lambda values, iteration: found.append((dict(values), iteration))))
    return found


def test_tests_are_logged_always_and_training_at_the_display(about: About) -> None:
    found = [({k: v for k, v in values.items() if "images" not in k}, n) for values, n in written(about)]
    assert found == [
        ({"test/accuracy": 0.25, "test/loss": 2.5}, 0),
        ({"train/loss": 4.0, "train/lr": 0.5}, 0),
        ({"train/loss": 3.0, "train/lr": 0.5}, 2),
        ({"test/accuracy": 0.75, "test/loss": 1.5}, 4),
        ({"test1/each/0": 0.5, "test1/each/1": 1.0, "test1/loss": 1.25}, 4),
    ]


def test_images_per_second_are_those_of_training_alone(about: About, clock: SimpleNamespace) -> None:
    found: dict[int, float] = {}
    hook = scalars.scalars(about, lambda values, n: found.update({n: values.get("train/images_per_second", -1.0)}))
    for event, lasted in (
        (stepped(0), 5),
        (stepped(1), 2),
        (events.Testing(2, 0), 0),
        (scored(2), 50),
        (stepped(2), 3),
        (stepped(3), 1),
        (stepped(4), 1),
    ):
        clock.time += lasted
        hook(event)
    assert found == {0: -1, 2: 2 * 10 / (2 + 3), 4: 2 * 10 / 2}


def test_without_a_display_each_iteration_is_logged(about: About) -> None:
    each = About(about.run, about.settings, about.net, about.tests, display=0, batch=1)
    assert [n for values, n in written(each) if "train/loss" in values] == [0, 1, 2, 3]


def test_the_solvers_fields_are_those_that_were_given(about: About) -> None:
    assert scalars.fields(about.settings) == {
        "base_lr": 0.01,
        "lr_policy": "step",
        "gamma": 0.1,
        "stepsize": 7,
        "max_iter": 9,
        "type": "Adam",
        "weight_decay": 0.0005,
        "solver_mode": "CPU",
    }


def test_a_logger_that_is_not_known_is_refused_with_a_near_one(about: About) -> None:
    assert names() == ["mlflow", "tensorboard", "wandb"]
    for text, said in (
        ("tensorbord", 'error: unknown logger "tensorbord"\nhelp: did you mean "tensorboard"?'),
        ("=x", 'error: unknown logger ""\nhelp: the loggers are mlflow, tensorboard, wandb'),
        ("tensorboard=histogram", 'error: tensorboard has no option "histogram"\nhelp: did you mean "histograms"?'),
    ):
        with pytest.raises(NktcError) as refusal:
            find_logger(text)(about)
        assert str(refusal.value) == said


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow"), ("wandb", "wandb")]
)
def test_a_logger_whose_package_is_missing_says_how_to_install_it(
    about: About, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.delitem(sys.modules, f"nktc.train.loggers.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NktcError) as refusal:
        find_logger(name)(about)
    assert str(refusal.value).startswith(f"error: the logger {name} cannot be loaded: ")
    assert refusal.value.help == f"pip install 'nktc[{name}]'"


def a_logger(monkeypatch: pytest.MonkeyPatch, made: Callable) -> None:
    """Registers a stranger's logger, "strange"."""
    point = SimpleNamespace(value="strange:made", load=lambda: made)
    monkeypatch.setattr(logger, "_registered", lambda: {"strange": point})


def test_a_strangers_logger_gets_its_options_and_every_event(about: About, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    a_logger(monkeypatch, lambda options, told: heard.append((options, told)) or heard.append)
    tell(find_logger("strange=a,b=c")(about))
    assert heard == [(["a", "b=c"], about), *RUN]


def test_a_logger_that_fails_is_told_once_and_hears_no_more(about: About, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []

    def fail(event: Event) -> None:
        heard.append(event)
        raise OSError("the disk is full\nsecond line")

    told: list[str] = []
    a_logger(monkeypatch, lambda options, about: fail)
    quiet = About(about.run, about.settings, about.net, about.tests, 2, 10, warn=told.append)
    tell(find_logger("strange")(quiet))
    assert heard == RUN[:1]
    assert told == ["warning: the logger strange failed and gets no more: the disk is full"]


def test_a_logger_that_does_not_start_is_refused_before_training(about: About, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(options: list[str], about: About) -> Hook:
        raise RuntimeError("no API key")

    a_logger(monkeypatch, start)
    with pytest.raises(NktcError, match="the logger strange does not start: no API key"):
        find_logger("strange")(about)


def board(about: About) -> EventAccumulator:
    everything = {"scalars": 0, "images": 0, "histograms": 0}
    found = EventAccumulator(str(about.run.folder / "tensorboard"), everything)
    found.Reload()
    return found


def points(found: EventAccumulator, name: str) -> dict[int, float]:
    return {event.step: event.value for event in found.Scalars(name)}


def test_tensorboard_reads_the_numbers_back(about: About) -> None:
    tell(find_logger("tensorboard")(about))
    found = board(about)
    assert points(found, "train/loss") == {0: 4, 2: 3}
    assert points(found, "train/lr") == {0: 0.5, 2: 0.5}
    assert points(found, "test/accuracy") == {0: 0.25, 4: 0.75}
    assert points(found, "test1/each/1") == {4: 1}
    assert list(points(found, "train/images_per_second")) == [2]
    assert found.Tags()["histograms"] == []


def test_tensorboard_leaves_out_what_a_resumed_run_did_again(about: About) -> None:
    tell(find_logger("tensorboard")(about), [Started(0), *(stepped(n, 1) for n in range(9))])
    tell(find_logger("tensorboard")(about), [Started(4), *(stepped(n, 2) for n in range(4, 7)), Ended(7, False, None)])
    assert [(event.step, event.value) for event in board(about).Scalars("train/loss")] == [
        (0, 1),
        (2, 1),
        (4, 2),
        (6, 2),
    ]


def test_tensorboard_has_all_of_a_run_that_died(about: About, monkeypatch: pytest.MonkeyPatch) -> None:
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    tell(find_logger("tensorboard")(about), [Started(0), *(stepped(n) for n in range(9))])
    for close in at_exit:
        close()
    assert list(points(board(about), "train/loss")) == [0, 2, 4, 6, 8]


def test_tensorboard_shows_the_first_filters_at_each_test(about: About) -> None:
    tell(find_logger("tensorboard")(about))
    images = board(about).Images("filters/conv1.weight")
    assert [image.step for image in images] == [0, 4]
    assert (images[0].width, images[0].height) == (3 * 4 - 1, 2 * 4 - 1)


def test_tensorboard_has_histograms_of_weights_and_gradients_on_request(about: About) -> None:
    hook = find_logger("tensorboard=histograms")(about)
    weight = about.net.tensor("conv1.weight")
    tell(hook, RUN[:3])
    for scale in (1.0, 2.0):  # two forwards of one iteration
        about.net.loss(about.net(torch.full((2, 3, 4, 4), scale))).backward()
    weight.grad.zero_()  # as an update spends it
    tell(hook, [stepped(0), stepped(1), Ended(2, False, None)])
    found = board(about)
    (gradient,) = found.Histograms("gradients/conv1.weight")
    # Of the sum of 2 images of 2 x 2 places, each weight's gradient is 8 times what it sees.
    assert (gradient.step, gradient.histogram_value.min, gradient.histogram_value.max) == (0, 24, 24)
    assert [event.step for event in found.Histograms("weights/conv1.weight")] == [0, 2]
    assert found.Histograms("weights/conv1.weight")[0].histogram_value.num == weight.numel()
    assert not weight._post_accumulate_grad_hooks


def test_tensorboard_can_log_nothing_but_nan(about: About) -> None:
    hook = find_logger("tensorboard=histograms")(About(**vars(about) | {"warn": pytest.fail}))
    with torch.no_grad():
        about.net.tensor("conv1.weight").fill_(math.nan)
    tell(hook, [Started(0), scored(0, accuracy=math.nan), stepped(0, math.nan), Ended(0, True, None)])
    assert math.isnan(points(board(about), "train/loss")[0])


def test_filters_are_tiled_on_one_scale_and_bgr_becomes_rgb() -> None:
    filters = torch.zeros(3, 3, 1, 2)
    filters[0, 0] = 1  # blue
    filters[1, 2] = 1  # red
    filters[2] = -1
    found = tiled(filters)
    assert found.shape == (3, 1 + 1 + 1, 2 + 1 + 2)
    assert found[:, 0, 0].tolist() == [0.5, 0.5, 1]
    assert found[:, 0, 3].tolist() == [1, 0.5, 0.5]
    assert found[:, 2, 0].tolist() == [0, 0, 0]
    assert found[:, 1].eq(1).all()
    assert found[:, :, 2].eq(1).all()


@pytest.mark.parametrize(
    ("channels", "more", "expected"), [(3, "", "c.weight"), (1, "", "c.weight"), (4, "", None), (3, "group: 3", None)]
)
def test_filters_are_shown_of_a_first_convolution_that_sees_an_image(
    read: Callable, channels: int, more: str, expected: str | None
) -> None:
    graph = read(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: {channels} dim: 6 dim: 6 }} }} }}
        layer {{ name: "c" type: "Convolution" bottom: "x" top: "c"
                convolution_param {{ num_output: 3 kernel_size: 3 {more} }} }}
        layer {{ name: "d" type: "Convolution" bottom: "c" top: "d"
                convolution_param {{ num_output: 3 kernel_size: 1 }} }}
    """)
    assert first_filters(graph) == expected


class FakeService:
    """Stands for the modules mlflow and wandb: keeps every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple, dict]] = []

    def __getattr__(self, name: str) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            return None if name == "active_run" else self

        return call

    def of(self, name: str) -> list[tuple[tuple, dict]]:
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


@pytest.fixture
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.delitem(sys.modules, f"nktc.train.loggers.{request.param}", raising=False)
    monkeypatch.setitem(sys.modules, request.param, fake)
    return fake


@pytest.mark.parametrize("service", ["mlflow"], indirect=True)
def test_mlflow_gets_the_fields_the_numbers_and_how_it_ended(service: FakeService, about: About) -> None:
    tell(find_logger("mlflow=nightly")(about))
    assert service.of("set_experiment") == [(("nightly",), {})]
    assert service.of("start_run") == [((), {"run_name": "run", "nested": False})]
    assert service.of("log_params") == [((scalars.fields(about.settings),), {})]
    assert service.of("log_metrics")[0] == (({"test/accuracy": 0.25, "test/loss": 2.5},), {"step": 0})
    assert len(service.of("log_metrics")) == 5
    assert service.of("end_run") == [(("FINISHED",), {})]
    tell(find_logger("mlflow")(about), [Started(0), scored(0, **{"a#1": 1.0}), Ended(0, True, None)])
    assert len(service.of("set_experiment")) == 1
    assert service.of("log_metrics")[-1] == (({"test/a_1": 1.0, "test/loss": 2.0},), {"step": 0})
    assert service.of("end_run")[-1] == (("KILLED",), {})


@pytest.mark.parametrize("service", ["wandb"], indirect=True)
def test_wandb_gets_the_fields_the_numbers_and_its_end(service: FakeService, about: About) -> None:
    tell(find_logger("wandb=faces")(about))
    ((_, given),) = service.of("init")
    assert given == {
        "project": "faces",
        "name": "run",
        "dir": str(about.run.folder),
        "config": scalars.fields(about.settings),
    }
    assert service.of("log")[0] == (({"test/accuracy": 0.25, "test/loss": 2.5},), {"step": 0})
    assert [kwargs["step"] for _, kwargs in service.of("log")] == [0, 0, 2, 4, 4]
    assert len(service.of("finish")) == 1
    with pytest.raises(NktcError, match="wandb is given 2 options"):
        find_logger("wandb=a,b")(about)
