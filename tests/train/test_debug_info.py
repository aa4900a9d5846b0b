"""debug_info: the lines that Caffe prints, in its order, with what Caffe itself computed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from nktc import data, module, reader, train
from nktc.errors import NktcError
from nktc.ir import Feed, Phase
from nktc.train import events
from nktc.train.debug import with_splits

SHARED = Path(__file__).parents[3] / "shared"
NETS = ("net_aux_losses", "net_autoencoder", "net_fcn_tiny", "net_propagate_down_false")
SMALL = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 32 dim: 8 } shape { dim: 32 } } }
layer { name: "first" type: "InnerProduct" bottom: "x" top: "h" param { name: "both" }
        inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "h" top: "h" }
layer { name: "relu" type: "ReLU" bottom: "h" top: "h" }
layer { name: "second" type: "InnerProduct" bottom: "h" top: "g" param { name: "both" }
        inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "g" top: "ip"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }
layer { name: "hits" type: "Accuracy" bottom: "ip" bottom: "y" top: "hits" }
"""


class Same(data.Stream):
    """One batch, again and again."""

    resident = True

    def __init__(self, blob: np.ndarray) -> None:
        self.blob, self.feed = torch.from_numpy(blob), Feed((blob.shape,))

    def batch(self, k: int) -> tuple[torch.Tensor, ...]:
        return (self.blob,)


def lines(solver: train.Solver) -> list[str]:
    """What debug_info says in a run, without its indent."""
    said: list[str] = []
    solver.hooks = [lambda e: said.append(e.line) if isinstance(e, events.Said) and e.where == "net.cpp" else None]
    solver.run()
    assert all(line.startswith("    [") for line in said)
    return [line.strip() for line in said]


def mean(array: np.ndarray) -> float:
    return float(np.abs(array.astype(np.float64)).mean())


@pytest.fixture
def golden_case(shared, tmp_path, monkeypatch):
    """A solver over a golden's net with Caffe's own weights and inputs, its arrays and its facts."""

    def make(name: str) -> tuple[train.Solver, dict[str, np.ndarray], dict]:
        arrays = dict(np.load(shared / "goldens" / name / "golden.npz"))
        meta = json.loads(str(arrays["meta"]))
        monkeypatch.chdir(tmp_path)
        net_file = shared / "goldens" / name / "net.prototxt"
        Path("s.prototxt").write_text(
            f'net: "{net_file}" base_lr: 0.5 lr_policy: "fixed" max_iter: 1 display: 1'
            " debug_info: true snapshot_after_train: false"
        )
        settings = train.read("s.prototxt")
        net = module.compile(reader.build(settings.train_net, Phase.TRAIN), seed=1)
        net.load({n: arrays[f"param/{p.layer}/{p.index}"] for n, p in net.graph.parameters.items()})
        feeding = train.Feeding([Same(arrays[f"in/{blob}"]) for blob in meta["inputs"]])
        return train.Solver(settings, net, feeding), arrays, meta

    return make


@pytest.mark.parametrize("name", NETS)
def test_every_line_has_the_name_and_the_number_that_caffe_computed(golden_case, name):
    solver, golden, meta = golden_case(name)
    said = lines(solver)
    number = re.compile(r"(.*(?:data|diff)): (\S+)")
    forward = [number.fullmatch(line).groups() for line in said if line.startswith("[Forward]")]
    expected = []
    for layer, _ in meta["layers"]:
        expected += [f"[Forward] Layer {layer}, top blob {top} data" for top in meta["tops"][layer]]
        count = sum(key.startswith(f"param/{layer}/") for key in golden)
        expected += [f"[Forward] Layer {layer}, param blob {i} data" for i in range(count)]
    assert [text for text, _ in forward] == expected
    # A golden has a blob as the last layer left it.
    for blob, found in {text.split()[5]: value for text, value in forward if "top blob" in text}.items():
        assert float(found) == pytest.approx(mean(golden[f"blob/{blob}"]), rel=2e-5, abs=1e-9), blob
    for text, found in forward:
        if "param blob" in text:
            layer, index = re.fullmatch(r".*Layer (\S+), param blob (\d+) data", text).groups()
            assert float(found) == pytest.approx(mean(golden[f"param/{layer}/{index}"]), rel=2e-5)

    backward = [number.fullmatch(line).groups() for line in said if re.match(r"\[Backward\] Layer", line)]
    place = {layer: i for i, (layer, _) in enumerate(meta["layers"])}
    order = [place[re.match(r"\[Backward\] Layer ([^,]+),", text)[1]] for text, _ in backward]
    assert order == sorted(order, reverse=True)
    diffs = {text.split()[5]: value for text, value in backward if "bottom blob" in text}
    assert diffs
    assert {key.removeprefix("diff/") for key in golden if key.startswith("diff/")} <= diffs.keys() | set(
        meta["outputs"]
    )
    for blob, found in diffs.items():
        assert float(found) == pytest.approx(mean(golden[f"diff/{blob}"]), rel=2e-4, abs=1e-9), blob
    weights = {text: value for text, value in backward if "param blob" in text}
    for text, found in weights.items():
        layer, index = re.fullmatch(r".*Layer (\S+), param blob (\d+) diff", text).groups()
        assert float(found) == pytest.approx(mean(golden[f"pdiff/{layer}/{index}"]), rel=2e-4, abs=1e-9), text
    learning = {key for key in golden if key.startswith("pdiff/") and golden[key].any()}
    assert len(weights) >= len(learning)

    (norms,) = [line for line in said if "All net params" in line]
    found = re.fullmatch(
        r"\[Backward\] All net params \(data, diff\): L1 norm = \((\S+), (\S+)\); L2 norm = \((\S+), (\S+)\)", norms
    ).groups()
    data_, diff_ = (
        np.concatenate([golden[key].ravel() for key in golden if key.startswith(kind)]) for kind in ("param/", "pdiff/")
    )
    expected = [np.abs(data_).sum(), np.abs(diff_).sum(), np.sqrt((data_**2).sum()), np.sqrt((diff_**2).sum())]
    assert [float(x) for x in found] == pytest.approx(expected, rel=2e-4)
    assert said.index(norms) == len(forward) + len(backward)


@pytest.mark.parametrize("name", ["solver_sgd_itersize2", "solver_sgd_clip", "solver_adam_step", "solver_sgd_shared"])
def test_updates_are_those_that_caffe_applied(shared, name, monkeypatch):
    folder = shared / "goldens" / name
    monkeypatch.chdir(folder)
    golden = dict(np.load(folder / "golden.npz"))
    settings = train.read("solver.prototxt", ["debug_info=true", "display=2", "max_iter=15"])
    settings.message.snapshot_after_train = False
    net = module.compile(reader.build(settings.train_net, Phase.TRAIN), seed=1)
    net.load({n: golden[f"params/{p.layer}/{p.index}"][0] for n, p in net.graph.parameters.items()})
    iter_size = settings.message.iter_size

    class Recorded(Same):
        def batch(self, k: int) -> tuple[torch.Tensor, ...]:
            return (self.blob[k // iter_size],)

    feeding = train.Feeding([Recorded(golden[f"data/{node.outputs[0].name}"]) for node in net.graph.sources])
    said = lines(train.Solver(settings, net, feeding))
    found = [
        (m[1], float(m[2]), float(m[3]))
        for line in said
        if (m := re.fullmatch(r"\[Update\] Layer ([^,]+), param \S+ data: (\S+); diff: (\S+)", line))
    ]
    expected = [
        (p.layer, mean(golden[f"params/{p.layer}/{p.index}"][i]), mean(golden[f"pdiff/{p.layer}/{p.index}"][i]))
        for i in range(0, 15, 2)
        for p in net.graph.parameters.values()
    ]
    assert [layer for layer, *_ in found] == [layer for layer, *_ in expected]
    np.testing.assert_allclose([x for _, *x in found], [x for _, *x in expected], rtol=1e-3, atol=1e-7)
    assert sum("All net params" in line for line in said) == 8 * iter_size


def trained(solver):
    losses = []
    solver.hooks = [lambda e: losses.append(e.loss.item()) if isinstance(e, train.Stepped) else None]
    solver.run()
    averages = solver.average.means if solver.average else {}
    return losses, solver.net.arrays() | {f"average {name}": mean.numpy() for name, mean in averages.items()}


@pytest.mark.parametrize("more", ["", "iter_size: 2", "precision: BF16", "ema_decay: 0.5", "precision: FP16"])
def test_it_changes_nothing_of_the_training(small, points, more):
    plain = trained(small(f"max_iter: 5 display: 2 momentum: 0.9 {more}", SMALL, points(3)))
    told = trained(small(f"max_iter: 5 display: 2 momentum: 0.9 debug_info: true {more}", SMALL, points(3)))
    assert told[0] == pytest.approx(plain[0], rel=1e-6)
    for name, array in plain[1].items():
        np.testing.assert_allclose(told[1][name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_shared_weights_have_their_name_and_layers_aside_of_the_loss_no_backward(small, points):
    said = lines(small("max_iter: 1 display: 1 debug_info: true", SMALL, points(1)))
    assert any(line.startswith("[Forward] Layer second, param blob both data: ") for line in said)
    assert any(line.startswith("[Backward] Layer second, param blob 0 diff: ") for line in said)
    assert sum(line.startswith("[Update] Layer first, param both data: ") for line in said) == 1
    assert not any(line.startswith("[Update] Layer second, param both") for line in said)
    assert any(line.startswith("[Forward] Layer hits, top blob hits data: ") for line in said)
    assert not any(line.startswith("[Backward] Layer hits") for line in said)
    assert any(line == "[Backward] Layer bn, param blob 2 diff: 0" for line in said)
    assert not any("bottom blob x" in line or "bottom blob y" in line for line in said)


def test_a_blob_that_is_a_loss_and_goes_on_is_split_with_the_loss_first(read, golden):
    graph = read(
        """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "r" type: "ReLU" bottom: "x" top: "x" }
        layer { name: "sum" type: "Reduction" bottom: "x" top: "s" loss_weight: 2 }
        layer { name: "p" type: "Power" bottom: "s" top: "p" }
        layer { name: "q" type: "Reduction" bottom: "x" top: "q" loss_weight: 3 }
        """
    )
    golden(with_splits(graph), """
        net net TEST
          x                                f32[2 3]           = Input
          x@r                              f32[2 3]           = ReLU <- x  # r
          x_r_0_split_0, x_r_0_split_1     f32[2 3], f32[2 3] = Split(copies=2) <- x@r  # x_r_0_split
          s                                f32[]              = Reduction <- x_r_0_split_0  # sum
          s_sum_0_split_0, s_sum_0_split_1 f32[], f32[]       = Split(copies=2) <- s  # s_sum_0_split
          p                                f32[]              = Power <- s_sum_0_split_1
          q                                f32[]              = Reduction <- x_r_0_split_1
    """)  # fmt: skip
    assert graph.losses == (("s", 2.0), ("q", 3.0))
    assert with_splits(graph).losses == (("s_sum_0_split_0", 2.0), ("q", 3.0))
    x = torch.randn(2, 3)
    plain, split = module.compile(graph), module.compile(with_splits(graph))
    assert torch.equal(plain.loss(plain(x)), split.loss(split(x)))


def test_gradients_are_said_without_the_loss_scale(small, points):
    kinds = ("precision: FP32", "precision: FP16 loss_scale: 1024")
    a, b = (lines(small(f"max_iter: 1 display: 1 debug_info: true {kind}", SMALL, points(1))) for kind in kinds)
    for left, right in zip(a, b, strict=True):
        if "diff" in left and "L1" not in left:
            assert float(left.split()[-1]) == pytest.approx(float(right.split()[-1]), rel=0.05, abs=2e-4), (left, right)


def test_the_net_may_ask_for_it_too_and_only_shown_iterations_are_told(small, points):
    said = lines(small("max_iter: 5 display: 2", "debug_info: true" + SMALL, points(1)))
    assert sum("All net params" in line for line in said) == 3
    assert lines(small("max_iter: 3 debug_info: true", SMALL, points(1))) == []


def test_what_is_said_of_a_loss_that_goes_bad_comes_before_the_refusal(small, points):
    solver = small("display: 1 debug_info: true", SMALL, [(x * np.nan, y) for x, y in points(1)])
    said = []
    solver.hooks = [lambda e: said.append(e.line) if isinstance(e, events.Said) else None]
    with pytest.raises(NktcError):
        solver.run()
    assert "    [Forward] Layer first, top blob h data: nan" in said
    assert said[-2].startswith("the loss is nan")
