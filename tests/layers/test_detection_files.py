"""The files with boxes: sides in pixels, and the three formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nktc.errors import NktcError
from nktc.ir import Layer
from nktc.layers.detection_files import Files

LABELS = 'item { name: "none" label: 0 } item { name: "cat" label: 1 } item { name: "3" label: 2 }'
ROWS = np.array(
    [
        [0, 1, 0.9, 0.1, 0.2, 0.5, 0.504],
        [0, 2, 0.8765432, -0.5, 0, 0.25, 2],
        [1, 1, 1e-5, 0.3, 0.3, 0.7, 0.7],
    ],
    np.float32,
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.prototxt").write_text(LABELS)
    Path("sizes.txt").write_text("one 100 200\nx/two 50 80\nthree 1 1\n")


def files(format: str, **more: object) -> Files:
    return Files("out", "det_", format, "labels.prototxt", "sizes.txt", **{"images": 2, **more})  # type: ignore[arg-type]


def test_voc_has_a_file_for_each_class() -> None:
    files("VOC").add(ROWS, [1, 2], 0, 2)
    assert Path("out/det_cat.txt").read_text() == "one 0.9 20 20 100 50\nx/two 1e-05 24 15 56 35\n"
    assert Path("out/det_3.txt").read_text() == "one 0.876543 0 0 50 100\n"


def test_ilsvrc_has_one_file_with_numbers_of_classes() -> None:
    files("ILSVRC").add(ROWS, [1, 2], 0, 2)
    assert Path("out/det_.txt").read_text() == (
        "one 1 0.9 20 20 100 50\none 2 0.876543 0 0 50 100\nx/two 1 1e-05 24 15 56 35\n"
    )


def test_coco_has_json_whose_numbers_stand_without_quotes() -> None:
    files("COCO").add(ROWS, [1, 2], 0, 2)
    text = Path("out/det_.json").read_text()
    found = json.loads(text)
    assert [(one["image_id"], one["category_id"]) for one in found] == [("one", "cat"), ("one", 3), ("x/two", "cat")]
    np.testing.assert_allclose(found[0]["bbox"], [20, 20, 80, 30.4], rtol=1e-6)
    assert found[1]["score"] == pytest.approx(0.8765432)
    assert found[2]["score"] == "9.99999975e-06", "an exponent is no number to Caffe's library"
    assert r'"image_id": "x\/two"' in text


def test_a_batch_more_is_written_with_those_before_it() -> None:
    two = files("ILSVRC")
    two.add(ROWS[:2], [1, 2], 0, 1)
    assert not Path("out").exists()
    two.add(np.array([[0, 1, 0.5, 0, 0, 1, 1]], np.float32), [1, 2], 1, 1)
    assert len(Path("out/det_.txt").read_text().splitlines()) == 3
    two.add(ROWS[:0], [1, 2], 2, 2)  # begins anew
    assert Path("out/det_.txt").read_text() == ""


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        (("WARP", 300, 300, 0, 0), [20, 10, 100, 100]),
        # 200x100 lies in 300x300 as 300x150, with 75 above and below.
        (("FIT_LARGE_SIZE_AND_PAD", 300, 300, 0, 0), [20, 0, 100, 100]),
        (("FIT_SMALL_SIZE", 300, 300, 0, 0), [20, 10, 100, 100]),
        (("FIT_SMALL_SIZE", 300, 300, 150, 250), [25, 15, 125, 100]),
    ],
)
def test_boxes_are_brought_back_to_the_picture_before_it_was_resized(
    resize: tuple[str, int, int, int, int], expected: list[float]
) -> None:
    box = np.array([0.1, 0.1, 0.5, 1.2], np.float32)
    found = files("VOC", resize=resize).pixels(box, 100, 200)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_in_a_higher_picture_the_padding_is_beside_it() -> None:
    # 100x200 lies in 300x300 as 150x300, with 75 on either side.
    box = np.array([0.5, 0.25, 0.75, 0.5], np.float32)
    found = files("VOC", resize=("FIT_LARGE_SIZE_AND_PAD", 300, 300, 0, 0)).pixels(box, 200, 100)
    np.testing.assert_allclose(found, [50, 50, 100, 100], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 4}, "num_test_image is 4, and sizes.txt names 3 images"),
        ({"sizes": "no.txt"}, "cannot read name_size_file no.txt"),
    ],
)
def test_files_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    settings = {"directory": "out", "prefix": "", "format": "VOC", "labels": "labels.prototxt", "sizes": "sizes.txt"}
    with pytest.raises(NktcError, match=message):
        Files(**{**settings, **change}).add(ROWS, [1], 0, 1)  # type: ignore[arg-type]


def test_a_label_without_a_name_is_refused() -> None:
    Path("labels.prototxt").write_text('item { name: "cat" label: 1 }')
    with pytest.raises(NktcError, match="has no name for label 2"):
        files("VOC").add(ROWS, [1, 2], 0, 2)


SAVE = 'output_directory: "out" output_format: "VOC" label_map_file: "labels.prototxt" name_size_file: "sizes.txt"'


def test_a_layer_writes_what_it_finds(layer: Callable[..., Layer]) -> None:
    settings = f"detection_output_param {{ num_classes: 3 save_output_param {{ {SAVE} num_test_image: 2 }} }}"
    own = layer("DetectionOutput", settings, (1, 4), (1, 3), (1, 2, 4))
    priors = torch.tensor([[[0.1, 0.2, 0.5, 0.6], [0.1] * 4]])
    images = torch.zeros(1)
    for score in (0.5, 0.25):
        scores = torch.tensor([[0.0, score, -1]])
        own.forward(torch.zeros(1, 4), scores, priors, images=images)
    assert images.item() == 2
    assert Path("out/cat.txt").read_text() == "one 0.5 20 20 100 60\nx/two 0.25 8 10 40 30\n"


def test_an_unknown_format_is_refused(refusal: Callable[..., tuple[str, str]]) -> None:
    settings = f"detection_output_param {{ num_classes: 3 save_output_param {{ {SAVE.replace('VOC', 'XML')} }} }}"
    said, place = refusal("DetectionOutput", settings, (1, 4), (1, 3), (1, 2, 4))
    assert said == 'output_format is "XML"'
    assert place.startswith("output_format")
