"""The step: one computation, however it is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nktc import data, module, reader, train
from nktc.ir import Phase
from nktc.train import speed
from nktc.train.solver import Solver
from nktc.train.speed import parse
from nktc.train.trial import try_out

NET = """
layer { name: "x" type: "Input" top: "x" top: "label"
        input_param { shape { dim: 6 dim: 3 dim: 9 dim: 9 } shape { dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param { num_output: 8 kernel_size: 3
        weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" inner_product_param { num_output: 4
        weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "ip" top: "ip" dropout_param { dropout_ratio: 0.1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.01 momentum: 0.9 weight_decay: 0.01 lr_policy: "fixed" max_iter: 10'


class Drawn(data.Stream):
    """Batches that are drawn by their number."""

    resident = True

    def batch(self, k: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(k)
        labels = torch.randint(0, 4, (6,), generator=generator)
        return torch.randn(6, 3, 9, 9, generator=generator) + labels.view(-1, 1, 1, 1), labels.float()


@pytest.fixture
def solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make a solver of the net above."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)

    def make(speed: str = "exact", *overrides: str) -> Solver:
        settings = train.read("solver.prototxt", ["snapshot_after_train=false", *overrides])
        net = module.compile(reader.build(settings.train_net, Phase.TRAIN), seed=1)
        return Solver(settings, net, train.Feeding([Drawn()]), speed=parse(speed))

    return make


def trained(solver: Solver) -> tuple[list[float], dict]:
    torch.manual_seed(5)
    losses: list[float] = []
    solver.hooks = [lambda event: losses.append(event.loss.item()) if isinstance(event, train.Stepped) else None]
    solver.run()
    return losses, solver.net.arrays()


@pytest.mark.parametrize("way", ["channels_last", "compile"])
@pytest.mark.parametrize("iter_size", [1, 2])
def test_another_way_to_run_it_changes_rounding_only(solver, way, iter_size, monkeypatch):
    if way == "compile":
        # What Inductor makes of it is PyTorch's; that the step goes through the compiler in one piece is ours.
        compiler = torch.compile
        monkeypatch.setattr(
            torch, "compile", lambda m, **more: compiler(m, backend="aot_eager", fullgraph=True, **more)
        )
    losses, arrays = trained(solver("exact", f"iter_size={iter_size}"))
    others, their = trained(solver(way, f"iter_size={iter_size}"))
    assert losses[-1] < losses[0]
    assert others == pytest.approx(losses, rel=1e-5)
    for name, array in arrays.items():
        assert their[name] == pytest.approx(array, rel=1e-4, abs=1e-6), name


def test_channels_last_weights_and_histories_lie_so(solver):
    made = solver("channels_last")
    weight = made.net.tensor("conv.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    trained(made)
    assert made.net.tensor("conv.weight").stride() == weight.stride()
    assert {h.stride() for h in made.optimizer.histories[0] if h.dim() == 4} == {weight.stride()}


def test_the_loss_of_an_iteration_is_the_mean_of_its_batches(solver):
    single = solver()
    torch.manual_seed(5)
    expected = [single.step(iter([Drawn().batch(k)]), 0.0, 0)[0].item() for k in range(3)]
    (loss,), _ = trained(solver("exact", "iter_size=3", "max_iter=1"))
    assert loss == pytest.approx(sum(expected) / 3)


def test_bf16_trains_and_its_weights_stay_whole(solver):
    losses, arrays = trained(solver("exact"))
    halves, their = trained(solver("exact", "precision=BF16"))
    assert halves != losses
    assert halves == pytest.approx(losses, rel=0.05)
    assert {array.dtype for array in their.values()} == {array.dtype for array in arrays.values()}


def test_trying_what_is_fastest_changes_nothing_of_the_run(solver, monkeypatch):
    expected, weights = trained(solver())
    tried = solver()
    monkeypatch.setattr(speed, "LONG", 0.0)
    monkeypatch.setattr(speed, "TRIAL", 0.0)
    said: list[str] = []
    before = torch.get_rng_state()
    try_out(tried, said.append)
    assert torch.equal(torch.get_rng_state(), before)
    assert "channels_last" in said[0]
    tried.run_as(parse("exact"))
    losses, arrays = trained(tried)
    assert losses == expected
    assert all((arrays[name] == array).all() for name, array in weights.items())
