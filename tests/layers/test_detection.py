"""DetectionOutput and DetectionBoxes: what they are made of, in runtimes too, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from layers.examples import Example

from nktc import export
from nktc.errors import NktcError
from nktc.ir import Layer
from nktc.layers.priors import decode

SETTINGS = "num_classes: 3 code_type: CENTER_SIZE nms_param { nms_threshold: 0.4 top_k: 9 } keep_top_k: 7"
PRIORS = 12


def given(images: int = 2, boxes: int = 1) -> list[np.ndarray]:
    """Offsets, scores that differ, and priors that are not swapped."""
    random = np.random.default_rng(4)
    corners = random.random((PRIORS, 2)) / 2
    sides = np.concatenate([corners, corners + 0.1 + random.random((PRIORS, 2)) / 3], 1)
    variance = np.full((PRIORS, 4), 0.1)
    offsets = random.normal(size=(images, PRIORS * boxes * 4))
    scores = (random.permutation(images * PRIORS * 3) + 1).reshape(images, -1) / (images * PRIORS * 3)
    priors = np.stack([sides.reshape(-1), variance.reshape(-1)])[None]
    return [array.astype(np.float32) for array in (offsets, scores, priors)]


def shapes(arrays: list[np.ndarray]) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in arrays)


def run(settings: str, arrays: list[np.ndarray], target: str = "onnxruntime") -> np.ndarray:
    """What ONNX Runtime finds."""
    graph = Example("DetectionOutput", f"detection_output_param {{ {settings} }}", shapes(arrays)).graph()
    model = onnx_ir.to_proto(export.to_onnx(graph, target=export.target(target)))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    fed = {value.name: array for value, array in zip(graph.inputs, arrays, strict=True)}
    found: np.ndarray = session.run(None, fed)[0]
    return found


@pytest.mark.parametrize("target", ["portable", "openvino", "opencv", "tensorrt"])
@pytest.mark.parametrize(
    ("settings", "boxes"),
    [
        (SETTINGS + " confidence_threshold: 0.2", 1),
        ("num_classes: 3 share_location: false background_label_id: -1 confidence_threshold: 0", 3),
        ("num_classes: 3 share_location: false background_label_id: 1 confidence_threshold: 0.6 keep_top_k: 4", 3),
        ("num_classes: 3 code_type: CORNER_SIZE variance_encoded_in_target: true confidence_threshold: 0.1", 1),
        ("num_classes: 3 confidence_threshold: 2", 1),
        ("num_classes: 3 keep_top_k: 0 confidence_threshold: 0", 1),
        ("num_classes: 1 confidence_threshold: 0", 1),
        ("num_classes: 3 background_label_id: 3 confidence_threshold: 0", 1),
    ],
)
def test_chosen_inside_of_a_file_boxes_are_those_chosen_outside(
    layer: Callable[..., Layer], settings: str, boxes: int, target: str
) -> None:
    arrays = given(boxes=boxes)
    if "num_classes: 1" in settings:
        arrays[1] = arrays[1][:, :PRIORS]
    own = layer("DetectionOutput", f"detection_output_param {{ {settings} }}", *shapes(arrays))
    expected = own.forward(*map(torch.from_numpy, arrays))
    np.testing.assert_allclose(run(settings, arrays, target), expected, rtol=1e-5, atol=1e-6)


def test_refinedet_decodes_beside_its_first_boxes_where_there_may_be_an_object(layer: Callable[..., Layer]) -> None:
    offsets, scores, priors = given(1)
    random = np.random.default_rng(5)
    objectness, first = random.random((1, PRIORS * 2)), random.normal(size=(1, PRIORS * 4))
    arrays = [offsets, scores, priors, objectness.astype(np.float32), first.astype(np.float32)]
    settings = SETTINGS + " objectness_score: 0.5 confidence_threshold: 0.01"
    own = layer("DetectionBoxes", f"detection_output_param {{ {settings} }}", *shapes(arrays), tops=2)
    boxes, likely = own.forward(*map(torch.from_numpy, arrays))
    sides, variance = torch.from_numpy(priors.reshape(2, PRIORS, 4))
    beside = decode(torch.from_numpy(arrays[4]).reshape(PRIORS, 4), sides, variance, "CENTER_SIZE", False)
    expected = decode(torch.from_numpy(offsets).reshape(PRIORS, 4), beside, variance, "CENTER_SIZE", False)
    torch.testing.assert_close(boxes.reshape(PRIORS, 4), expected)
    for p, sure in enumerate(objectness.reshape(-1, 2)[:, 1] >= 0.5):
        np.testing.assert_array_equal(likely[0, :, p], scores.reshape(-1, 3)[p] if sure else [1, 0, 0])
    whole = layer("DetectionOutput", f"detection_output_param {{ {settings} }}", *shapes(arrays))
    np.testing.assert_allclose(
        run(settings, arrays), whole.forward(*map(torch.from_numpy, arrays)), rtol=1e-5, atol=1e-6
    )


def test_a_picture_as_fourth_bottom_is_not_looked_at(layer: Callable[..., Layer]) -> None:
    arrays = given(1)
    picture = torch.zeros(1, 3, 20, 20)
    own = layer("DetectionOutput", f"detection_output_param {{ {SETTINGS} }}", *shapes(arrays), (1, 3, 20, 20))
    tensors = [torch.from_numpy(array) for array in arrays]
    torch.testing.assert_close(own.forward(*tensors, picture), own.forward(*tensors))


@pytest.mark.parametrize("background", [-2, 3, 20])
def test_with_a_background_that_is_no_class_every_class_is_found(layer: Callable[..., Layer], background: int) -> None:
    arrays = given(1)
    settings = f"num_classes: 3 background_label_id: {background} confidence_threshold: 0"
    own = layer("DetectionOutput", f"detection_output_param {{ {settings} }}", *shapes(arrays))
    rows = own.forward(*map(torch.from_numpy, arrays))
    assert set(rows[0, 0, :, 1].tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("settings", "inputs", "message"),
    [
        ("", None, "has no num_classes"),
        ("num_classes: 3 background_label_id: -1", None, "background_label_id -1 goes with share_location: false"),
        ("num_classes: 3 nms_param { nms_threshold: -1 }", None, "nms_threshold is -1"),
        ("num_classes: 3 nms_param { eta: 1.5 }", None, "eta is 1.5"),
        ("num_classes: 3 use_polygon: true", None, "boxes of four corners (TextBoxes++) are not supported"),
        ("num_classes: 3", [(1, 12), (2, 9), (1, 2, 12)], "its inputs 1x12 and 2x9 differ in axis 0, the images"),
        (
            "num_classes: 3",
            [(1, 12), (1, 8), (1, 2, 12)],
            "its input 1x8 is not a score for each of 3 classes at 3 priors: 9 an image",
        ),
        ("num_classes: 3", [(1, 8), (1, 9), (1, 2, 12)], "its input 1x8 is not 4 offsets at 3 priors: 12 an image"),
        ("num_classes: 3", [(1, 12), (1, 9), (1, 2, 13)], "its third input 1x2x13 is not 1x2 and 4 for each prior"),
    ],
)
def test_what_does_not_match_is_refused(
    refusal: Callable[..., tuple[str, str]], settings: str, inputs: list[tuple[int, ...]] | None, message: str
) -> None:
    given = inputs or [(1, 12), (1, 9), (1, 2, 12)]
    assert refusal("DetectionOutput", f"detection_output_param {{ {settings} }}", *given)[0] == message


@pytest.mark.parametrize(
    ("settings", "target", "message"),
    [
        ("num_classes: 3 nms_param { eta: 0.9 }", "portable", "eta, a threshold that shrinks, is beyond"),
        ("num_classes: 3", "opencv", "cv2.dnn takes no scores below 0"),
    ],
)
def test_what_no_file_can_choose_is_refused(settings: str, target: str, message: str) -> None:
    with pytest.raises(NktcError, match=message):
        run(settings, given(), target)
