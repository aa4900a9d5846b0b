"""The boxes of YOLO's second and third version against loops over their cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from layers.examples import Example

from nktc import export
from nktc.layers import YoloDetectionOutput, Yolov3DetectionOutput


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def overlap(a: list[float], b: list[float]) -> float:
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    both = 0.0 if min(sides) < 0 else sides[0] * sides[1]
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def suppressed(found: list[tuple[int, float, list[float]]], limit: float) -> list[tuple[int, float, list[float]]]:
    kept: list[tuple[int, float, list[float]]] = []
    for one in sorted(found, key=lambda row: -row[1]):
        if all(overlap(one[2], other[2]) < limit for other in kept):
            kept.append(one)
    return kept


def box(cell: np.ndarray, row: int, column: int, wide: float, tall: float, h: int, w: int) -> list[float]:
    x, y = (column + sigmoid(cell[0])) / w, (row + sigmoid(cell[1])) / h
    wide, tall = wide * np.exp(cell[2]), tall * np.exp(cell[3])
    return [x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2]


def check(rows: torch.Tensor, expected: list[list[tuple[int, float, list[float]]]]) -> None:
    table = [[i, label, score, *sides] for i, image in enumerate(expected) for label, score, sides in image]
    assert rows.shape == (1, 1, len(table), 7)
    np.testing.assert_allclose(rows[0, 0], np.array(table), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("maps", [1, 2])
def test_the_second_version_gives_each_box_its_likeliest_class(
    layer: Callable[..., YoloDetectionOutput], maps: int
) -> None:
    biases = [1.0, 2.0, 3.0, 1.5]
    settings = "yolo_detection_output_param { num_classes: 3 num_box: 2 confidence_threshold: 0.2 nms_threshold: 0.3 "
    settings += " ".join(f"biases: {b}" for b in biases) + " }"
    shapes = [(2, 16, 3, 4), (2, 16, 2, 2)][:maps]
    inputs = [np.random.default_rng(i).normal(size=shape) * 1.5 for i, shape in enumerate(shapes)]
    found = layer("YoloDetectionOutput", settings, *shapes).forward(*map(torch.from_numpy, inputs))
    expected = []
    for image in range(2):
        candidates = []
        for x in inputs:
            h, w = x.shape[2:]
            for row, column, b in np.ndindex(h, w, 2):
                cell = x[image].reshape(2, 8, h, w)[b, :, row, column]
                shares = np.exp(cell[5:]) / np.exp(cell[5:]).sum()
                score = float(sigmoid(cell[4]) * shares.max())
                sides = box(cell, row, column, biases[2 * b] / w, biases[2 * b + 1] / h, h, w)
                if score >= 0.2:
                    candidates.append((int(shares.argmax()) + 1, score, sides))
        expected.append(suppressed(candidates, 0.3))
    assert 2 < len(expected[0]) < 20
    check(found, expected)


def test_the_third_version_gives_each_box_a_score_for_each_class(layer: Callable[..., Yolov3DetectionOutput]) -> None:
    anchors = [(10, 14), (23, 27), (37, 58), (81, 82)]
    settings = "yolov3_detection_output_param { num_classes: 2 num_box: 2 confidence_threshold: 0.3 nms_threshold: 0.4 "
    settings += " ".join(f"biases: {side}" for pair in anchors for side in pair)
    settings += " mask: 2 mask: 3 mask: 0 mask: 1 anchors_scale: 32 anchors_scale: 16 }"
    shapes = [(2, 14, 2, 3), (2, 14, 4, 6)]
    inputs = [np.random.default_rng(7 + i).normal(size=shape) * 1.5 for i, shape in enumerate(shapes)]
    found = layer("Yolov3DetectionOutput", settings, *shapes).forward(*map(torch.from_numpy, inputs))
    expected = []
    for image in range(2):
        candidates = []
        for x, chosen, scale in zip(inputs, (anchors[2:], anchors[:2]), (32, 16), strict=True):
            h, w = x.shape[2:]
            for row, column, b in np.ndindex(h, w, 2):
                cell = x[image].reshape(2, 7, h, w)[b, :, row, column]
                sides = box(cell, row, column, chosen[b][0] / (w * scale), chosen[b][1] / (h * scale), h, w)
                for label in range(2):
                    score = float(sigmoid(cell[5 + label]) * sigmoid(cell[4]))
                    if score > 0.3:
                        candidates.append((label + 1, score, sides))
        expected.append(suppressed(candidates, 0.4))
    assert 2 < len(expected[0]) < 60
    check(found, expected)


@pytest.mark.parametrize(
    ("kind", "settings", "shapes"),
    [
        (
            "YoloDetectionOutput",
            "yolo_detection_output_param { num_classes: 3 num_box: 2 biases: [1, 2, 3, 1.5] "
            "confidence_threshold: 0.1 }",
            ((2, 16, 3, 4), (2, 16, 2, 2)),
        ),
        (
            "Yolov3DetectionOutput",
            "yolov3_detection_output_param { num_classes: 2 num_box: 1 biases: [10, 14, 23, 27] mask: [1, 0] "
            "anchors_scale: [16, 8] confidence_threshold: 0.3 }",
            ((2, 7, 3, 4), (2, 7, 6, 8)),
        ),
    ],
)
@pytest.mark.parametrize("scale", [1.5, 0.0])
def test_onnx_runtime_finds_the_same_boxes(
    kind: str, settings: str, shapes: tuple[tuple[int, ...], ...], scale: float
) -> None:
    graph = Example(kind, settings, shapes).graph()
    inputs = [
        (np.random.default_rng(i).normal(size=s) * scale - (scale == 0) * 9).astype("f") for i, s in enumerate(shapes)
    ]
    expected = graph.nodes[-1].layer.forward(*map(torch.from_numpy, inputs))
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(export.to_onnx(graph)).SerializeToString())
    (found,) = session.run(None, {value.name: x for value, x in zip(graph.inputs, inputs, strict=True)})
    assert len(expected[0, 0]) == 2 if scale == 0 else len(expected[0, 0]) > 5
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_where_nothing_is_found_there_is_a_row_for_each_image() -> None:
    empty = torch.full((2, 16, 2, 2), -20.0)
    rows = YoloDetectionOutput(3, ((1.0, 1.0), (2.0, 2.0))).forward(empty)
    assert rows[0, 0].tolist() == [[0, *[-1] * 6], [1, *[-1] * 6]]


def test_a_box_of_an_infinite_side_stays_and_takes_no_other_with_it() -> None:
    cells = torch.zeros(1, 2, 6, 1, 1)
    cells[0, :, 4] = torch.tensor([9.0, 8.0])[:, None, None]
    cells[0, 0, 2] = 200.0  # e^200 is beyond 32 bits
    rows = YoloDetectionOutput(1, ((1.0, 1.0), (1.0, 1.0))).forward(cells.reshape(1, 12, 1, 1))
    assert len(rows[0, 0]) == 2


@pytest.mark.parametrize(
    ("kind", "settings", "shapes", "message"),
    [
        (
            "YoloDetectionOutput",
            "yolo_detection_output_param { num_box: 1 biases: 1 biases: 2 }",
            [(1, 24, 2, 2)],
            "its input 1x24x2x2 has not 25 channels: 5 and 20 classes for 1 boxes",
        ),
        (
            "YoloDetectionOutput",
            "yolo_detection_output_param { biases: 1 biases: 2 }",
            [(1, 25, 2, 2)],
            "has 1 pairs of biases for 5 boxes",
        ),
        (
            "Yolov3DetectionOutput",
            "yolov3_detection_output_param { num_box: 1 mask_group_num: 1 mask: 1 biases: 1 biases: 2 }",
            [(1, 25, 2, 2)],
            "mask 1 is none of its 1 anchors",
        ),
        (
            "Yolov3DetectionOutput",
            "yolov3_detection_output_param { num_box: 1 mask_group_num: 1 mask: 0 biases: 1 biases: 2 }",
            [(1, 25, 2, 2)],
            "has 0 anchors_scale for 1 inputs",
        ),
        (
            "Yolov3DetectionOutput",
            "yolov3_detection_output_param { gaussian_box: true }",
            [(1, 25, 2, 2)],
            "boxes with a deviation for each side are not supported",
        ),
    ],
)
def test_maps_that_do_not_fit_are_refused(
    refusal: Callable[..., tuple[str, str]], kind: str, settings: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert refusal(kind, settings, *shapes)[0] == message
