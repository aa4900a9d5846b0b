"""Online hard example mining: which boxes are kept, what each costs, the gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc.layers import BoxAnnotatorOHEM, SmoothL1LossOHEM, SoftmaxWithLossOHEM


@pytest.mark.parametrize("sides", [(1, 1), (2, 3)])
def test_the_dearest_boxes_of_each_image_keep_their_labels_and_weights(sides: tuple[int, int]) -> None:
    random = np.random.default_rng(5)
    n, kept = 7, 3
    boxes = random.normal(size=(n, 5, *sides)).astype(np.float32)
    boxes[:, 0] = random.integers(0, 3, size=(n, *sides))
    costs = random.permutation(n * sides[0] * sides[1]).reshape(n, 1, *sides).astype(np.float32)
    labels = random.integers(0, 9, size=(n, 1, *sides)).astype(np.float32)
    weights = random.normal(size=(n, 4, *sides)).astype(np.float32)
    found = BoxAnnotatorOHEM(kept, -1).forward(*map(torch.from_numpy, (boxes, costs, labels, weights)))
    expected, outer = np.full_like(labels, -1), np.zeros_like(weights)
    left = {0: kept, 1: kept, 2: kept}
    for place in sorted(np.ndindex(n, *sides), key=lambda at: -costs[at[0], 0, at[1], at[2]]):
        at = (place[0], slice(None), *place[1:])
        image = int(boxes[at][0])
        if left[image]:
            left[image] -= 1
            expected[at], outer[at] = labels[at], weights[at]
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], outer)


def test_boxes_of_two_axes_are_boxes_of_one_place(layer: Callable[..., BoxAnnotatorOHEM]) -> None:
    settings = "box_annotator_ohem_param { roi_per_img: 1 ignore_label: 255 }"
    annotator = layer("BoxAnnotatorOHEM", settings, (2, 5), (2,), (2,), (2, 8), tops=2)
    assert annotator.shape((2, 5), (2,), (2,), (2, 8)) == [(2, 1, 1, 1), (2, 8, 1, 1)]
    labels, weights = annotator.forward(
        torch.zeros(2, 5), torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.ones(2, 8)
    )
    assert labels.flatten().tolist() == [255, 4]
    assert weights.flatten(1).sum(1).tolist() == [0, 8]


def test_what_each_place_costs_is_summed_over_the_channels() -> None:
    a = torch.tensor([[0.5, 3.0], [-2.0, 0.0]], requires_grad=True)
    b, weights = torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [0.5, 1.0]])
    loss, costs = SmoothL1LossOHEM(by_place=True).forward(a, b, weights)
    loss.backward()
    # Differences 0.5, 6, -1 and 0 after the weights, which the gradient leaves out.
    assert costs.shape == (2, 1, 1, 1)
    assert costs.flatten().tolist() == [0.125 + 5.5, 0.5]
    assert loss.item() == pytest.approx((0.125 + 5.5 + 0.5) / 2)
    torch.testing.assert_close(a.grad, torch.tensor([[0.5, 1.0], [-1.0, 0.0]]) / 2)


@pytest.mark.parametrize(("normalization", "divisor"), [("VALID", 12), ("FULL", 12), ("BATCH_SIZE", 2), ("NONE", 1)])
def test_a_loss_of_places_is_divided_by_what_normalization_says(
    layer: Callable[..., SmoothL1LossOHEM], normalization: str, divisor: int
) -> None:
    settings = f"loss_param {{ normalization: {normalization} }}"
    built = layer("SmoothL1LossOHEM", settings, (2, 4, 2, 3), (2, 4, 2, 3))
    assert built.forward(torch.full((2, 4, 2, 3), 2.0), torch.zeros(2, 4, 2, 3)).item() == 48 * 1.5 / divisor


def test_what_each_item_costs_is_minus_the_logarithm_of_its_probability() -> None:
    random = np.random.default_rng(6)
    scores = torch.from_numpy(random.normal(size=(4, 3, 2, 1))).requires_grad_()
    label = torch.tensor([[0, 1], [2, -1], [1, 1], [-1, 0]]).view(4, 1, 2, 1).double()
    loss, probabilities, costs = SoftmaxWithLossOHEM(ignore=-1, outputs=3).forward(scores, label)
    loss.backward()
    values = np.exp(scores.detach().numpy())
    values /= values.sum(1, keepdims=True)
    expected, gradient = np.zeros((4, 1, 2, 1)), values.copy()
    for n, _, y, x in np.ndindex(4, 1, 2, 1):
        k = int(label[n, 0, y, x])
        if k < 0:
            gradient[n, :, y, x] = 0
        else:
            expected[n, 0, y, x] = -np.log(values[n, k, y, x])
            gradient[n, k, y, x] -= 1
    np.testing.assert_allclose(probabilities, values, rtol=1e-6)
    np.testing.assert_allclose(costs, expected, rtol=1e-6)
    assert loss.item() == pytest.approx(expected.sum() / 6)
    np.testing.assert_allclose(scores.grad, gradient / 6, atol=1e-8)


@pytest.mark.parametrize(
    ("kind", "settings", "shapes", "tops", "message"),
    [
        (
            "BoxAnnotatorOHEM",
            "box_annotator_ohem_param { roi_per_img: 2 }",
            [(3, 4), (3,), (3,), (3, 8)],
            2,
            "its boxes 3x4 are not of five numbers: image, xmin, ymin, xmax, ymax",
        ),
        (
            "BoxAnnotatorOHEM",
            "box_annotator_ohem_param { roi_per_img: 2 }",
            [(3, 5), (3, 2), (3,), (3, 8)],
            2,
            "its costs 3x2 are not one a box of 3x5",
        ),
        (
            "BoxAnnotatorOHEM",
            "box_annotator_ohem_param { roi_per_img: 2 }",
            [(3, 5), (3, 1, 1, 1, 7), (3,), (3, 8)],
            2,
            "its costs 3x1x1x1x7 are not one a box of 3x5",
        ),
        (
            "BoxAnnotatorOHEM",
            "box_annotator_ohem_param { ignore_label: 2 }",
            [(3, 5), (3,), (3,), (3, 8)],
            2,
            "has no roi_per_img",
        ),
        ("SmoothL1LossOHEM", "", [(3, 4), (2, 4)], 1, "its inputs 3x4 and 2x4 differ in axis 0, the batch"),
        ("SoftmaxWithLossOHEM", "", [(3, 4), (3, 2)], 1, "its scores 3x4 are 3 items, its label 3x2 has 6"),
    ],
)
def test_what_does_not_fit_is_refused(
    refusal: Callable[..., tuple[str, str]],
    kind: str,
    settings: str,
    shapes: list[tuple[int, ...]],
    tops: int,
    message: str,
) -> None:
    assert refusal(kind, settings, *shapes, tops=tops)[0] == message
