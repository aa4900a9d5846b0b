"""What the layers compute in: halves against wholes, and the loss scale against torch's GradScaler."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nktc import data, module, reader, train
from nktc.errors import NktcError
from nktc.ir import Phase
from nktc.schema import SolverParameter
from nktc.train import precision
from nktc.train.guard import Diverged
from nktc.train.precision import LossScale

ROOT = Path(__file__).parents[2]
NET = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 32 dim: 8 } shape { dim: 32 } } }
layer { name: "first" type: "InnerProduct" bottom: "x" top: "h"
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "h" top: "n" }
layer { name: "ip" type: "InnerProduct" bottom: "n" top: "ip"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }
"""


def accuracy(monkeypatch: pytest.MonkeyPatch, which: str) -> float:
    """What solvers/mlp.prototxt reaches on the handwritten digits in that precision."""
    monkeypatch.chdir(ROOT)
    settings = train.read("solvers/mlp.prototxt", [f"precision={which}", "max_iter=500", "test_interval=500"])
    file = settings.train_net
    graphs = [reader.build(file, phase, feeds=lambda layer: data.describe(layer, file.folder)) for phase in Phase]
    places, device = data.Places.from_environment(), torch.device("cpu")
    feedings = [train.open_feeding(graph, places, file.folder, 1, device) for graph in graphs]
    nets = [module.compile(graph, seed=1) for graph in graphs]
    settings.message.snapshot_after_train = False
    solver = train.Solver(settings, nets[0], feedings[0], [(nets[1], feedings[1])])
    scores: list[float] = []
    dtypes = set()

    def hear(event: train.Event) -> None:
        if isinstance(event, train.Tested):
            scores.append(event.scores["accuracy"].item())
        if isinstance(event, train.Stepped):
            dtypes.add(event.loss.dtype)

    solver.hooks = [hear]
    solver.run()
    assert dtypes == {torch.float32}
    assert {p.dtype for p in solver.net.parameters()} == {torch.float32}
    return scores[-1]


def test_bf16_learns_the_digits_as_well_as_fp32(monkeypatch):
    whole, half = accuracy(monkeypatch, "FP32"), accuracy(monkeypatch, "BF16")
    assert whole > 0.9
    assert half == pytest.approx(whole, abs=0.02)


def test_layers_compute_in_what_is_asked_for():
    x = torch.randn(4, 4)
    cpu = torch.device("cpu")
    found = {}
    for name in ("FP32", "TF32", "BF16", "FP16"):
        with precision.autocast(SolverParameter.Precision.Value(name), cpu):
            found[name] = (x @ x).dtype
    assert found == {"FP32": torch.float32, "TF32": torch.float32, "BF16": torch.bfloat16, "FP16": torch.float16}


def test_tf32_is_allowed_and_taken_back_and_is_fp32_on_a_cpu():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    a, b = torch.randn(2, 64, 64)
    try:
        for kind in ("TF32", "FP32", "BF16", "TF32"):
            precision.set_tf32(SolverParameter.Precision.Value(kind))
            allowed = kind == "TF32"
            assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed
            assert torch.backends.mkldnn.matmul.fp32_precision != "tf32"
            np.testing.assert_allclose(a @ b, a.double() @ b.double(), rtol=1e-4, atol=1e-5)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("growth", [1, 3])
def test_the_loss_scale_is_torchs_step_by_step(growth, monkeypatch):
    monkeypatch.setattr(precision, "GROWTH", growth)
    weight = torch.nn.Parameter(torch.zeros(5))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.amp.GradScaler("cpu", growth_interval=growth)
    ours = LossScale(0, torch.device("cpu"))
    draws = np.random.default_rng(3)
    updates = []
    for step in range(40):
        gradient = torch.from_numpy(draws.standard_normal(5).astype(np.float32))
        if draws.random() < 0.3:
            gradient[step % 5] = [math.inf, -math.inf, math.nan][step % 3]
        before = weight.detach().clone()
        theirs.scale(torch.ones(())).item()  # it makes its scale at the first use
        weight.grad = gradient * theirs.get_scale()
        mine = [gradient[:2] * ours.scale, gradient[2:] * ours.scale]
        finite = ours.unscale(mine)
        theirs.unscale_(optimizer)
        assert torch.equal(torch.cat(mine), weight.grad) or not finite
        theirs.step(optimizer)
        theirs.update()
        assert finite is not torch.equal(before, weight)
        assert ours.scale.item() == theirs.get_scale()
        updates.append(finite)
    assert {True, False} == set(updates)
    assert ours.scale.item() != precision.START


def test_a_fixed_scale_stays():
    scale = LossScale(128, torch.device("cpu"))
    for value in (1.0, math.inf, 1.0):
        scale.unscale([torch.tensor([value])])
        assert scale.scale.item() == 128


def state(solver):
    """Everything that an update may change."""
    found = {f"weight {name}": array for name, array in solver.net.arrays().items() if not name.startswith("bn")}
    for slot, histories in enumerate(solver.optimizer.histories):
        found |= {f"history {slot} {i}": kept.clone().numpy() for i, kept in enumerate(histories)}
    return found | {f"average {name}": mean.clone().numpy() for name, mean in solver.average.means.items()}


@pytest.mark.parametrize("type", ['"SGD"', '"Adam"'])
def test_an_update_whose_gradients_overflow_is_left_out(small, points, type):
    solver = small(
        f"precision: FP16 type: {type} momentum: 0.9 base_lr: 0.01 ema_decay: 0.9 max_iter: 2", NET, points(2)
    )
    solver.scale.scale.fill_(1024)
    solver.run()
    before = state(solver)
    assert any(array.any() for name, array in before.items() if name.startswith("history"))
    solver.scale.scale.fill_(3e38)  # times the loss: infinite
    solver.step(solver.feeding.ahead(2), 0.01, 2)
    after = state(solver)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert solver.scale.scale.item() == pytest.approx(1.5e38)
    solver.scale.scale.fill_(1024)
    solver.step(solver.feeding.ahead(3), 0.01, 3)
    moved = {name for name, array in state(solver).items() if not np.array_equal(before[name], array)}
    assert {"weight ip.weight", "average ip.weight", "history 0 2"} <= moved


@pytest.mark.parametrize("iter_size", [1, 2])
def test_fp16_with_its_scale_learns_what_fp32_learns(small, points, iter_size):
    losses = {}
    for kind in ("FP16", "FP32"):
        scale = "loss_scale: 1024" if kind == "FP16" else ""
        solver = small(f"precision: {kind} {scale} max_iter: 30 iter_size: {iter_size}", NET, points(5))
        heard = losses[kind] = []
        solver.hooks = [lambda e: heard.append(e.loss.item()) if isinstance(e, train.Stepped) else None]  # noqa: B023
        solver.run()
    assert losses["FP16"] != losses["FP32"]
    assert losses["FP16"] == pytest.approx(losses["FP32"], rel=0.02, abs=0.005)
    assert losses["FP16"][-1] < losses["FP16"][0] / 4


def test_a_loss_that_is_nan_in_fp16_is_no_overflow_of_the_scale(small, points):
    solver = small("precision: FP16", NET, [(x * math.nan, y) for x, y in points(1)])
    with pytest.raises(Diverged):
        solver.step(solver.feeding.ahead(0), 0.01, 0)
    with pytest.raises(NktcError):
        solver.run()
