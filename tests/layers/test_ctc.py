"""The losses of label sequences against torch's own and against the sum over all ways to read a sequence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nktc.ir import Layer


def by_torch(scores: Tensor, labels: list[list[int]], steps: list[int], blank: int) -> Tensor:
    rows = torch.tensor([row + [0] * (9 - len(row)) for row in labels])
    logs = F.log_softmax(scores, -1)
    lengths = torch.tensor([len(row) for row in labels])
    return F.ctc_loss(logs, rows, torch.tensor(steps), lengths, blank, "none", zero_infinity=True)


def test_ctcloss_of_deepdetect_is_torchs(layer: Callable[..., Layer]) -> None:
    torch.manual_seed(1)
    scores = torch.randn(7, 4, 5, dtype=torch.float64, requires_grad=True)
    # Blanks are left out wherever they stand; the third has none but blanks, the fourth too many for 6 steps.
    label = torch.tensor([[1.0, 2, 3, 2], [1, 3, 1, 1], [2, 2, 2, 2], [4, 4, 4, 4]])
    it = layer(
        "CtcLoss", "ctc_loss_param { alphabet_size: 5 time_step: 6 blank_label: 2 }", tuple(scores.shape), (4, 4)
    )
    loss = it.forward(scores, label)
    each = by_torch(scores[:6], [[1, 3], [1, 3, 1, 1], [], [4, 4, 4, 4]], [6] * 4, 2)
    assert each[3] == 0
    torch.testing.assert_close(loss, each.mean())
    gradients = torch.autograd.grad(loss, scores)[0], torch.autograd.grad(each.mean(), scores)[0]
    torch.testing.assert_close(*gradients)


def test_ctcloss_of_textboxes_is_torchs(layer: Callable[..., Layer]) -> None:
    torch.manual_seed(2)
    scores = torch.randn(8, 3, 5, 1, dtype=torch.float64, requires_grad=True)
    goes_on = torch.ones(8, 3)
    goes_on[0] = 0
    goes_on[6, 0] = 0  # the first sequence has 6 steps
    goes_on[1:, 2] = 0
    label = torch.full((8, 3), -1.0)
    label[:3, 0] = torch.tensor([1.0, 1, 3])
    label[:2, 1] = torch.tensor([0.0, 2])
    it = layer("CTCLoss", "", tuple(scores.shape), (8, 3), (8, 3))
    loss = it.forward(scores, goes_on, label)
    each = by_torch(scores[..., 0], [[1, 1, 3], [0, 2], []], [6, 8, 1], 4)
    torch.testing.assert_close(loss, each[:2].sum() / 3)
    # TextBoxes++ divides the value by the sequences, and not the gradient.
    gradients = (torch.autograd.grad(one, scores)[0] for one in (loss, each[:2].sum()))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("merges", [True, False])
@pytest.mark.parametrize("delay", [0, 1])
def test_the_loss_is_the_sum_over_all_ways_to_read_a_sequence(
    layer: Callable[..., Layer], merges: bool, delay: int
) -> None:
    torch.manual_seed(3)
    scores = torch.randn(5, 1, 3, dtype=torch.float64)
    wanted = [1, 1, 0] if not merges else [1, 0]
    label = torch.tensor([*wanted, *[-1.0] * (5 - len(wanted))])[:, None]
    goes_on = torch.tensor([0.0, 1, 1, 1, 1])[:, None]
    settings = f"ctc_loss_param {{ output_delay: {delay} ctc_merge_repeated: {str(merges).lower()} }}"
    it = layer("CTCLoss", settings, (5, 1, 3), (5, 1), (5, 1))
    logs = F.log_softmax(scores[:, 0], -1)[delay:]
    chance = 0.0
    for path in itertools.product(range(3), repeat=5 - delay):
        read = [c for i, c in enumerate(path) if not (merges and i and path[i - 1] == c)]
        if [c for c in read if c != 2] == wanted:
            chance += math.exp(sum(logs[t, c].item() for t, c in enumerate(path)))
    assert it.forward(scores, goes_on, label).item() == pytest.approx(-math.log(chance))


def test_equal_labels_in_a_row_can_be_taken_for_one(layer: Callable[..., Layer]) -> None:
    scores = torch.randn(6, 1, 4)
    goes_on = torch.tensor([0.0, 1, 1, 1, 1, 1])[:, None]
    label = torch.tensor([1.0, 1, 2, 2, -1, -1])[:, None]
    it = layer("CTCLoss", "ctc_loss_param { preprocess_collapse_repeated: true }", (6, 1, 4), (6, 1), (6, 1))
    torch.testing.assert_close(it.forward(scores, goes_on, label), by_torch(scores, [[1, 2]], [6], 3)[0])


def test_a_sequence_is_right_where_all_its_labels_are(layer: Callable[..., Layer]) -> None:
    best = [[1, 1, 0, 2], [1, 0, 1, 0], [0, 0, 0, 0], [2, 2, 2, 2]]
    label = torch.tensor([[1.0, 2, 0], [1, 0, 1], [0, 0, 0], [2, 2, 0]])  # the last was read once
    scores = F.one_hot(torch.tensor(best), 3).float()
    it = layer("LabelsequenceAccuracy", "", (4, 4, 3), (4, 3))
    assert it.forward(scores, label).item() == 0.75
    assert it.forward(scores, torch.tensor([[1.0, 2, 1]] * 4)).item() == 0


@pytest.mark.parametrize(
    ("kind", "settings", "shapes", "message"),
    [
        ("CtcLoss", "time_step: 4", ((4, 1, 3), (1, 2)), "has no alphabet_size"),
        ("CtcLoss", "alphabet_size: 3", ((4, 1, 3), (1, 2)), "has no time_step"),
        ("CtcLoss", "alphabet_size: 3 time_step: 5", ((4, 1, 3), (1, 2)), "time_step 5 is more than its 4 steps"),
        ("CtcLoss", "alphabet_size: 4 time_step: 4", ((4, 1, 3), (1, 2)), "alphabet_size 4 is not its 3 classes"),
        (
            "CtcLoss",
            "alphabet_size: 3 time_step: 4 blank_label: 3",
            ((4, 1, 3), (1, 2)),
            "blank_label 3 is outside its 3 classes",
        ),
        (
            "CtcLoss",
            "alphabet_size: 3 time_step: 4",
            ((4, 1, 3), (2, 2)),
            "its label 2x2 is not a row for each of 1 sequences",
        ),
        ("CTCLoss", "", ((4, 3), (4,), (4,)), "takes 3 axes (steps, sequences, classes), not 4x3"),
        ("CTCLoss", "blank_index: 3", ((4, 1, 3), (4, 1), (4, 1)), "blank_index 3 is outside its 3 classes"),
        ("CTCLoss", "output_delay: 4", ((4, 1, 3), (4, 1), (4, 1)), "output_delay 4 leaves none of its 4 steps"),
        ("CTCLoss", "", ((4, 1, 3), (4, 2), (4, 1)), "its sequence indicators are 4x2, not 4x1"),
        ("CTCLoss", "", ((4, 1, 3), (4, 1), (3, 1)), "its label is 3x1, not 4x1"),
        ("LabelsequenceAccuracy", "", ((4, 3), (4, 2)), "takes 3 axes (sequences, steps, classes), not 4x3"),
    ],
)
def test_what_does_not_fit_is_refused(
    refusal: Callable[..., tuple[str, str]],
    kind: str,
    settings: str,
    shapes: tuple[tuple[int, ...], ...],
    message: str,
) -> None:
    param = "ctc_loss_param" if settings else ""
    found, _ = refusal(kind, f"{param} {{ {settings} }}" if param else "", *shapes)
    assert found == message
