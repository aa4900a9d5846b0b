"""The update rules against plain numpy, in float64, one weight at a time, and against torch.optim."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nktc.schema import SolverParameter
from nktc.train.optimizers import SOLVERS, Learned, Optimizer, make

# Shapes with lr_mult and decay_mult; of the last the objective knows nothing, and the one before it starts at 0.
WEIGHTS = [
    ((4, 3, 2, 2), 1, 1), ((4,), 2, 0), ((5, 16), 1, 1), ((16, 5), 1, 1), ((6, 5), 0.5, 2), ((7,), 0, 1), ((3,), 1, 1),
    ((3, 2), 1, 1),
]  # fmt: skip
DECOUPLED = ("AdamW", "LAMB", "Muon")


def solver(type: str, **fields: object) -> SolverParameter:
    momentum = {} if type in ("AdaGrad", "RMSProp") else {"momentum": 0.9}
    return SolverParameter(**({"type": type, "delta": 1e-6, "weight_decay": 0.02} | momentum | fields))


def optimizer(weights: list[Tensor], s: SolverParameter, mults: list[tuple[float, float]] | None = None) -> Optimizer:
    mults = mults or [(1, 1)] * len(weights)
    learned = [Learned(str(i), w, *m) for i, (w, m) in enumerate(zip(weights, mults, strict=True))]
    return make(learned, SimpleNamespace(message=s))  # type: ignore[arg-type]


def orthogonal(matrix: np.ndarray) -> np.ndarray:
    """Five of Jordan's quintic steps: p(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5 on every singular value."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s /= max(np.sqrt((s**2).sum()), 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    return (u * s) @ v


def updated(s: SolverParameter, w: np.ndarray, g: np.ndarray, h: list, rate: float, decay: float, t: int) -> np.ndarray:
    """One weight after update t; `h`, its histories, are replaced."""
    mu, mu2, norm = s.momentum, s.momentum2, np.linalg.norm
    if s.larc and norm(w) and norm(g):
        trust = s.larc_eta * norm(w) / (norm(g) + decay * norm(w))
        rate = min(rate, trust) if s.larc_policy == "clip" else rate * trust
    pull = decay * (np.sign(w) if s.regularization_type == "L1" else w)
    if s.type not in DECOUPLED:
        g = g + pull
    match s.type:
        case "SGD":
            h[0] = mu * h[0] + rate * g
            return w - h[0]
        case "Nesterov":
            old, h[0] = h[0], mu * h[0] + rate * g
            return w - ((1 + mu) * h[0] - mu * old)
        case "AdaGrad":
            h[0] = h[0] + g**2
            return w - rate * g / (np.sqrt(h[0]) + s.delta)
        case "RMSProp":
            h[0] = s.rms_decay * h[0] + (1 - s.rms_decay) * g**2
            return w - rate * g / (np.sqrt(h[0]) + s.delta)
        case "AdaDelta":
            h[0] = mu * h[0] + (1 - mu) * g**2
            step = g * np.sqrt((h[1] + s.delta) / (h[0] + s.delta))
            h[1] = mu * h[1] + (1 - mu) * step**2
            return w - rate * step
        case "Muon" if w.ndim >= 2:
            h[0] = mu * h[0] + (1 - mu) * g
            matrix = (mu * h[0] + (1 - mu) * g).reshape(len(w), -1)
            step = 0.2 * np.sqrt(max(matrix.shape)) * orthogonal(matrix).reshape(w.shape)
            return w - rate * (step + pull)
    h[0] = mu * h[0] + (1 - mu) * g
    h[1] = mu2 * h[1] + (1 - mu2) * g**2
    if s.type == "Adam":
        return w - rate * np.sqrt(1 - mu2**t) / (1 - mu**t) * h[0] / (np.sqrt(h[1]) + s.delta)
    step = h[0] / (1 - mu**t) / (np.sqrt(h[1] / (1 - mu2**t)) + s.delta) + pull
    if s.type == "LAMB" and norm(w) and norm(step):
        step = step * norm(w) / norm(step)
    return w - rate * step


def rate(iteration: int) -> float:
    return 0.05 * 0.7**iteration


WAYS = {
    "plain": {},
    "momentum 0": {"momentum": 0},
    "L1": {"regularization_type": "L1"},
    "clipped": {"clip_gradients": 0.3, "iter_size": 3},
    "not clipped": {"clip_gradients": 300, "iter_size": 3},
    "LARC": {"larc": True, "larc_eta": 0.02},
    "LARS": {"larc": True, "larc_eta": 0.5, "larc_policy": "scale"},
    "update kept": {"snapshot_diff": True},
}


@pytest.mark.parametrize("as_tensors", [False, True], ids=["floats", "tensors"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("type", SOLVERS)
def test_six_updates_are_those_of_the_formulas(type, way, as_tensors):
    s = solver(type, **WAYS[way])
    torch.manual_seed(5)
    weights = [torch.randn(shape) * 0.3 for shape, *_ in WEIGHTS]
    weights[-2].zero_()
    weights[0][0, 0] = 0
    rule = optimizer(weights, s, [tuple(mult) for _, *mult in WEIGHTS])
    expected = [w.double().numpy() for w in weights]
    kept = [[np.zeros(w.shape) for _ in range(rule.slots)] for w in weights]
    for iteration in range(6):
        rule.zero()
        for w in weights[:-1]:
            w.grad = torch.randn(w.shape) * 0.1
        grads = [np.zeros(w.shape) if w.grad is None else w.grad.double().numpy() for w in weights]
        total = np.sqrt(sum((g**2).sum() for g in grads))
        if 0 <= s.clip_gradients < total:
            grads = [g * s.clip_gradients / total for g in grads]
        for i, (_, lr_mult, decay_mult) in enumerate(WEIGHTS):
            g, decay = grads[i] / s.iter_size, s.weight_decay * decay_mult
            expected[i] = updated(s, expected[i], g, kept[i], rate(iteration) * lr_mult, decay, iteration + 1)
        before = [w.clone() for w in weights]
        numbers = rule.numbers(rate(iteration), iteration)
        rule.step(*map(torch.tensor, numbers) if as_tensors else numbers)
        if s.snapshot_diff:
            for w, old in zip(weights, before, strict=True):
                torch.testing.assert_close(w.grad, old - w, rtol=0, atol=1e-6)
    assert (weights[5] == before[5]).all()  # lr_mult 0
    for w, found in zip(expected, weights, strict=True):
        atol = (2e-5 if type == "Muon" else 2e-6) * max(1, np.abs(w).max())
        np.testing.assert_allclose(found, w, rtol=0, atol=atol)
    for i, histories in enumerate(kept):
        for slot, history in enumerate(histories):
            if rule.histories[slot][i].numel():
                least = max(np.abs(history).max(), 1e-12)
                np.testing.assert_allclose(rule.histories[slot][i], history, rtol=0, atol=1e-5 * least)


def test_only_muon_keeps_less_than_its_slots():
    for type in SOLVERS:
        rule = optimizer([torch.ones(2, 3), torch.ones(2)], solver(type))
        assert len(rule.histories) == rule.slots == (1 if type in ("SGD", "Nesterov", "AdaGrad", "RMSProp") else 2)
        sizes = [[kept.numel() for kept in slot] for slot in rule.histories]
        assert sizes == ([[6, 2], [0, 2]] if type == "Muon" else [[6, 2]] * rule.slots)


def convolved(layout: torch.memory_format) -> list[Tensor]:
    """Weights in a memory order, their gradients as autograd lays them out."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), nn.Flatten(), nn.Linear(384, 4)).to(
        memory_format=layout
    )
    net(torch.ones(2, 3, 10, 10).contiguous(memory_format=layout)).sum().backward()
    for i, w in enumerate(net.parameters()):
        values = torch.arange(w.numel(), dtype=torch.float32).reshape(w.shape)
        w.detach().copy_(torch.sin(values + i))
        w.grad.copy_(torch.cos(2 * values + i))
    return list(net.parameters())


@pytest.mark.parametrize("way", ["plain", "LARC", "update kept"])
@pytest.mark.parametrize("type", SOLVERS)
def test_the_order_in_memory_changes_nothing(type, way):
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        weights = convolved(layout)
        rule = optimizer(weights, solver(type, **WAYS[way]))
        assert all(a.stride() == b.stride() for a, b in zip(weights, rule.histories[0], strict=True))
        grads = [w.grad.clone() for w in weights]
        for iteration in range(3):
            for w, grad in zip(weights, grads, strict=True):
                w.grad.copy_(grad)
            rule.step(*rule.numbers(0.01, iteration))
        found.append([w.detach() for w in weights])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("type", SOLVERS)
def test_histories_and_numbers_are_all_that_a_rule_remembers(type):
    def go_on(weights: list[Tensor], rule: Optimizer, iterations: range) -> None:
        for iteration in iterations:
            for i, w in enumerate(weights):
                w.grad = torch.sin(torch.arange(w.numel()) * (iteration + 1.0) + i).reshape(w.shape)
            rule.step(*rule.numbers(rate(iteration), iteration))

    whole = [torch.ones(3, 4), torch.ones(5)]
    go_on(whole, optimizer(whole, solver(type)), range(6))
    half = [torch.ones(3, 4), torch.ones(5)]
    first = optimizer(half, solver(type))
    go_on(half, first, range(3))
    rest = [w.clone() for w in half]
    second = optimizer(rest, solver(type))
    for ours, theirs in zip(second.histories, first.histories, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            a.copy_(b)
    go_on(rest, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole, rest, strict=True))


def compared(
    theirs: type[torch.optim.Optimizer],
    s: SolverParameter,
    shapes: list,
    steps: int,
    dtype: torch.dtype,
    **more: object,
) -> float:
    """The largest difference between a rule's weights and torch's, of `dtype`, after some steps."""
    torch.manual_seed(2)
    ours = [torch.randn(shape) for shape in shapes]
    other = [nn.Parameter(w.to(dtype, copy=True)) for w in ours]
    rule = optimizer(ours, s)
    reference = theirs(other, lr=0.02, weight_decay=s.weight_decay, **more)  # type: ignore[arg-type]
    for iteration in range(steps):
        for w, v in zip(ours, other, strict=True):
            w.grad = torch.randn(w.shape)
            v.grad = w.grad.to(dtype, copy=True)
        rule.step(*rule.numbers(0.02, iteration))
        reference.step()
    return max((w - v).abs().max().item() for w, v in zip(ours, other, strict=True))


@pytest.mark.parametrize(
    ("kept", "dtype", "most"),
    # In float32 torch loses digits in 1 - rate * decay; without its kernel we do not.
    [(False, torch.float32, 1e-6), (True, torch.float64, 2e-6)],
)
def test_adamw_is_torchs(kept, dtype, most):
    s = solver("AdamW", weight_decay=0.1, delta=1e-8, snapshot_diff=kept)
    shapes = [(20, 30), (30,), (4, 3, 3, 3)]
    assert compared(torch.optim.AdamW, s, shapes, 50, dtype, betas=(s.momentum, s.momentum2), eps=s.delta) < most


def test_muon_is_torchs_up_to_the_rounding_of_its_bfloat16():
    s = solver("Muon", momentum=0.95, weight_decay=0.1)
    more = {"momentum": s.momentum, "adjust_lr_fn": "match_rms_adamw"}
    shapes = [(20, 30), (30, 20), (8, 64), (20, 30)]
    assert compared(torch.optim.Muon, s, shapes, 1, torch.float32, **more) < 5e-4
    assert compared(torch.optim.Muon, s, shapes, 10, torch.float32, **more) < 5e-3


def test_a_muon_update_is_as_large_as_adamws_and_has_even_singular_values():
    w = torch.zeros(64, 256)
    w.grad = torch.randn(64, 256) @ torch.diag(torch.logspace(0, -1.5, 256))
    rule = optimizer([w], solver("Muon"))
    rule.step(*rule.numbers(1.0, 0))
    assert 0.15 < w.square().mean().sqrt() < 0.25
    values = torch.linalg.svdvals(w) / (0.2 * 256**0.5)
    assert values.min() > 0.65
    assert values.max() < 1.25


class Waits(TorchDispatchMode):
    """Refuses what reads a value on the host, as a capture does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func._schema.name not in ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("way", ["plain", "L1", "clipped", "LARC", "LARS", "update kept"])
@pytest.mark.parametrize("type", SOLVERS)
def test_an_update_never_waits_for_the_device(type, way):
    weights = [torch.ones(3, 4), torch.ones(4)]
    rule = optimizer(weights, solver(type, **WAYS[way]))
    weights[0].grad = torch.ones(3, 4)
    numbers = [torch.tensor(n) for n in rule.numbers(0.1, 0)]
    with Waits():
        rule.step(*numbers)
        with pytest.raises(AssertionError):
            numbers[0].item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("way", ["plain", "clipped", "LARC"])
@pytest.mark.parametrize("type", SOLVERS)
def test_a_captured_update_is_the_cpus(type, way):
    torch.manual_seed(4)
    host = [torch.randn(shape) for shape, *_ in WEIGHTS]
    sources = [torch.randn(w.shape, device="cuda") for w in host]
    weights = [w.cuda() for w in host]

    def spend(rule: Optimizer, weights: list[Tensor]) -> None:
        for w, source in zip(weights, sources, strict=True):
            w.grad.copy_(source)
        rule.step(*numbers.unbind())

    # What libraries set up at their first use cannot be captured.
    warm = [w.clone() for w in weights]
    first, rule, expected = (optimizer(some, solver(type, **WAYS[way])) for some in (warm, weights, host))
    numbers = torch.tensor(rule.numbers(rate(0), 0), device="cuda")
    for w in (*warm, *weights):
        w.grad = torch.zeros_like(w)
    spend(first, warm)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        spend(rule, weights)
    for iteration in range(4):
        for w, source in zip(host, sources, strict=True):
            w.grad = torch.randn(w.shape)
            source.copy_(w.grad)
        given = rule.numbers(rate(iteration), iteration)
        numbers.copy_(torch.tensor(given))
        graph.replay()
        expected.step(*given)
    for w, found in zip(host, weights, strict=True):
        torch.testing.assert_close(found.cpu(), w, rtol=0, atol=2e-2 if type == "Muon" else 1e-5)


def test_a_net_that_learns_nothing_has_an_update():
    for type in SOLVERS:
        rule = optimizer([], solver(type, clip_gradients=1, iter_size=2, larc=True))
        rule.step(*rule.numbers(0.1, 0))
        assert rule.gradients() == []


def test_a_clip_at_0_and_a_gradient_of_0_leave_the_decay():
    for clip, gradient in ((0.0, 1.0), (0.0, 0.0), (1.0, 0.0)):
        w = torch.ones(3)
        w.grad = torch.full((3,), gradient)
        rule = optimizer([w], solver("SGD", clip_gradients=clip, weight_decay=0.5))
        rule.step(*rule.numbers(0.1, 0))
        torch.testing.assert_close(w, torch.full((3,), 0.95))
