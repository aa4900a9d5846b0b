"""What layers take: which are timed, with what gradients, and how it is told."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from layers.examples import EXAMPLES, Example

from nktc import data, models, reader, train
from nktc.ir import Graph, Phase
from nktc.train import LayerTime, Timing

Timed = tuple[Timing, list[str]]


@pytest.fixture
def timed(tmp_path: Path) -> Callable[..., Timed]:
    """A graph's times and the lines of the log."""

    def run(graph: Graph, iterations: int = 1, **more: object) -> Timed:
        said: list[str] = []
        places = data.Places.from_environment(download=False)
        found = train.time_net(
            graph, tmp_path, iterations=iterations, device="cpu", places=places, write=said.append, **more
        )  # type: ignore[arg-type]
        return found, said

    return run


def backwards(timing: Timing) -> list[str]:
    """The layers that have one."""
    return [layer.name for layer in timing.layers if layer.backward > 0]


NET = """
name: "small"
layer { name: "x" type: "Input" top: "x" top: "label"
        input_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 6 } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 10 } }
layer { name: "scores" type: "Accuracy" bottom: "b" bottom: "label" top: "scores" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "b" bottom: "label" top: "loss" }
"""
NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]\d+)?)"


def ms(words: str, line: str) -> float:
    """The number of a line that has these words and a time."""
    found = re.fullmatch(rf"{words}: {NUMBER} ms\.", line)
    assert found
    return float(found[1])


def test_the_log_is_caffe_s(read: Callable[..., Graph], timed: Callable[..., Timed]) -> None:
    found, said = timed(read(NET, Phase.TRAIN), 3)
    lines = []
    for line in said:
        stamped = re.fullmatch(r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ caffe\.cpp:\d+\] (.*)", line)
        assert stamped
        lines.append(stamped[1])
    start = lines.index("*** Benchmark begins ***")
    assert lines[start + 1] == "Testing for 3 iterations."
    each = [ms(f"Iteration: {i + 1} forward-backward time", lines[start + 2 + i]) for i in range(3)]
    assert lines[start + 5] == "Average time per layer: "
    told = lines[start + 6 : start + 18]
    assert [re.sub(NUMBER + r" ms\.$", "N ms.", line) for line in told] == [
        f"{name:>10}\t{way}: N ms."
        for name in ("x", "a", "relu", "b", "scores", "loss")
        for way in ("forward", "backward")
    ]
    numbers = [float(line.split(": ")[1].removesuffix(" ms.")) for line in told]
    expected = [spent for layer in found.layers for spent in (layer.forward, layer.backward)]
    np.testing.assert_allclose(numbers, expected, rtol=1e-5)
    ends = lines[start + 18 :]
    forward, backward = ms("Average Forward pass", ends[0]), ms("Average Backward pass", ends[1])
    assert forward + backward == pytest.approx(sum(each) / 3, rel=1e-4)
    assert ms("Average Forward-Backward", ends[2]) == pytest.approx(sum(each) / 3, rel=1e-4)
    assert ms("Total Time", ends[3]) == pytest.approx(sum(each), rel=1e-4)
    assert ends[4:] == ["*** Benchmark ends ***"]


def test_random_labels_are_legal_and_the_weights_are_those_of_the_net(
    read: Callable[..., Graph], timed: Callable[..., Timed]
) -> None:
    # Weights start at 0, so that the loss is that of ten equal classes.
    _, said = timed(read(NET, Phase.TRAIN))
    assert said[1].endswith(f"] Initial loss: {math.log(10):g}")


def test_layers_have_a_backward_where_a_gradient_comes_to_them(
    read: Callable[..., Graph], timed: Callable[..., Timed]
) -> None:
    assert backwards(timed(read(NET, Phase.TRAIN))[0]) == ["a", "relu", "b", "loss"]
    assert backwards(timed(read(NET, Phase.TEST))[0]) == []
    frozen = NET.replace('top: "a" inner', 'top: "a" param { lr_mult: 0 } param { lr_mult: 0 } inner')
    assert backwards(timed(read(frozen, Phase.TRAIN))[0]) == ["b", "loss"]
    cut = NET.replace('bottom: "a" top: "b"', 'bottom: "a" top: "b" propagate_down: false')
    assert backwards(timed(read(cut, Phase.TRAIN))[0]) == ["b", "loss"]
    without_loss = NET[: NET.index('layer { name: "loss"')]
    assert backwards(timed(read(without_loss, Phase.TRAIN))[0]) == []  # b is no output, Accuracy has no gradient
    without_either = NET[: NET.index('layer { name: "scores"')]
    assert backwards(timed(read(without_either, Phase.TRAIN))[0]) == ["a", "relu", "b"]


def test_a_net_without_weights_is_timed_too(read: Callable[..., Graph], timed: Callable[..., Timed]) -> None:
    found, _ = timed(
        read(
            """
            layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
            layer { name: "y" type: "Softmax" bottom: "x" top: "y" }
            """,
            Phase.TRAIN,
        )
    )
    assert [(layer.name, layer.fed, layer.forward > 0) for layer in found.layers] == [
        ("x", True, False),
        ("y", False, True),
    ]
    assert found.forward > 0
    assert found.backward == 0


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_layer_type_can_be_timed(example: Example, timed: Callable[..., Timed]) -> None:
    graph = reader.build(reader.parse_net(example.text()), Phase.TRAIN)
    found, _ = timed(graph)
    assert [layer.name for layer in found.layers] == [node.name for node in graph]
    assert [layer.name for layer in found.layers if layer.forward > 0] == [
        node.name for node in graph if not node.layer.source
    ]


CODE = """
import json
import time
from pathlib import Path


class Watch:
    def setup(self, bottom, top):
        self.blobs.add_blob(1)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        with open(Path(__file__).with_name("seen"), "a") as file:
            file.write(json.dumps({self.param_str: top[0].diff.tolist()}) + "\\n")
        bottom[0].diff[...] = 2 * top[0].diff


class Sleepy(Watch):
    def forward(self, bottom, top):
        time.sleep(0.02)
        super().forward(bottom, top)

    def backward(self, top, propagate_down, bottom):
        time.sleep(0.03)
        super().backward(top, propagate_down, bottom)
"""


@pytest.fixture
def with_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Graph]:
    """The TRAIN graph of a text, whose Python layers may be those of CODE."""
    monkeypatch.setattr("nktc.layers.python._allowed", True)
    (tmp_path / "mine.py").write_text(CODE)

    def build(text: str) -> Graph:
        (tmp_path / "net.prototxt").write_text(text)
        return reader.build(reader.read_net(tmp_path / "net.prototxt"), Phase.TRAIN)

    return build


def test_a_layer_gets_the_gradient_that_it_gets_in_the_whole_net(
    with_code: Callable[[str], Graph], timed: Callable[..., Timed], tmp_path: Path
) -> None:
    watch = 'type: "Python" python_param { module: "mine" layer: "Watch" param_str:'
    graph = with_code(f"""
layer {{ name: "x" type: "Input" top: "x" top: "t"
        input_param {{ shape {{ dim: 4 dim: 3 }} shape {{ dim: 4 dim: 3 }} }} }}
layer {{ name: "first" {watch} "first" }} bottom: "x" top: "first" }}
layer {{ name: "relu" type: "ReLU" bottom: "first" top: "first" }}
layer {{ name: "second" {watch} "second" }} bottom: "first" top: "second" }}
layer {{ name: "split" type: "Split" bottom: "first" top: "left" top: "right" }}
layer {{ name: "sum" type: "Eltwise" bottom: "second" bottom: "left" bottom: "first" top: "sum" }}
layer {{ name: "unwanted" {watch} "unwanted" }} bottom: "right" top: "unwanted" }}
layer {{ name: "power" type: "Power" bottom: "right" top: "power" power_param {{ power: 3 }} loss_weight: 0.25 }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "sum" bottom: "t" top: "loss" loss_weight: 3 }}
layer {{ name: "silence" type: "Silence" bottom: "unwanted" bottom: "power" }}
""")
    found, _ = timed(graph)
    assert backwards(found) == ["first", "relu", "second", "split", "sum", "power", "loss"]
    seen: dict[str, list[np.ndarray]] = {}
    for line in (tmp_path / "seen").read_text().splitlines():
        for name, gradient in json.loads(line).items():
            seen.setdefault(name, []).append(np.array(gradient))
    # Two turns to warm up and one that counts, each over the whole net and then over the layers.
    assert {name: len(gradients) for name, gradients in seen.items()} == {"first": 6, "second": 6}
    for gradients in seen.values():
        assert np.abs(gradients[0]).min() > 0
        for one in gradients[1:]:
            np.testing.assert_allclose(one, gradients[0], rtol=1e-5)


def test_a_layer_that_sleeps_is_the_slowest(with_code: Callable[[str], Graph], timed: Callable[..., Timed]) -> None:
    graph = with_code(
        NET.replace('name: "relu" type: "ReLU"', 'name: "sleepy" type: "Python"').replace(
            'bottom: "a" top: "a" }', 'bottom: "a" top: "a" python_param { module: "mine" layer: "Sleepy" } }'
        )
    )
    found, said = timed(graph, 2)
    sleepy = max(found.layers, key=found.share)
    assert sleepy.name == "sleepy"
    assert sleepy.forward >= 20
    assert sleepy.backward >= 30
    assert found.forward >= 20
    assert found.backward >= 30
    assert float(said[-2].split(": ")[1].split()[0]) >= 100  # the total of two iterations


DIGITS = """
layer { name: "digits" type: "Dataset" top: "data" top: "label" dataset_param { name: "%s" batch_size: 8 %s } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def build(text: str, **shapes: tuple[int, ...]) -> Graph:
    net = reader.parse_net(text)
    return reader.build(net, Phase.TRAIN, feeds=models.feeds(net), supposed=models.supposed(net, shapes))


def test_data_that_is_there_is_read_and_timed(timed: Callable[..., Timed]) -> None:
    found, _ = timed(build(DIGITS % ("digits", "")))
    assert found.notes == ()
    assert found.layers[0].fed
    assert found.layers[0].forward > 0
    assert found.layers_forward == sum(layer.forward for layer in found.layers[1:])
    assert found.share(found.layers[0]) == 0


def test_data_that_is_not_there_is_made_up_and_that_is_said(timed: Callable[..., Timed], tmp_path: Path) -> None:
    found, _ = timed(build(DIGITS % ("mnist", "")))
    assert found.batch == 8
    assert found.layers[0].forward == 0
    assert found.notes == (
        'digits is fed random numbers: the data of "mnist" is missing: it is not on this machine, and downloading is'
        " off",
    )
    found, _ = timed(build(DIGITS % ("cifar10", 'stand_in: "shapes10"')))
    assert found.layers[0].forward > 0
    assert found.notes == (
        "digits is fed from its stand-in shapes10, its own data is missing: it is not on this machine, and downloading"
        " is off",
    )


def test_data_of_another_shape_than_the_one_asked_for_is_made_up(timed: Callable[..., Timed]) -> None:
    found, _ = timed(build(DIGITS % ("digits", ""), data=(3, 5, 5)))
    assert found.layers[0].outputs == ((8, 3, 5, 5), (8,))
    assert found.notes == ("digits is fed random numbers: its data is of another shape",)


def test_the_step_is_as_long_as_its_layers_and_leaves_the_weights(
    with_code: Callable[[str], Graph], timed: Callable[..., Timed], tmp_path: Path
) -> None:
    graph = with_code(
        """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
        layer { name: "sleepy" type: "Python" bottom: "x" top: "y" loss_weight: 1
                python_param { module: "mine" layer: "Sleepy" } }
        """
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path / "net.prototxt"}" base_lr: 1e30 lr_policy: "fixed" max_iter: 1 iter_size: 2'
    )
    found, _ = timed(graph, settings=train.read(tmp_path / "solver.prototxt"))
    assert found.step is not None
    assert found.step >= 100
    assert found.step_batch == 8


def made_up(**more: object) -> Timing:
    known = LayerTime("x", "Input", ((2, 3), (2,)), True, 1.0, 0.0)
    slow = LayerTime("conv", "Convolution", ((2, 8),), False, 2.0, 5.5)
    fast = LayerTime("top", "Accuracy", ((),), False, 0.5, 0.0)
    return Timing("small", Phase.TRAIN, "cpu", 20, 50, (known, slow, fast), 3.0, 5.0, **more)  # type: ignore[arg-type]


def test_the_table_has_each_layer_the_sums_and_images_a_second(golden: Callable[[object, str], None]) -> None:
    golden(
        train.timing_table(made_up(step=16.0, step_batch=40, notes=("x is fed random numbers: no file",))),
        """
        net small TRAIN, batch 20, 50 iterations on cpu
          layer               type         output      forward ms  backward ms  share
          x                   Input        [2 3], [2]       1.000
          conv                Convolution  [2 8]            2.000        5.500  93.8%
          top                 Accuracy     []               0.500                6.2%
          all layers                                        2.500        5.500
          the net as it runs                                3.000        5.000

          forward and backward  8.000 ms, 2,500 images/s
          training step         16.000 ms, 2,500 images/s: data, forward, backward and update
          x is fed random numbers: no file
        """,
    )
    golden(
        train.timing_table(replace(made_up(), backward=0.0, forward=2000.0)).rpartition("\n")[2],
        """
        forward  2000.000 ms, 10 images/s
        """,
    )


def test_tools_get_the_same() -> None:
    told = json.loads(json.dumps(train.timing_data(made_up(step=16.0, step_batch=40))))
    assert told["layers"][1] == {
        "name": "conv",
        "type": "Convolution",
        "outputs": [[2, 8]],
        "fed": False,
        "forward": 2.0,
        "backward": 5.5,
        "share": 7.5 / 8,
    }
    del told["layers"]
    assert told == {
        "name": "small",
        "phase": "TRAIN",
        "device": "cpu",
        "batch": 20,
        "iterations": 50,
        "forward": 3.0,
        "backward": 5.0,
        "layers_forward": 2.5,
        "layers_backward": 5.5,
        "items_per_second": 2500.0,
        "step": 16.0,
        "step_batch": 40,
        "step_items_per_second": 2500.0,
        "notes": [],
    }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_device_s_own_time_is_taken(read: Callable[..., Graph], tmp_path: Path) -> None:
    places = data.Places((), tmp_path, download=False)
    found = train.time_net(
        read(NET, Phase.TRAIN), tmp_path, iterations=2, device="cuda", places=places, write=lambda line: None
    )
    assert found.device.startswith("cuda")
    assert backwards(found) == ["a", "relu", "b", "loss"]
    assert all(layer.forward > 0 for layer in found.layers if not layer.fed)
