"""Lstm against the LSTM and CTPN's gradients, ContinuationIndicator against its definition."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nktc.ir import Layer
from nktc.layers import LSTM, ContinuationIndicator, Lstm


def test_it_is_an_lstm_whose_blobs_are_in_another_order() -> None:
    x, cont = torch.randn(4, 2, 3), torch.ones(4, 2)
    cont[0] = 0
    shapes = {name: one.shape for name, one in Lstm(5).weights((4, 2, 3)).items()}
    assert list(shapes.items()) == [("input_weight", (20, 3)), ("hidden_weight", (20, 5)), ("bias", (20,))]
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    (expected,) = LSTM(5).forward(x, cont, **weights)
    torch.testing.assert_close(Lstm(5).forward(x, **weights), expected)
    cont[2, 1] = 0
    (expected,) = LSTM(5).forward(x, cont, **weights)
    torch.testing.assert_close(Lstm(5).forward(x, cont, **weights), expected)


def test_with_a_second_bottom_the_last_state_goes_on() -> None:
    x = torch.randn(6, 2, 3)
    weights = {name: torch.randn(one.shape) for name, one in Lstm(4).weights((6, 2, 3)).items()}
    whole = Lstm(4).forward(x, **weights)
    state = {name: torch.zeros(1, 2, 4) for name in ("h", "c")}
    first = torch.ones(3, 2)
    first[0] = 0
    halves = [Lstm(4).forward(x[:3], first, **weights, **state)]
    halves.append(Lstm(4).forward(x[3:], torch.ones(3, 2), **weights, **state))
    torch.testing.assert_close(torch.cat(halves), whole)


def test_the_gradients_of_the_gates_stay_within_the_threshold() -> None:
    torch.manual_seed(1)
    x = torch.randn(1, 2, 3)
    weights = {name: torch.randn(one.shape).requires_grad_() for name, one in Lstm(4).weights((1, 2, 3)).items()}
    y = Lstm(4).forward(x, **weights)
    (free,) = torch.autograd.grad((9 * y).sum(), weights["bias"])
    y = Lstm(4, 0.5).forward(x, **weights)
    to_bias, to_input = torch.autograd.grad((9 * y).sum(), [weights["bias"], weights["input_weight"]])
    # Of one step: what each sequence gives, cut off, and only then added up.
    each = []
    for one in range(2):
        (alone,) = torch.autograd.grad((9 * Lstm(4).forward(x[:, one : one + 1], **weights)).sum(), weights["bias"])
        each.append(alone.clamp(-0.5, 0.5))
    torch.testing.assert_close(to_bias, each[0] + each[1])
    torch.testing.assert_close(to_input, each[0][:, None] * x[0, 0] + each[1][:, None] * x[0, 1])
    assert (free.abs() > 1).any()


def test_a_sequence_begins_at_its_first_step(layer: Callable[..., Layer]) -> None:
    it = layer("ContinuationIndicator", "continuation_indicator_param { time_step: 3 axis: 1 }", (7, 2, 4))
    assert it.forward(torch.zeros(7, 2, 4)).tolist() == [[0, 0], [1, 1], [1, 1]]
    assert ContinuationIndicator(2, 0, 3).forward().tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("kind", "settings", "shapes", "message"),
    [
        ("Lstm", "", ((3, 2, 4),), "has no num_output"),
        (
            "Lstm",
            "lstm_param { num_output: 1 }",
            ((3, 2),),
            "takes 3 axes or more (steps, sequences, what a step holds), not 2",
        ),
        ("Lstm", "lstm_param { num_output: 1 }", ((3, 2, 4), (3,)), "its second bottom is 3, not 3x2"),
        ("ContinuationIndicator", "", ((3, 2),), "has no time_step"),
        (
            "ContinuationIndicator",
            "continuation_indicator_param { time_step: 3 }",
            (),
            "does not know how many sequences there are",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    refusal: Callable[..., tuple[str, str]],
    kind: str,
    settings: str,
    shapes: tuple[tuple[int, ...], ...],
    message: str,
) -> None:
    found, _ = refusal(kind, settings, *shapes)
    assert found == message
