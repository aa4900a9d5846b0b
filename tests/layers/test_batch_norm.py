"""BatchNorm: Caffe's sums, its defaults by phase, its corner cases."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.ir import Phase
from nktc.layers import BatchNorm, batch_norm


def state(channels: int, count: float = 0.0) -> dict[str, Tensor]:
    return {"mean": torch.randn(channels), "variance": torch.rand(channels) + 0.5, "count": torch.tensor([count])}


def test_the_phase_chooses_the_statistics_unless_told(layer: Callable[..., BatchNorm]) -> None:
    told = "batch_norm_param { use_global_stats: true }"
    assert layer("BatchNorm", "", (2, 3)).stored
    assert not layer("BatchNorm", "", (2, 3), phase=Phase.TRAIN).stored
    assert layer("BatchNorm", told, (2, 3), phase=Phase.TRAIN).stored


def test_stored_sums_are_divided_by_their_count() -> None:
    x, held = torch.randn(4, 3, 2, 2), state(3, count=4.0)
    mean, variance = (held[name].view(3, 1, 1) / 4 for name in ("mean", "variance"))
    expected = (x - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(BatchNorm().forward(x, **held), expected)


def test_a_count_of_zero_means_no_statistics_at_all() -> None:
    x = torch.randn(4, 3)
    torch.testing.assert_close(BatchNorm().forward(x, **state(3)), x / 1e-5**0.5)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 2), (2, 3, 4)])
def test_a_training_step_normalises_by_the_batch_and_adds_it_to_the_sums(shape: tuple[int, ...]) -> None:
    x, held = torch.randn(shape), state(3, count=2.0)
    before = {name: t.clone() for name, t in held.items()}
    y = BatchNorm(stored=False, keep=0.9).forward(x, **held)
    rows = x.transpose(0, 1).flatten(1)
    mean, variance, unbiased = rows.mean(1), rows.var(1, correction=0), rows.var(1)
    aligned = (3, *(1,) * (x.dim() - 2))
    torch.testing.assert_close(y, (x - mean.view(aligned)) / (variance.view(aligned) + 1e-5).sqrt())
    torch.testing.assert_close(held["mean"], 0.9 * before["mean"] + mean)
    torch.testing.assert_close(held["variance"], 0.9 * before["variance"] + unbiased)
    torch.testing.assert_close(held["count"], 0.9 * before["count"] + 1)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("shape", [(6, 3, 8, 7), (6, 3, 9), (2, 3, 4, 3, 2)])
def test_either_layout_gives_torchs_values_and_gradients(
    shape: tuple[int, ...], scaled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels outermost are added up in another way, a few items at a time."""
    monkeypatch.setattr(batch_norm, "PART", 70)
    factors = {"weight": torch.randn(3, requires_grad=True), "bias": torch.randn(3, requires_grad=True)}
    weights = factors if scaled else {}
    outermost = 3 * torch.randn(shape) + 5
    innermost = outermost.movedim(1, -1).contiguous().movedim(-1, 1)
    direction = torch.randn(shape)
    assert batch_norm.ChannelsOutermost.pays(outermost)
    assert not batch_norm.ChannelsOutermost.pays(innermost)
    for x in (outermost.requires_grad_(), innermost.requires_grad_()):
        held, mean, variance = state(3), torch.zeros(3), torch.zeros(3)
        before = held["variance"].clone()
        y = BatchNorm(stored=False, keep=0.9).forward(x, **held, **weights)
        expected = F.batch_norm(x, mean, variance, **weights, training=True, momentum=1)
        wanted = [x, *weights.values()]
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(held["variance"], 0.9 * before + variance)
        found, expected = (torch.autograd.grad(one, wanted, direction) for one in (y, expected))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_single_value_a_channel_is_its_own_mean() -> None:
    x, held = torch.randn(1, 3, 1, 1, requires_grad=True), state(3, count=1.0)
    before = {name: t.clone() for name, t in held.items()}
    y = BatchNorm(stored=False).forward(x, **held)
    y.sum().backward()
    assert y.tolist() == torch.zeros(1, 3, 1, 1).tolist()
    assert x.grad is not None
    assert not x.grad.any()
    torch.testing.assert_close(held["mean"], 0.999 * before["mean"] + x.detach().flatten())
    torch.testing.assert_close(held["variance"], 0.999 * before["variance"])


def test_its_weights_are_state(layer: Callable[..., BatchNorm]) -> None:
    weights = layer("BatchNorm", "", (2, 3)).weights((2, 3))
    assert [(name, w.shape, w.learns) for name, w in weights.items()] == [
        ("mean", (3,), False),
        ("variance", (3,), False),
        ("count", (1,), False),
    ]


def test_a_learning_rate_for_its_state_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    message, at = refusal("BatchNorm", "param { lr_mult: 1 }", (2, 3))
    assert (message, at) == ("its mean has lr_mult 1", "lr_mult: 1")


def test_one_axis_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    assert refusal("BatchNorm", "", (3,))[0] == "takes 2 axes or more (batch, channels, ...), not 1"


NVIDIA = "batch_norm_param { scale_bias: true moving_average_fraction: 0.8 use_global_stats: false }"


def test_nvidias_learns_a_factor_and_a_bias_and_stores_a_mean_of_the_batches(layer: Callable[..., BatchNorm]) -> None:
    shape = (4, 3, 2, 5)
    it = layer("BatchNorm", NVIDIA, shape, phase=Phase.TRAIN)
    assert list(it.weights(shape)) == ["mean", "variance", "count", "weight", "bias"]
    assert [weight.learns for weight in it.weights(shape).values()] == [False] * 3 + [True] * 2
    x, y = torch.randn(shape), torch.randn(shape)
    held = {name: torch.zeros(3) for name in ("mean", "variance")} | {"count": torch.zeros(1)}
    learned = {"weight": torch.rand(3), "bias": torch.rand(3)}
    plain = BatchNorm(stored=False).forward(x, **state(3))
    made = it.forward(x, **held, **learned)
    torch.testing.assert_close(made, plain * learned["weight"].view(3, 1, 1) + learned["bias"].view(3, 1, 1))
    it.forward(y, **held, **learned)
    for name, found in (("mean", torch.mean), ("variance", torch.var)):
        first, second = (found(one, (0, 2, 3)) for one in (x, y))
        torch.testing.assert_close(held[name], 0.8 * first + 0.2 * second)
    assert held["count"] == 1
    tested = layer("BatchNorm", NVIDIA, shape)
    assert tested.stored  # whatever use_global_stats says, as there
    mean, deviation = held["mean"].view(3, 1, 1), (held["variance"] + 1e-5).sqrt().view(3, 1, 1)
    expected = (x - mean) / deviation * learned["weight"].view(3, 1, 1) + learned["bias"].view(3, 1, 1)
    torch.testing.assert_close(tested.forward(x, **held, **learned), expected)


def test_intels_may_leave_the_bias_and_bend(layer: Callable[..., BatchNorm]) -> None:
    x = torch.randn(4, 3, 2, 2)
    it = layer("BatchNorm", "batch_norm_param { use_weight_bias: true bias_term: false relu: true }", (4, 3, 2, 2))
    assert list(it.weights((4, 3, 2, 2))) == ["mean", "variance", "count", "weight"]
    held, weight = state(3, 2.0), torch.rand(3)
    expected = (BatchNorm().forward(x, **held) * weight.view(3, 1, 1)).clamp(min=0)
    torch.testing.assert_close(it.forward(x, **held, weight=weight), expected)
    filled = layer("BatchNorm", 'batch_norm_param { filler { type: "constant" value: 2 } }', (4, 3))
    assert [one.filler.value for one in filled.weights((4, 3)).values()] == [0, 0, 0, 2, 0]


@pytest.mark.parametrize(
    ("settings", "averages", "learned"),
    [
        ("scale_filler { value: 2 }", True, [2, 0]),
        ("scale_bias: false scale_filler { value: 2 }", True, [2, 0]),
        ("bias_filler { value: 3 }", True, [1, 3]),
        ("filler { value: 2 } bias_filler { value: 3 }", False, [2, 3]),
        ("use_weight_bias: true bias_filler { value: 3 }", False, [1, 3]),
        ("use_weight_bias: false bias_filler { value: 3 }", False, []),
        ("scale_bias: false", False, []),
    ],
)
def test_a_filler_alone_makes_it_learn(
    layer: Callable[..., BatchNorm], settings: str, averages: bool, learned: list[float]
) -> None:
    it = layer("BatchNorm", f"batch_norm_param {{ {settings} }}", (4, 3))
    assert it.averages is averages
    assert [one.filler.value for one in it.weights((4, 3)).values()][3:] == learned


def test_an_eps_of_0_trains(layer: Callable[..., BatchNorm]) -> None:
    it = layer("BatchNorm", "batch_norm_param { eps: 0 }", (4, 1), phase=Phase.TRAIN)
    x = torch.tensor([[1.0], [1.0], [5.0], [5.0]])
    torch.testing.assert_close(it.forward(x, **state(1)), torch.tensor([[-1.0], [-1.0], [1.0], [1.0]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("eps: -1", "eps is -1"),
        ("disable_mean: true", "takes no disable_mean"),
        ("update_global_stats: true", "takes no update_global_stats"),
        ("use_global_stats: false stats_batch_size: 3", "its batch 4 does not divide by its stats_batch_size 3"),
    ],
)
def test_what_one_fork_alone_has_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, message: str
) -> None:
    assert refusal("BatchNorm", f"batch_norm_param {{ {settings} }}", (4, 3))[0] == message


def test_intels_parts_of_a_batch_are_normalised_one_after_the_other() -> None:
    x = torch.randn(6, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    state = [torch.tensor([1.0, 2, 3]).double(), torch.tensor([4.0, 5, 6]).double(), torch.tensor([7.0]).double()]
    held = [one.clone() for one in state]
    y = BatchNorm(stored=False, keep=0.9, eps=0.01, part=2).forward(x, *state)
    (y * torch.arange(72.0).view(6, 3, 2, 2)).sum().backward()
    values, gradient = x.detach(), torch.empty(6, 3, 2, 2, dtype=torch.float64)
    for i in range(0, 6, 2):
        part, slope = values[i : i + 2], torch.arange(72.0).view(6, 3, 2, 2)[i : i + 2].double()
        mean, variance = part.mean((0, 2, 3), keepdim=True), part.var((0, 2, 3), correction=0, keepdim=True)
        normal = (part - mean) / (variance + 0.01).sqrt()
        torch.testing.assert_close(y[i : i + 2].detach(), normal)
        found = part.var((0, 2, 3))  # of 8 numbers, corrected
        held = [0.9 * a + b for a, b in zip(held, (mean.flatten(), found, torch.ones(1)), strict=True)]
        shift = slope.mean((0, 2, 3), keepdim=True) + (slope * normal).mean((0, 2, 3), keepdim=True) * normal
        gradient[i : i + 2] = (slope - shift) / (variance + 0.01).sqrt()
    torch.testing.assert_close(x.grad, gradient)
    for one, expected in zip(state, held, strict=True):
        torch.testing.assert_close(one, expected)
