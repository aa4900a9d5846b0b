"""Proposal against a plain loop, and in runtimes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from layers.examples import Example

from nktc import export, module, reader
from nktc.ir import Phase
from nktc.layers import Proposal
from nktc.layers.suppression import greedy

RATIOS, SCALES, STRIDE = (0.5, 1.0), (1.0, 2.5), 4
SETTINGS = "proposal_param { ratio: 0.5 ratio: 1 scale: 1 scale: 2.5 feat_stride: 4 base_size: 8 min_size: 4 %s }"


def anchors() -> list[list[float]]:
    found = []
    for ratio in RATIOS:
        width = math.floor(math.sqrt(64 / ratio) + 0.5)
        height = math.floor(width * ratio + 0.5)
        for scale in SCALES:
            w, h = (width * scale - 1) / 2, (height * scale - 1) / 2
            found.append([3.5 - w, 3.5 - h, 3.5 + w, 3.5 + h])
    return found


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection by union, the last pixel counted; boxes apart share nothing."""
    if a[0] > b[2] or b[0] > a[2] or a[1] > b[3] or b[1] > a[3]:
        return 0.0
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return common / (sum(areas) - common)


def plainly(scores: np.ndarray, offsets: np.ndarray, info: np.ndarray, before: int, after: int) -> list[list[float]]:
    """The rows of boxes that are large enough; the others score 0, and come behind in an order of their own."""
    rows = []
    height, width, down, right = info.tolist()
    for image in range(len(scores)):
        found = []
        for y, x, a in np.ndindex(*scores.shape[2:], 4):
            box = anchors()[a]
            left, top = box[0] + x * STRIDE, box[1] + y * STRIDE
            w, h = box[2] - box[0] + 1, box[3] - box[1] + 1
            dx, dy, dw, dh = offsets[image, 4 * a : 4 * a + 4, y, x].tolist()
            middle_x, middle_y = left + w / 2 + dx * w, top + h / 2 + dy * h
            half_w, half_h = math.exp(dw) * w / 2, math.exp(dh) * h / 2
            sides = [middle_x - half_w, middle_y - half_h, middle_x + half_w, middle_y + half_h]
            sides = [min(max(side, 0), most - 1) for side, most in zip(sides, [width, height] * 2, strict=True)]
            large = sides[2] - sides[0] + 1 >= 4 * right and sides[3] - sides[1] + 1 >= 4 * down
            found.append((float(scores[image, 4 + a, y, x]) * large, sides))
        found = sorted(found, key=lambda one: -one[0])[:before]
        kept: list[tuple[float, list[float]]] = []
        for score, sides in found:
            if len(kept) < after and all(overlap(sides, other) <= 0.5 for _, other in kept):
                kept.append((score, sides))
        rows += [[image, *sides, score] for score, sides in kept if score > 0]
    return rows


@pytest.mark.parametrize(("before", "after"), [(6000, 300), (20, 300), (30, 5)])
def test_regions_are_those_of_a_plain_loop_in_runtimes_too(before: int, after: int) -> None:
    random = np.random.default_rng(2)
    scores = (random.permutation(2 * 8 * 3 * 5) / 240).reshape(2, 8, 3, 5).astype(np.float32)
    offsets = random.normal(0, 0.4, (2, 16, 3, 5)).astype(np.float32)
    info = np.array([[12, 20, 1.5, 1.25]], np.float32)
    settings = SETTINGS % f"pre_nms_topn: {before} post_nms_topn: {after} nms_thresh: 0.5"
    graph = Example("Proposal", settings, (scores.shape, offsets.shape, info.shape), tops=2).graph()
    made = module.compile(graph)(*map(torch.from_numpy, (scores, offsets, info)))
    rows = np.array(plainly(scores, offsets, info[0], before, after))

    def large(regions: np.ndarray, likely: np.ndarray) -> None:
        np.testing.assert_allclose(regions[likely > 1e-20], rows[:, :5], atol=1e-4)
        np.testing.assert_allclose(likely[likely > 1e-20], rows[:, 5], atol=1e-6)

    large(made["y0"].numpy(), made["y1"].numpy())
    model = onnx_ir.to_proto(export.to_onnx(graph)).SerializeToString()
    fed = {"x0": scores, "x1": offsets, "x2": info}
    large(*onnxruntime.InferenceSession(model).run(["y0", "y1"], fed))
    openvino = pytest.importorskip("openvino")
    compiled = openvino.compile_model(openvino.Core().read_model(model, b""), "CPU")
    found = compiled(fed)
    large(found["y0"], found["y1"])


def test_anchors_are_those_of_pvanet() -> None:
    found = Proposal((0.5, 1.0, 2.0), (8.0,)).anchors()
    # Ratios 0.5, 1 and 2 of 16 x 16 are 23 x 12, 16 x 16 and 11 x 22, times 8.
    assert found == [(-84, -40, 99, 55), (-56, -56, 71, 71), (-36, -80, 51, 95)]


def test_equal_scores_are_in_the_order_of_pvanets_quicksort() -> None:
    settings = "proposal_param { ratio: 1 scale: 1 base_size: 1 feat_stride: 1 min_size: 0 }"
    graph = Example("Proposal", settings, ((1, 2, 1, 5), (1, 4, 1, 5), (1, 4))).graph()
    scores = torch.tensor([[0.0] * 5, [0.2, 0.1, 0.2, 0.3, 0.2]]).reshape(1, 2, 1, 5)
    regions = module.compile(graph)(scores, torch.zeros(1, 4, 1, 5), torch.tensor([[9.0, 9, 1, 1]]))["y0"]
    assert regions[:, 1].tolist() == [3, 0, 2, 4, 1]


def test_boxes_less_than_a_pixel_apart_overlap_nothing() -> None:
    first, apart, beside = [0.0, 0, 1, 1], [1.5, 0, 2, 1], [1.0, 0, 2, 1]
    # Counting the last pixel the first and the third share 2 of 6; the second, which begins later, nothing.
    boxes = np.array([first, apart, beside], np.float32)
    assert greedy(boxes, np.arange(2), 0.1, pixel=1).tolist() == [0, 1]
    assert greedy(boxes, np.array([0, 2]), 0.3, pixel=1).tolist() == [0]
    assert greedy(boxes, np.array([0, 2]), 0.35, pixel=1).tolist() == [0, 2]


def test_a_net_goes_on_with_as_many_regions_as_there_are() -> None:
    settings = SETTINGS.replace("min_size: 4", "min_size: 0") % "nms_thresh: 0.5"  # none scores 0
    text = Example("Proposal", settings, ((1, 8, 3, 5), (1, 16, 3, 5), (1, 4))).text()
    text += """
        layer { name: "f" type: "Input" top: "f" input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }
        layer { name: "p" type: "ROIPooling" bottom: "f" bottom: "y0" top: "p" roi_pooling_param { pooled_size: 2 } }
        layer { name: "r" type: "Reshape" bottom: "p" top: "r" reshape_param { shape { dim: 0 dim: -1 } } }
        layer { name: "s" type: "Softmax" bottom: "r" top: "s" }
    """
    graph = reader.build(reader.parse_net(text), Phase.TEST)
    net, model = module.compile(graph), onnx_ir.to_proto(export.to_onnx(graph)).SerializeToString()
    random = np.random.default_rng(2)
    fed = {
        "x0": random.random((1, 8, 3, 5)).astype(np.float32),
        "x1": random.normal(0, 0.4, (1, 16, 3, 5)).astype(np.float32),
        "x2": np.array([[12, 20, 1, 1]], np.float32),
        "f": random.random((1, 2, 6, 6)).astype(np.float32),
    }
    expected = net(*(torch.from_numpy(fed[value.name]) for value in net.graph.inputs))["s"]
    assert len(expected) < 300
    found = onnxruntime.InferenceSession(model).run(["s"], fed)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "shapes", "message"),
    [
        ("", [(1, 2, 3, 4), (1, 4, 3, 4), (1, 3)], "has no ratio above 0"),
        ("ratio: 1 scale: 8 pre_nms_topn: 0", [(1, 2, 3, 4), (1, 4, 3, 4), (1, 3)], "pre_nms_topn is 0"),
        (
            "ratio: 1 scale: 8",
            [(1, 3, 3, 4), (1, 4, 3, 4), (1, 3)],
            "its scores 1x3x3x4 are not 2 at each of 1 anchors",
        ),
        ("ratio: 1 scale: 8", [(1, 2, 3, 4), (1, 4, 3, 5), (1, 3)], "its inputs 1x2x3x4 and 1x4x3x5 differ"),
        ("ratio: 1 scale: 8", [(1, 2, 3, 4), (1, 4, 3, 4), (2,)], "its third input 2 is not height, width and scale"),
    ],
)
def test_what_does_not_match_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert refusal("Proposal", f"proposal_param {{ {settings} }}", *shapes)[0] == message
