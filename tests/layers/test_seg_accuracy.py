"""SegAccuracy against counts of the pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nktc import module
from nktc.ir import Graph, Layer


def counted(told: np.ndarray, label: np.ndarray, classes: int, ignored: tuple[int, ...]) -> list[float]:
    pairs = [(w, t) for w, t in zip(label.ravel(), told.ravel(), strict=True) if w not in ignored and w < classes]
    recalls, unions = [], []
    for one in range(classes):
        both = sum(w == t == one for w, t in pairs)
        has, says = sum(w == one for w, _ in pairs), sum(t == one for _, t in pairs)
        recalls += [both / has] if has else []
        unions.append(both / (has + says - both) if has + says else 1.0)
    return [sum(w == t for w, t in pairs) / len(pairs), sum(recalls) / len(recalls), sum(unions) / classes]


def test_pixels_are_counted_class_by_class(layer: Callable[..., Layer]) -> None:
    random = np.random.default_rng(1)
    told, label = random.integers(0, 4, (2, 6, 5)), random.choice([0, 1, 2, 255, 7], (2, 1, 6, 5))
    scores = torch.nn.functional.one_hot(torch.from_numpy(told), 5).movedim(-1, 1).float()
    it = layer("SegAccuracy", "seg_accuracy_param { ignore_label: 255 ignore_label: 0 }", (2, 5, 6, 5), (2, 1, 6, 5))
    found = it.forward(scores, torch.from_numpy(label).float())
    assert found.shape == (1, 1, 1, 3)
    np.testing.assert_allclose(found.flatten(), counted(told, label, 5, (255, 0)), rtol=1e-6)


def test_of_equal_scores_the_last_class_is_told(layer: Callable[..., Layer]) -> None:
    it = layer("SegAccuracy", "", (1, 3, 1, 1), (1, 1, 1, 1))
    assert it.forward(torch.zeros(1, 3, 1, 1), torch.tensor([[[[2.0]]]])).flatten().tolist() == [1, 1, 1]


def test_unless_it_resets_batches_count_together(read: Callable[..., Graph]) -> None:
    text = """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 1 dim: 2 } } }
        layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 1 dim: 1 dim: 1 dim: 2 } } }
        layer { name: "a" type: "SegAccuracy" bottom: "x" bottom: "l" top: "a" seg_accuracy_param { reset: %s } }
    """
    right = torch.tensor([[[[0.0, 0]], [[1, 1]]]])
    for resets, second in (("true", 0.0), ("false", 0.5)):
        net = module.compile(read(text % resets))
        assert net(right, torch.ones(1, 1, 1, 2))["a"].flatten()[0] == 1
        assert net(right, torch.zeros(1, 1, 1, 2))["a"].flatten()[0] == second


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3), (2,)), "takes scores of 4 axes (batch, classes, height, width), not 2"),
        (((1, 3, 4, 4), (1, 1, 4, 3)), "its label 1x1x4x3 is not one class for each pixel of 1x3x4x4"),
    ],
)
def test_a_label_of_another_size_is_refused(
    refusal: Callable[..., tuple[str, str]], shapes: tuple[tuple[int, ...], ...], message: str
) -> None:
    found, _ = refusal("SegAccuracy", "", *shapes)
    assert found == message
